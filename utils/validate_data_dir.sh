#!/usr/bin/env bash
# Checks data directories: utils/validate_data_dir.sh data/SET ...
. "$(dirname "${BASH_SOURCE[0]}")/../tools/activate_python.sh" || exit 1
exec python3 -m sslsv_tk.bin.validate_data_dir "$@"
