#!/usr/bin/env bash
# The table of positives on generated corpora: every way to choose positives and the baselines, one corpus per seed.
set -euo pipefail

# Options
seeds="0 1 2"          # of corpus and training alike
positives="same_utterance ssps_mini ssps_mini_permuted ssps_live_mini same_speaker"  # stage 5, names of conf/positives/*.yaml
num_threads=auto       # of training
# End of options

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../../../utils/parse_options.sh
. ../../utils/parse_options.sh
# shellcheck source=../path.sh
. ./path.sh
system=simclr_fast_resnet34
experiments=() data=() trials=()
for seed in $seeds; do
    options=(--mini true --seed "$seed" --corpus-seed "$seed" --num-threads "$num_threads" --positives "$positives"
        --datadir "data_mini/$seed" --dumpdir "dump_mini/$seed" --expdir "exp_mini/$seed")
    test_set=dump_mini/$seed/raw/voxceleb1_test
    list=data_mini/$seed/voxceleb1_test/trials_veri_test2
    ./run.sh "${options[@]}"
    ./run.sh "${options[@]}" --stage 6 --systems "$system" --checkpoint 0
    mkdir -p "exp_mini/$seed/mfcc/scores"
    python3 local/mfcc_baseline.py --data "$test_set" --trials "$list" --out "exp_mini/$seed/mfcc/scores/veri_test2.score"
    experiments+=("exp_mini/$seed") data+=("$test_set") trials+=("$list")
done
rows=("MFCC mean and deviation=mfcc/scores/veri_test2.score" "untrained encoder=$system/scores/veri_test2_0.score"
    "SSL=$system/scores/veri_test2.score")
for name in $positives; do rows+=("$name=${system}_$name/scores/veri_test2.score"); done
python3 -m sslsv_tk.bin.compare_positives --exp "${experiments[@]}" --data "${data[@]}" --trials "${trials[@]}" \
    --rows "${rows[@]}" --control same_utterance
