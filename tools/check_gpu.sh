#!/usr/bin/env bash
# What must be seen on a machine with a GPU: parts equal to the CPU's, training that survives kill -9, the mini recipe, NCCL.
set -euo pipefail

# Options
kill_after=20          # seconds of training after which it is killed with kill -9
work=                  # folder for data and systems; empty: a temporary one
# End of options

tools=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tools/../utils/parse_options.sh"
"$tools/install.sh" --with-tests true
. "$tools/activate_python.sh"
python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    { echo "check_gpu.sh: torch sees no GPU here (nvidia-smi says what the driver sees)." >&2 && exit 1; }
work=${work:-$(mktemp -d)}
run=("$tools/../egs/voxceleb/run.sh" --mini true --ngpu 1 --datadir "$work/data" --dumpdir "$work/dump" --expdir "$work/exp")

echo "== parts on the GPU against the CPU"
python3 -m pytest -q "$tools/../tests/gpu"

echo "== kill -9 after $kill_after s of stage 4, then the same command"
"${run[@]}" --stop-stage 3
setsid "${run[@]}" --stage 4 --stop-stage 4 &
victim=$!
sleep "$kill_after"
kill -9 -- "-$victim" || { echo "check_gpu.sh: training had ended before the kill; use a smaller --kill-after." >&2 && exit 1; }
wait "$victim" || true
until ! pgrep -f -- "--out $work/exp" >/dev/null; do sleep 1; done
"${run[@]}" --stage 4
grep -h "going on from step" "$work"/exp/*/train.log
echo "== stages 4 to 7 again, by a group of one process that talks by NCCL"
RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29511 "${run[@]}" --stage 4 --expdir "$work/exp_nccl"
echo "check_gpu.sh: passed; systems and RESULTS.md are in $work/exp"
