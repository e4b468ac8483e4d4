# shellcheck shell=bash
# Puts the environment that tools/install.sh made, and this clone, first: PATH and PYTHONPATH. To be sourced.
# What PYTHONPATH names is looked at last (sslsv_tk/plugins.py): it may add packages, not replace those of the environment.
_tools=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
_venv=$("${PYTHON:-python3}" "$_tools/environment.py" folder) || return 1
if [ ! -x "$_venv/bin/python3" ] || [ "$(head -n 1 "$_venv/sslsv_tk.state" 2>/dev/null)" = unfinished ]; then
    echo "No Python environment at $_venv. Make it with: $_tools/install.sh (5 GB, minutes), or name one in SSLSV_VENV." >&2
    return 1
fi
if [ "${PYTHONPATH:-}" != "${_tools%/tools}" ]; then
    [ -z "${PYTHONPATH:-}" ] || export SSLSV_PYTHONPATH=$PYTHONPATH
    export PYTHONPATH=${_tools%/tools}
fi
_missing=$("$_venv/bin/python3" "$_tools/environment.py" missing needed) || return 1
if [ -n "$_missing" ]; then
    echo "The Python environment $_venv lacks ${_missing//$'\n'/, }. Install with: $_tools/install.sh" >&2
    return 1
fi
export PATH=$_venv/bin:$PATH
unset _tools _venv _missing
