#!/usr/bin/env bash
# One data directory of several: utils/combine_data.sh data/ALL data/A data/B ... (a table that one lacks is left out)
. "$(dirname "${BASH_SOURCE[0]}")/../tools/activate_python.sh" || exit 1
exec python3 -m sslsv_tk.bin.combine_data "$@"
