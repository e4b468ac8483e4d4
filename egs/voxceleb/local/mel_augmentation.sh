#!/usr/bin/env bash
# Augmentation of waveforms, of offline copies and of drawn frames side by side: error rates of each, one run per seed.
#
#     local/mel_augmentation.sh                                       # three generated corpora
#     local/mel_augmentation.sh --seeds 0 --scale testbed --train-audio DIR --test-audio DIR --trials FILE --musan DIR --rirs DIR
#
# The same command goes on where it was stopped; what is complete is not made again.
set -euo pipefail

# Options
method=simclr          # name of conf/method/*.yaml
seeds="0 1 2"          # of training, and of generated corpora
scale=mini             # as of run.sh, with a corpus of your own
train_audio=           # as of run.sh; empty: generated corpora
test_audio=            # one test set
trials=                # one list
musan=
rirs=
ngpu=auto              # as of run.sh
num_threads=auto       # as of run.sh
datadir=               # empty: data, or data_mini/SEED
dumpdir=               # empty: dump, or dump_mini/SEED
expdir=                # EXPDIR_seedN for each seed; empty: exp, or exp_mini/SEED
# End of options

caller=$PWD
recipe=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../../utils/parse_options.sh
. "$recipe/../../utils/parse_options.sh"
# shellcheck source=small_corpus.sh
. "$recipe/local/small_corpus.sh"

system=${method}_fast_resnet34
arms=("waveforms --feats-type raw" "copies --feats-type fbank" "drawn --feats-type fbank --set augmentation.frames=drawn")
experiments=() data=() lists=()
for seed in $seeds; do
    if [ -n "$train_audio" ]; then
        at_data=${datadir:-data} at_dump=${dumpdir:-dump} at_exp=${expdir:-exp}_seed$seed set="test"
        options=("${corpus[@]}" --datadir "$at_data" --dumpdir "$at_dump")
    else
        at_data=data_mini/$seed at_dump=dump_mini/$seed at_exp=exp_mini/$seed set=voxceleb1_test list=veri_test2
        options=(--mini true --corpus-seed "$seed" --num-threads "$num_threads" --datadir "$at_data" --dumpdir "$at_dump")
    fi
    experiments+=("$at_exp") data+=("$at_dump/raw/$set") lists+=("$at_data/$set/trials_$list")
    for arm in "${arms[@]}"; do
        read -ra words <<<"$arm"
        ./run.sh "${options[@]}" --seed "$seed" --expdir "$at_exp" --system "$system" --positives none \
            --tag "${words[0]}" "${words[@]:1}"
    done
done
rows=()
for arm in "${arms[@]}"; do rows+=("${arm%% *}=$system-${arm%% *}/scores/$list.score"); done
printf '\n### %s\n\n' "$system"
python3 -m sslsv_tk.bin.compare_positives --exp "${experiments[@]}" --data "${data[@]}" --trials "${lists[@]}" \
    --rows "${rows[@]}" --control waveforms
