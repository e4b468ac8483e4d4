#!/usr/bin/env bash
# The GPU column of docs/speed.md in one call of some minutes: first what is worth most, every row printed when it is there.
#
#     tools/measure_gpu.sh                                 # installs with tools/install.sh, from the package index
#     tools/measure_gpu.sh --wheels DIR                    # torch of this Python, the rest from wheels; no network
#     tools/measure_gpu.sh --device cpu --smoke true       # the script itself, on any machine, in small sizes
#
# It may be stopped at any time. A row that fails or takes too long is named at the end, and the others go on.
set -euo pipefail

# Options
minutes=9              # after so many no new row begins, and a row that is at work is ended
wheels=                # folder of wheels, for Python without a network: numpy scipy soundfile kaldiio pyyaml pytest hypothesis
work=                  # folder for data and systems; empty: a temporary one
device=cuda            # cuda | cpu
smoke=false            # true: sizes that only show that it runs
kill_after=20          # seconds of training after which it is killed with kill -9
# End of options

tools=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$tools")
. "$root/utils/parse_options.sh"
began=$SECONDS
work=${work:-$(mktemp -d)}
if [ -n "$wheels" ]; then
    export SSLSV_VENV=$work/venv
    "${PYTHON:-python3}" -m venv --system-site-packages "$SSLSV_VENV"
    "$SSLSV_VENV/bin/python3" -m pip install --quiet --no-index --find-links "$wheels" \
        numpy scipy soundfile kaldiio pyyaml pytest hypothesis
    PATH=$SSLSV_VENV/bin:$PATH
else
    "$tools/install.sh" --with-tests true
    # shellcheck source=activate_python.sh
    . "$tools/activate_python.sh"
fi
export PYTHONPATH=$root PYTHONUNBUFFERED=1
if [ "$device" = cuda ]; then
    python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
        { echo "measure_gpu.sh: torch sees no GPU here (nvidia-smi says what the driver sees)." >&2 && exit 1; }
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    ngpu=1
else
    ngpu=0
fi
if "$smoke"; then small=(--smoke) batch=2; else small=() batch=256; fi
run=("$root/egs/voxceleb/run.sh" --ngpu "$ngpu" --datadir "$work/data" --dumpdir "$work/dump" --expdir "$work/exp")
if "$smoke"; then run+=(--tiny true); else run+=(--mini true); fi
failed=()

# row NAME LIMIT COMMAND...: the command within its limit in seconds, and within the time that is left
row() {
    local name=$1 limit=$2 left=$((60 * minutes - (SECONDS - began))) start=$SECONDS
    shift 2
    [ "$left" -gt 5 ] || { failed+=("$name (no time left)") && return; }
    printf '\n== %s\n' "$name"
    if timeout --kill-after 5 "$((limit < left ? limit : left))" "$@"; then
        echo "== $name: $((SECONDS - start)) s"
    else
        failed+=("$name (status $?)")
    fi
}
bench() { row "$1" "$2" python3 "$root/benchmarks/$3.py" "${small[@]}" --device "$device" "${@:4}"; }

# Steps of real training, read from packed audio: the line of each 5 steps has utterances and the parts of a step.
from_packed_audio() {
    local system=$1 set=$2
    shift 2
    python3 -m sslsv_tk.bin.train --config "$root/egs/voxceleb/conf/systems/$system.yaml" --train-set "$work/dump/raw/$set" \
        --augmentation "$work/dump/raw" --out "$work/exp/$system" --device "$device" --set "training.batch_size=$batch" \
        training.epochs=1 training.continued_epochs=0 training.average_epochs=1 training.log_steps=2 "$@" |
        grep -E "progress|kind step|step's"
}

train_set() { basename "$(dirname "$(find "$work"/dump/raw/*train*/ -name made.json | head -1)")"; }

kill_and_resume() {
    setsid "${run[@]}" --stage 4 --stop-stage 4 &
    local victim=$!
    sleep "$kill_after"
    kill -9 -- "-$victim" || { echo "training had ended before the kill; use a smaller --kill-after" && return 1; }
    wait "$victim" || true
    until ! pgrep -f -- "--out $work/exp" >/dev/null; do sleep 1; done
    "${run[@]}" --stage 4
    grep -h "going on from step" "$work"/exp/*/train.log
}

one_process_by_nccl() {
    RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29511 \
        "${run[@]}" --stage 4 --expdir "$work/exp_nccl"
}

row "the machine: matrix products and memory" 60 python3 "$root/benchmarks/machine.py" --device "$device" "${small[@]}"
[ "$device" = cpu ] || row "parts on the GPU against the CPU" 120 python3 -m pytest -q -p no:cacheprovider "$root/tests/gpu"
bench "SimCLR step, ECAPA-TDNN of 1,024 channels, and its costliest kernels" 120 system_step --systems simclr_ecapa \
    --utterances "$batch" --ways bf16 "bf16 compiled" --repeats 10 --profile 10
row "audio for the rows below: stages 1 to 3 of the generated corpus" 120 "${run[@]}" --stop-stage 3
set=$(train_set)
row "SimCLR with ECAPA-TDNN from packed audio" 90 bash -c "$(declare -f from_packed_audio); root='$root' work='$work' device='$device' batch='$batch' \
    from_packed_audio simclr_ecapa '$set' training.precision=bf16"
if "$smoke"; then points=2000 clusters=50; else points=1092009 clusters=25000; fi
bench "k-means at full size" 60 kmeans --points "$points" --clusters "$clusters" --straightforward false
bench "DINO step, ECAPA-TDNN" 60 system_step --systems dino_ecapa --utterances "$((batch / 2))" --ways bf16 --repeats 5
bench "SimCLR step, Fast ResNet-34" 60 system_step --systems simclr_fast_resnet34 --utterances "$batch" --ways bf16 "bf16 compiled"
bench "choosing positives" 60 positive_sampling
bench "extraction, ECAPA-TDNN" 60 extraction --encoder ecapa_tdnn
row "loading, one core" 60 python3 "$root/benchmarks/loading.py" "${small[@]}"
row "kill -9 after $kill_after s of stage 4, then the same command" 200 bash -c "$(declare -f kill_and_resume); $(declare -p run); \
    work='$work' kill_after='$kill_after' kill_and_resume"
row "stages 4 to 7 again, by a group of one process that talks by NCCL" 200 bash -c "$(declare -f one_process_by_nccl); $(declare -p run); \
    work='$work' one_process_by_nccl"

printf '\nmeasure_gpu.sh: %s s in all; systems and RESULTS.md are in %s\n' "$((SECONDS - began))" "$work/exp"
[ ${#failed[@]} -eq 0 ] || { printf 'measure_gpu.sh: not measured: %s\n' "${failed[@]}" && exit 1; }
