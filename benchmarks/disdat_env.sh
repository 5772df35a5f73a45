#!/usr/bin/env bash
# Makes the virtual environment of Disdat, which bundlerun is measured against; prints the path of its
# Python. A second call with the same pins and the same script does nothing.
#
# What its published packages lack, and what is put right here (all of it inside that
# environment; none of it touches code that is measured):
#   1. `dockerize` looks for disdat-luigi's source archive in its context template, and what
#      is published does not have it there: the published archive is put there.
#   2. `dockerize` calls rsync: where there is none, a small stand-in for the flags that it uses.
#   3. its base image is fixed as python:3.11-slim: made an argument, so that both tools build
#      on one base (peer_disdat.py gives it).
# The example pipeline that is built is Disdat-Luigi's own, from its source archive.
. "$(dirname "${BASH_SOURCE[0]}")/peer_env.sh"
begin disdat

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

end disdat.api,disdatluigi.api
