#!/usr/bin/env bash
# The table of positives on a small corpus: for each method one stage 4 per seed, and every choice of positives from there on.
#
#     local/positives_table.sh --train-audio DIR --test-audio DIR --trials FILE --musan DIR --rirs DIR
set -euo pipefail

# Options
methods="simclr moco dino"  # names of conf/method/*.yaml
positives="same_utterance ssps_testbed ssps_live_testbed ssps_live_knn ssps_live_recordings same_speaker_queue same_speaker"  # as of run.sh
seeds="0 1 2"          # of training
checkpoint=latest      # latest | averaged | an epoch
encoder=fast_resnet34  # systems are conf/systems/<method>_<encoder>.yaml
scale=testbed          # as of run.sh
train_audio=           # as of run.sh
test_audio=            # folder of one test set
trials=                # one list
musan=
rirs=
ngpu=auto              # as of run.sh
num_threads=auto       # as of run.sh
datadir=data           # as of run.sh
dumpdir=dump
expdir=exp             # EXPDIR_seedN for each seed
# End of options

caller=$PWD
recipe=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../utils/parse_options.sh
. "$recipe/../../utils/parse_options.sh"
# shellcheck source=small_corpus.sh
. "$recipe/local/small_corpus.sh"

# What the folder of a choice is called after the system's, as bin/plan has it: ssps_kmeans_240_1 of ssps_kmeans:clusters=240,...
folder_of() { sed -E 's#.*/##; s#\.yaml##; s#[:,][a-z_]+=#_#g' <<<"$1"; }

[[ " $positives " == *" same_utterance "* ]] || positives="same_utterance $positives" # the control
suffix=
[ "$checkpoint" = averaged ] || suffix=_$checkpoint
experiments=()
for seed in $seeds; do experiments+=("${expdir}_seed$seed"); done
for method in $methods; do
    system=${method}_$encoder
    for seed in $seeds; do
        ./run.sh "${corpus[@]}" --seed "$seed" --expdir "${expdir}_seed$seed" --system "$system" \
            --positives "$positives" --checkpoint "$checkpoint"
    done
    rows=("SSL=$system/scores/$list$suffix.score")
    for name in $positives; do
        name=$(folder_of "$name")
        rows+=("$name=${system}_$name/scores/$list$suffix.score")
    done
    printf '\n### %s\n\n' "$system"
    python3 -m sslsv_tk.bin.compare_positives --exp "${experiments[@]}" --data "$dumpdir/raw/test" \
        --trials "$datadir/test/trials_$list" --rows "${rows[@]}" --control same_utterance
done
