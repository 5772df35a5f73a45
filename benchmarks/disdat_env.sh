#!/usr/bin/env bash
# Makes the virtual environment in which Disdat, the tool that bundlerun is measured against,
# runs. It lies in the development cache, outside the checkout; prints the path of its Python.
# A second call with the same pins and the same script does nothing.
#
# What its published packages lack, and what is put right here (all of it inside that
# environment; none of it touches code that is measured):
#   1. `dockerize` looks for disdat-luigi's source archive in its context template, and what
#      is published does not have it there: the published archive is put there.
#   2. `dockerize` calls rsync: where there is none, a small stand-in for the flags that it uses.
#   3. its base image is fixed as python:3.11-slim: made an argument, so that both tools build
#      on one base (peer_disdat.py gives it).
# The example pipeline that is built is Disdat-Luigi's own, from its source archive.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BUNDLERUN_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bundlerun-dev}
venv=$cache/disdat-venv
mkdir -p "$cache"
exec 9>"$cache/disdat-venv.lock"
flock 9

want=$(cat "$here/disdat-requirements.txt" "$here/disdat_env.sh" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/ready" 2>/dev/null || true)" = "$want" ]; then
    echo "$venv/bin/python"
    exit 0
fi

rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/disdat-requirements.txt" >&2

# 1. the source archive, and out of it the example pipeline
"$venv/bin/python" -m pip download --quiet --no-deps --no-binary disdat-luigi \
    --dest "$venv/sdist" disdat-luigi==1.0.2 >&2
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
dockerizer=$site/disdatluigi/infrastructure/dockerizer
archive=$(ls "$venv"/sdist/disdat_luigi-*.tar.gz)
cp "$archive" "$dockerizer/context.template/"
tar -xzf "$archive" -C "$venv/sdist"
mkdir -p "$venv/example/functional"
cp "$venv"/sdist/disdat_luigi-*/tests/setup.py "$venv/example/"
cp "$venv"/sdist/disdat_luigi-*/tests/functional/{__init__,common_tasks}.py \
    "$venv/example/functional/"

# 2. rsync
if ! command -v rsync >/dev/null; then
    cat >"$venv/bin/rsync" <<'SHIM'
#!/bin/sh
# rsync [flags] SOURCE TARGET, as far as Disdat uses it: a trailing slash copies the contents.
while [ $# -gt 2 ]; do shift; done
mkdir -p "$2"
case $1 in
*/) cp -a "$1." "$2" ;;
*) cp -a "$1" "$2" ;;
esac
SHIM
    chmod +x "$venv/bin/rsync"
fi

# 3. the base image
sed -i -e 's/^FROM python:3.11-slim$/FROM bundlerun-bench-disdat-base/' \
    "$dockerizer/context.template/Dockerfiles/00-disdat-python-3.11-slim.dockerfile"

"$venv/bin/python" -c 'import disdat.api, disdatluigi.api' >&2
echo "$want" >"$venv/ready"
echo "$venv/bin/python"
