#!/usr/bin/env bash
# Splits a data directory: utils/split_data.sh [--per-utt] data/SET N makes data/SET/splitN/1 to N (no speaker in two parts)
. "$(dirname "${BASH_SOURCE[0]}")/../tools/activate_python.sh" || exit 1
exec python3 -m sslsv_tk.bin.split_data "$@"
