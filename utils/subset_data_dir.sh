#!/usr/bin/env bash
# Some utterances: utils/subset_data_dir.sh [--first|--last|--shortest|--per-spk] data/A N data/B, or [--utt-list F|--spk-list F] data/A data/B
. "$(dirname "${BASH_SOURCE[0]}")/../tools/activate_python.sh" || exit 1
exec python3 -m sslsv_tk.bin.subset_data_dir "$@"
