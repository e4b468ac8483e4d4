#!/usr/bin/env bash
# Copies a data directory: utils/copy_data_dir.sh [--utt-prefix P] [--spk-prefix P] [--utt-suffix S] [--spk-suffix S] data/A data/B
. "$(dirname "${BASH_SOURCE[0]}")/../tools/activate_python.sh" || exit 1
exec python3 -m sslsv_tk.bin.copy_data_dir "$@"
