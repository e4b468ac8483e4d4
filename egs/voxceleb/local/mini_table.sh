#!/usr/bin/env bash
# The table of positives on generated corpora: for each method every way to choose positives and the baselines, one corpus per seed.
set -euo pipefail

# Options
methods=simclr         # names of conf/method/*.yaml
seeds="0 1 2"          # of corpus and training alike
positives="same_utterance ssps_mini ssps_mini_permuted ssps_live_mini ssps_knn_mini ssps_live_knn_mini same_speaker_queue same_speaker"  # stage 5, as of run.sh
num_threads=auto       # of training
# End of options

recipe=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../utils/parse_options.sh
. "$recipe/../../utils/parse_options.sh"
cd "$recipe"
# shellcheck source=../path.sh
. ./path.sh

# What the folder of a choice is called after the system's, as bin/plan has it: ssps_kmeans_240_1 of ssps_kmeans:clusters=240,...
folder_of() { sed -E 's#.*/##; s#\.yaml##; s#[:,][a-z_]+=#_#g' <<<"$1"; }

[[ " $positives " == *" same_utterance "* ]] || positives="same_utterance $positives" # the control
read -ra corpora <<<"$seeds"
experiments=() data=() trials=()
for seed in "${corpora[@]}"; do
    experiments+=("exp_mini/$seed")
    data+=("dump_mini/$seed/raw/voxceleb1_test")
    trials+=("data_mini/$seed/voxceleb1_test/trials_veri_test2")
done
for method in $methods; do
    system=${method}_fast_resnet34
    for index in "${!corpora[@]}"; do
        seed=${corpora[index]}
        options=(--mini true --system "$system" --seed "$seed" --corpus-seed "$seed" --num-threads "$num_threads"
            --positives "$positives" --datadir "data_mini/$seed" --dumpdir "dump_mini/$seed" --expdir "exp_mini/$seed")
        ./run.sh "${options[@]}"
        ./run.sh "${options[@]}" --stage 6 --systems "$system" --checkpoint 0
        [ "$method" = "${methods%% *}" ] || continue # the baseline is of no method
        mkdir -p "exp_mini/$seed/mfcc/scores"
        python3 local/mfcc_baseline.py --data "${data[index]}" --trials "${trials[index]}" --out "exp_mini/$seed/mfcc/scores/veri_test2.score"
    done
    rows=("MFCC mean and deviation=mfcc/scores/veri_test2.score" "untrained encoder=$system/scores/veri_test2_0.score"
        "SSL=$system/scores/veri_test2.score")
    for name in $positives; do
        name=$(folder_of "$name")
        rows+=("$name=${system}_$name/scores/veri_test2.score")
    done
    printf '\n### %s\n\n' "$system"
    python3 -m sslsv_tk.bin.compare_positives --exp "${experiments[@]}" --data "${data[@]}" --trials "${trials[@]}" \
        --rows "${rows[@]}" --control same_utterance
done
