#!/usr/bin/env bash
# The table of methods on a small corpus: stage 4 of each system with its settings for small corpora, and its error rates.
#
#     local/method_table.sh --train-audio DIR --test-audio DIR --trials FILE --musan DIR --rirs DIR
set -euo pipefail

# Options
methods="simclr moco swav vicreg dino supervised byol barlow_twins simsiam simclr_margin"  # names of conf/method/*.yaml
encoder=fast_resnet34  # systems are conf/systems/<method>_<encoder>.yaml
scale=testbed          # as of run.sh
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
recipe=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../utils/parse_options.sh
. "$recipe/../../utils/parse_options.sh"
# shellcheck source=small_corpus.sh
. "$recipe/local/small_corpus.sh"

options=("${corpus[@]}" --seed "$seed" --expdir "$expdir" --positives none)
systems=()
for method in $methods; do
    system=${method}_$encoder
    ./run.sh "${options[@]}" --system "$system"
    for checkpoint in latest 0; do
        ./run.sh "${options[@]}" --system "$system" --stage 6 --checkpoint "$checkpoint"
    done
    systems+=("$system")
done
python3 local/method_table.py --exp "$expdir" --list "$list" --systems "${systems[@]}"
