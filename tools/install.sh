#!/usr/bin/env bash
# Makes, or reuses, the Python environment that the recipes and the tests use.
set -euo pipefail

log() { printf '%s (install.sh) %s\n' "$(date +%FT%T)" "$*"; }
fail() { log "error: $*" >&2 && exit 1; }

# Options
# The environment belongs to no clone: its folder is SSLSV_VENV, or ~/.cache/sslsv_tk/venv-<key of requirements and locks>.
# SSLSV_VENV may also name one that you have: it is used as it is if its versions fit pyproject.toml, and never changed.
# PYTHON names the interpreter to make it with (python3, at least 3.11).
with_tests=false       # true: also what tools/test.sh needs (pytest, ruff, mypy ...), into the same environment
newest=false           # true: the newest versions that pyproject.toml admits, in place of the tested ones of tools/locks
pip_options=           # words for pip install, for another CUDA build of torch or a mirror: "--extra-index-url URL"
system=false           # true: install missing programs (shellcheck, bats, ffmpeg, Python's venv) with apt-get; needs root
# End of options

tools=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tools/../utils/parse_options.sh"
[ $# -eq 0 ] || { echo "install.sh: unexpected argument '$1'" >&2 && exit 2; }
python=${PYTHON:-python3}
needed_gigabytes=7
read -ra pip_words <<<"$pip_options"
if "$with_tests"; then set=test needed=test; else set=run needed=needed; fi # `needed`: a recipe does without the extras

install_system_programs() {
    local packages=()
    command -v shellcheck >/dev/null || packages+=(shellcheck)
    command -v bats >/dev/null || packages+=(bats)
    command -v ffmpeg >/dev/null || packages+=(ffmpeg)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    [ ${#packages[@]} -gt 0 ] || return 0
    [ "$(id -u)" -eq 0 ] || fail "${packages[*]}: missing, and only root installs them: sudo apt-get install ${packages[*]}"
    command -v apt-get >/dev/null || fail "${packages[*]}: missing, and this system has no apt-get. Install them with its own tool."
    log "installing with apt-get: ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends "${packages[@]}"; } >/dev/null ||
        fail "apt-get could not install ${packages[*]}"
}

check_python() {
    command -v "$python" >/dev/null || fail "$python: not found. Install Python 3.11 or newer, or name one: PYTHON=/path/to/python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version 2>&1) is too old: 3.11 or newer is needed. Name another: PYTHON=/path/to/python3"
}

# The first line of the state is unfinished or complete, the second where the versions are from: locked or newest.
state() { sed -n "${1}p" "$venv/sslsv_tk.state" 2>/dev/null || true; }
set_state() { printf '%s\n' "$@" >"$venv/.sslsv_tk.state" && mv "$venv/.sslsv_tk.state" "$venv/sslsv_tk.state"; }
facts() { "$venv/bin/python3" "$tools/environment.py" "$@"; }
joined() { paste -sd ';' | sed 's/;/, /g'; }
missing() { facts missing "$needed" | joined; }
is_ours() { [ -n "$(state 1)" ]; }
is_complete() { # does it hold what was asked for? What is newest is not asked of an environment that somebody else made
    [ "$(state 1)" != unfinished ] && [ -x "$venv/bin/python3" ] && [ -z "$(missing)" ] &&
        { ! "$newest" || ! is_ours || [ "$(state 2)" = newest ]; }
}

name_untested() {
    local found
    found=$(facts untested | joined)
    [ -z "$found" ] || log "not tested in these versions (tools/locks has the tested ones): $found"
    ! is_ours || found=$(facts unlocked | joined)
    ! is_ours || [ -z "$found" ] || log "in no lock of tools/locks: $found"
}

make_folder() { # an environment without packages, in place of one that was left unfinished
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv module. On Debian and Ubuntu: apt-get install python3-venv (as root: tools/install.sh --system true)"
    local free
    free=$(df --output=avail --block-size=1G "$(dirname "$venv")" | tail -n 1)
    [ "$free" -ge "$needed_gigabytes" ] ||
        fail "$(dirname "$venv") has $free GB free, $needed_gigabytes are needed. Name another folder: SSLSV_VENV=/path"
    rm -rf "$venv"
    mkdir "$venv"
    set_state unfinished
    "$python" -m venv "$venv"
}

pip_install() {
    "$venv/bin/python3" -m pip install --disable-pip-version-check "$@" "${pip_words[@]}" >>"$venv.log" 2>&1 && return
    # Where pip changed nothing, what was complete is still of use.
    [ "$before" != complete ] || [ -n "$(facts missing needed)" ] || set_state complete "$versions"
    fail "pip failed; run this again when mended. Its last lines: $(tail -n 5 "$venv.log")"
}

install_packages() {
    local requirements before versions=locked which=() unfit broken
    before=$(state 1)
    mapfile -t requirements < <("$python" "$tools/environment.py" requirements "$set")
    if "$newest"; then
        which=(--upgrade --upgrade-strategy eager) versions=newest
    elif [ "$(state 2)" = newest ]; then
        versions=newest
    else
        which=(--constraint "$tools/locks/run.txt" --constraint "$tools/locks/test.txt")
    fi
    set_state unfinished "$versions"
    log "installing ${requirements[*]}, versions: $versions (minutes, about 5 GB; pip writes to $venv.log)"
    : >"$venv.log"
    pip_install "${which[@]}" "${requirements[@]}"
    unfit=$(facts unfit)
    [ -z "$unfit" ] || pip_install --no-deps "$unfit"
    broken=$(facts broken "$set") || fail "cannot be imported from $venv: $broken"
    [ -z "$broken" ] || log "warning: $broken" >&2
    set_state complete "$versions"
}

check_python
! "$system" || install_system_programs
venv=$("$python" "$tools/environment.py" folder)
mkdir -p "$(dirname "$venv")"
exec {lock}>>"$venv.lock"
flock --nonblock "$lock" || { log "another installation into $venv is running; waiting for it" && flock "$lock"; }
if is_complete; then
    log "using the environment $venv: $(facts describe)"
    [ -z "$pip_options" ] ||
        log "--pip-options was not used: nothing is missing. For other builds remove the folder, or name a new one in SSLSV_VENV"
    name_untested
    exit 0
fi
if nvidia-smi --list-gpus >/dev/null 2>&1; then machine="a machine with an NVIDIA GPU"; else machine="a machine without an NVIDIA GPU"; fi
log "making the environment $venv on $machine (the same packages serve both)"
if [ -x "$venv/bin/python3" ] && [ "$(state 1)" = complete ]; then
    lacking=$(missing)
    log "it lacks ${lacking:-the newest versions}"
elif ! is_ours && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
    [ -x "$venv/bin/python3" ] || fail "$venv is a folder with other contents. Name a new or empty one in SSLSV_VENV."
    fail "$venv is an environment that this script did not make, and it lacks $(missing). Install that there, or name another folder in SSLSV_VENV."
else
    make_folder
fi
install_packages
log "the environment is complete: $(facts describe), $(du -sh "$venv" | cut -f 1)"
name_untested
