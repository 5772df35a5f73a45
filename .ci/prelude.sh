# Sourced by the scripts in this folder: where things are kept, how they speak, how packages come.
# Needs bash and coreutils alone.

ci_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo_dir=$(dirname "$ci_dir")
cache_dir=${BUNDLERUN_DEV_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/bundlerun-dev}
program=$(basename "$0")

say() { printf '%s: %s\n' "$program" "$*" >&2; }

# Exit 3 means: this machine cannot offer the service, and here is why.
cannot() {
    say "$*"
    exit 3
}

# lock NAME: one process at a time goes past this line; the lock ends with the process.
lock() {
    mkdir -p "$cache_dir"
    exec 9>"$cache_dir/$1.lock"
    flock 9
}

# need_packages PACKAGE...: installed by apt when one is missing, as root on Debian or Ubuntu.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || cannot "needs ${missing[*]}; this system has no apt-get"
    [ "$(id -u)" -eq 0 ] || cannot "needs ${missing[*]}; try: sudo apt-get install ${missing[*]}"
    say "installing ${missing[*]} with apt-get"
    (
        # One apt at a time: services start in parallel.
        exec 8>"$cache_dir/apt.lock"
        flock 8
        export DEBIAN_FRONTEND=noninteractive
        refresh_lists
        apt_install "${missing[@]}" || { apt-get -qq update && apt_install "${missing[@]}"; }
    ) </dev/null >"$cache_dir/apt-$program.log" 2>&1 9>&- ||
        cannot "apt-get could not install ${missing[*]}; see $cache_dir/apt-$program.log"
}

# A bare container image comes without package lists.
refresh_lists() {
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || apt-get -qq update
}

apt_install() {
    # Packages must not start daemons of their own: these scripts do, and stop them again.
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && ours=1
    fi
    local code=0
    apt-get -y -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" || code=$?
    [ -z "$ours" ] || rm -f "$policy"
    return $code
}

# detach LOG COMMAND...: a daemon in a session of its own, holding none of our files; prints its pid.
detach() {
    local log=$1
    shift
    setsid "$@" </dev/null >>"$log" 2>&1 8>&- 9>&- &
    local pid=$!
    disown
    # For a moment it is a copy of this shell, and nobody could tell it by its command line.
    for _ in $(seq 500); do
        runs "$pid" "$1" && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.01
    done
    echo "$pid"
}

# runs PID WORD: true while that process lives and its command line holds WORD.
runs() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "$2"; }

# alive PIDFILE WORD: the same of the process that PIDFILE names.
alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && runs "$pid" "$2"
}

# stop PIDFILE WORD: ends the process that we started, and nobody else's.
stop() {
    if alive "$1" "$2"; then
        local pid
        pid=$(cat "$1")
        kill "$pid" 2>/dev/null
        for _ in $(seq 100); do
            alive "$1" "$2" || break
            sleep 0.1
        done
        alive "$1" "$2" && kill -9 "$pid" 2>/dev/null
    fi
    rm -f "$1"
}
