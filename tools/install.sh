#!/usr/bin/env bash
# Makes, or reuses, the Python environment that the recipes and the tests use.
set -euo pipefail

log() { printf '%s (install.sh) %s\n' "$(date +%FT%T)" "$*"; }
fail() { log "error: $*" >&2 && exit 1; }

# Options
# The environment belongs to no clone: its folder is SSLSV_VENV, or ~/.cache/sslsv_tk/venv-<key of the requirements>.
# PYTHON names the interpreter to make it with (python3, at least 3.11).
system=false           # true: install missing programs (shellcheck, bats, ffmpeg, Python's venv) with apt-get; needs root
# End of options

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tools/../utils/parse_options.sh"
[ $# -eq 0 ] || { echo "install.sh: unexpected argument '$1'" >&2 && exit 2; }
python=${PYTHON:-python3}
needed_gigabytes=7

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

state() { head -n 1 "$venv/sslsv_tk.state" 2>/dev/null || true; }
set_state() { echo "$1" >"$venv/.sslsv_tk.state" && mv "$venv/.sslsv_tk.state" "$venv/sslsv_tk.state"; }
missing() { "$venv/bin/python3" "$tools/environment.py" missing | paste -sd ' '; }
is_complete() { [ "$(state)" != unfinished ] && [ -x "$venv/bin/python3" ] && [ -z "$(missing)" ]; }

describe() {
    "$venv/bin/python3" -c 'import platform, torch, torchaudio
print(f"Python {platform.python_version()}, torch {torch.__version__}, torchaudio {torchaudio.__version__}")'
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

install_packages() {
    local requirements
    mapfile -t requirements < <("$python" "$tools/environment.py" requirements)
    set_state unfinished
    log "installing ${requirements[*]} (minutes, about 5 GB; pip writes to $venv.log)"
    "$venv/bin/python3" -m pip install --disable-pip-version-check "${requirements[@]}" >"$venv.log" 2>&1 ||
        fail "pip failed; run this again when mended. Its last lines: $(tail -n 5 "$venv.log")"
    describe >/dev/null || fail "torch cannot be imported from $venv"
    set_state "complete"
}

check_python
! "$system" || install_system_programs
venv=$("$python" "$tools/environment.py" folder)
mkdir -p "$(dirname "$venv")"
exec {lock}>>"$venv.lock"
flock --nonblock "$lock" || { log "another installation into $venv is running; waiting for it" && flock "$lock"; }
if is_complete; then
    log "using the environment $venv: $(describe)"
    exit 0
fi
if nvidia-smi --list-gpus >/dev/null 2>&1; then machine="a machine with an NVIDIA GPU"; else machine="a machine without an NVIDIA GPU"; fi
log "making the environment $venv on $machine (the same packages serve both)"
if [ -x "$venv/bin/python3" ] && [ "$(state)" = complete ]; then
    log "it lacks $(missing)"
elif [ -z "$(state)" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
    [ -x "$venv/bin/python3" ] || fail "$venv is a folder with other contents. Name a new or empty one in SSLSV_VENV."
    fail "$venv is an environment that this script did not make, and it lacks $(missing). Install that there, or name another folder in SSLSV_VENV."
else
    make_folder
fi
install_packages
log "the environment is complete: $(describe), $(du -sh "$venv" | cut -f 1)"
