#!/usr/bin/env bash
# The table of methods on a small corpus: stage 4 of each system with the overlay for small corpora, and its error rates.
#
#     local/method_table.sh --train-audio DIR --test-audio DIR --trials FILE --musan DIR --rirs DIR
set -euo pipefail

# Options
methods="simclr moco swav vicreg dino supervised byol barlow_twins simsiam simclr_margin"  # names of conf/method/*.yaml
encoder=fast_resnet34  # systems are conf/<method>_<encoder>.yaml
overlay=testbed        # conf/<overlay>_<method>.yaml where it is there, else conf/<overlay>.yaml
train_audio=           # as of run.sh
test_audio=            # one test set
trials=                # one list
musan=
rirs=
seed=0                 # of training
ngpu=auto              # as of run.sh
num_threads=auto       # as of run.sh
datadir=data           # as of run.sh
dumpdir=dump
expdir=exp
# End of options

caller=$PWD
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../utils/parse_options.sh
. "$recipe/../../utils/parse_options.sh"
for name in train_audio test_audio trials musan rirs; do
    [[ -z ${!name} || ${!name} == /* ]] || printf -v "$name" '%s' "$caller/${!name}"
done
cd "$recipe"
# shellcheck source=../path.sh
. ./path.sh

options=(--train-audio "$train_audio" --test-audio "$test_audio" --trials "$trials" --musan "$musan" --rirs "$rirs" --seed "$seed"
    --ngpu "$ngpu" --num-threads "$num_threads" --datadir "$datadir" --dumpdir "$dumpdir" --expdir "$expdir" --positives none)
systems=()
for method in $methods; do
    config=conf/${overlay}_$method.yaml
    [ -f "$config" ] || config=conf/$overlay.yaml
    system=${method}_$encoder
    ./run.sh "${options[@]}" --system "$system" --config "$config"
    for checkpoint in latest 0; do
        ./run.sh "${options[@]}" --system "$system" --config "$config" --stage 6 --checkpoint "$checkpoint"
    done
    systems+=("$system")
done
list=$(basename "$trials")
list=${list%.*}
[ "$list" != trials ] || list="test" # as run.sh names lists
python3 local/method_table.py --exp "$expdir" --list "$list" --systems "${systems[@]}"
