#!/usr/bin/env bash
# Proves that the toolkit installs from nothing, in new folders that go afterwards: by tools/install.sh, and by pip install.
set -euo pipefail

log() { printf '%s (prove_install.sh) %s\n' "$(date +%FT%T)" "$*"; }

# Options
again=false            # true: also where this machine has proved the same requirements, locks and scripts before
system=false           # as of install.sh
# End of options

tools=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tools/../utils/parse_options.sh"
[ $# -eq 0 ] || { echo "prove_install.sh: unexpected argument '$1'" >&2 && exit 2; }
python=${PYTHON:-python3}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sslsv_tk

prove() { # prove NAME COMMAND ...: what it prints is shown when it fails
    log "$1"
    "${@:2}" >"$folder/log" 2>&1 || { cat "$folder/log" >&2 && log "error: not proved: $1" >&2 && exit 1; }
}

start_a_command() { (. "$tools/activate_python.sh" && python3 -m sslsv_tk.bin.train --help); }

import_here() { # import_here PYTHON: the package, away from the clone, with its version and its types
    (cd "$folder" && env -u PYTHONPATH "$1" -c 'import importlib.metadata, pathlib, sslsv_tk, sslsv_tk.bin.train
assert pathlib.Path(sslsv_tk.__file__).is_relative_to(pathlib.Path.cwd()), sslsv_tk.__file__
assert pathlib.Path(sslsv_tk.__file__).with_name("py.typed").is_file(), "no py.typed"
assert sslsv_tk.__version__ == importlib.metadata.version("sslsv_tk"), importlib.metadata.version("sslsv_tk")')
}

install_a_copy() { # pip builds beside the sources, so not in the clone
    mkdir "$folder/source" &&
        cp -r "$tools/../"{sslsv_tk,pyproject.toml,setup.py,README.md,LICENSE} "$folder/source" &&
        "$python" -m venv "$folder/empty" &&
        "$folder/empty/bin/python3" -m pip install --constraint "$tools/locks/run.txt" "$folder/source"
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || exec "$tools/install.sh" # which says what is wrong
stamp=$cache/proved-install-$("$python" "$tools/environment.py" key)
if [ -e "$stamp" ] && ! "$again"; then
    log "proved on this machine at $(cat "$stamp")"
    exit 0
fi
mkdir -p "$cache"
folder=$(mktemp -d "$cache/proof.XXXXXX")
trap 'rm -rf "$folder"' EXIT
export SSLSV_VENV=$folder/venv
prove "tools/install.sh from nothing" "$tools/install.sh" --system "$system"
prove "a command of the recipe starts" start_a_command
prove "tools/install.sh --with-tests true on top" "$tools/install.sh" --with-tests true
rm -rf "$SSLSV_VENV"
prove "pip install into an empty environment" install_a_copy
prove "the installed package imports away from the clone" import_here "$folder/empty/bin/python3"
date +%FT%T >"$folder/stamp"
mv "$folder/stamp" "$stamp"
log "proved in $SECONDS s"
