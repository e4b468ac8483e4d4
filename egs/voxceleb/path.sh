# shellcheck shell=bash
# The environment of the recipe: sourced by run.sh, or by you (`. ./path.sh`) before you use a command by hand.
# The Python environment is the one that tools/install.sh made, or the one that SSLSV_VENV names.
export LC_ALL=C # data directories are sorted in this order
export PYTHONIOENCODING=UTF-8
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/activate_python.sh"
