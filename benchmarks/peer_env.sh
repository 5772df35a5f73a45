# Sourced by the scripts that make the virtual environment of a tool that bundlerun is measured
# against: PEER_env.sh, with the pins of PEER-requirements.txt beside it. It lies in the development
# cache, outside the checkout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BUNDLERUN_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bundlerun-dev}

# begin PEER: the environment with what is pinned, its folder as $venv. Where it was made before, by
# the same pins and script, that prints its Python and ends the script.
begin() {
    venv=$cache/$1-venv
    mkdir -p "$cache"
    exec 9>"$venv.lock"
    flock 9
    want=$(cat "$here/$1-requirements.txt" "$here/$1_env.sh" | sha256sum | cut -d' ' -f1)
    if [ "$(cat "$venv/ready" 2>/dev/null || true)" = "$want" ]; then
        echo "$venv/bin/python"
        exit 0
    fi
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$here/$1-requirements.txt" >&2
}

# end MODULES: they can be imported, and the environment is ready.
end() {
    "$venv/bin/python" -c "import $1" >&2
    echo "$want" >"$venv/ready"
    echo "$venv/bin/python"
}
