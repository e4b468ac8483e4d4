#!/usr/bin/env bash
# Sorts and intersects the tables of data directories: utils/fix_data_dir.sh data/SET ... (originals stay in .backup)
. "$(dirname "${BASH_SOURCE[0]}")/../tools/activate_python.sh" || exit 1
exec python3 -m sslsv_tk.bin.fix_data_dir "$@"
