#!/usr/bin/env bats
# The scripts that make a table out of many runs: which runs they ask for, and which rows they compare.

load recipe_copy

setup() {
    copy_recipe "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR/egs/voxceleb" || return
    pretend_environment "$BATS_TEST_TMPDIR/venv"
    calls=$SSLSV_VENV/calls
    runs=$BATS_TEST_TMPDIR/runs
    printf '#!/usr/bin/env bash\necho "$*" >>"%s"\n' "$runs" >run.sh
    corpus=(--train-audio train --test-audio test --trials lists/core.txt --musan /musan --rirs rirs --num-threads 1)
    here=$PWD
}

asked() { # asked COUNT WORDS: how many runs contain WORDS
    local found
    found=$(grep -c -- "$2" "$runs" || true)
    [ "$found" -eq "$1" ] || { echo "expected $1 runs with '$2', found $found:" && cat "$runs" && return 1; }
}

@test "the table of methods trains each system at its scale and scores three checkpoints" {
    run local/method_table.sh "${corpus[@]}" --methods "moco vicreg" --seed 3
    expect 0 ""
    asked 6 "--train-audio $here/train --test-audio $here/test --trials $here/lists/core.txt --musan /musan --rirs $here/rirs"
    asked 3 "--seed 3 --expdir exp --positives none --system moco_fast_resnet34"
    asked 3 "--scale testbed .*--system vicreg_fast_resnet34"
    asked 2 "--stage 6 --checkpoint latest"
    asked 2 "--stage 6 --checkpoint 0"
    grep -q -- "method_table.py --exp exp --list core --systems moco_fast_resnet34 vicreg_fast_resnet34" "$calls"
}

@test "the table of positives continues one training per seed, and compares with the control even where it was not named" {
    run local/positives_table.sh "${corpus[@]}" --methods "simclr dino" --positives "ssps_live_knn same_speaker" --seeds "0 2"
    expect 0 "### dino_fast_resnet34"
    asked 4 "--positives same_utterance ssps_live_knn same_speaker --checkpoint latest"
    asked 1 "--seed 2 --expdir exp_seed2 --system dino_fast_resnet34 --positives"
    grep -q -- "compare_positives --exp exp_seed0 exp_seed2 --data dump/raw/test --trials data/test/trials_core \
--rows SSL=simclr_fast_resnet34/scores/core_latest.score same_utterance=simclr_fast_resnet34_same_utterance/scores/core_latest.score" "$calls"
    run local/positives_table.sh "${corpus[@]}" --methods simclr --checkpoint averaged
    expect 0 ""
    grep -q -- "--rows SSL=simclr_fast_resnet34/scores/core.score" "$calls"
}

@test "the table of generated corpora has a corpus per seed, and rows for every choice of positives" {
    cd ../..
    run egs/voxceleb/local/mini_table.sh --methods "simclr moco" --seeds "1 2" --positives "same_utterance ssps_mini ssps_kmeans:clusters=9,neighbours=0"
    expect 0 "### moco_fast_resnet34"
    asked 8 "--mini true"
    asked 4 "--system simclr_fast_resnet34 --seed"
    asked 2 "--system moco_fast_resnet34 --seed 2 --corpus-seed 2 .*--expdir exp_mini/2"
    asked 4 "--stage 6 --systems .* --checkpoint 0"
    [ "$(grep -c mfcc_baseline "$calls")" -eq 2 ]
    grep -q -- "ssps_kmeans_9_0=moco_fast_resnet34_ssps_kmeans_9_0/scores/veri_test2.score" "$calls"
    grep -q -- "compare_positives --exp exp_mini/1 exp_mini/2 .*SSL=moco_fast_resnet34/scores/veri_test2.score" "$calls"
}

@test "the table of augmentations trains each kind on the same corpora, and compares with waveforms" {
    cd ../..
    run egs/voxceleb/local/mel_augmentation.sh --seeds "1 2" --num-threads 1
    expect 0 "### simclr_fast_resnet34"
    asked 6 "--mini true --corpus-seed"
    asked 1 "--datadir data_mini/2 .*--seed 2 --expdir exp_mini/2 .*--tag drawn --feats-type fbank --set augmentation.frames=drawn"
    asked 2 "--tag copies --feats-type fbank$"
    grep -q -- "compare_positives --exp exp_mini/1 exp_mini/2 --data dump_mini/1/raw/voxceleb1_test .*\
--rows waveforms=simclr_fast_resnet34-waveforms/scores/veri_test2.score .*--control waveforms" "$calls"
    cd egs/voxceleb
    run local/mel_augmentation.sh "${corpus[@]}" --seeds 0 --scale testbed --method moco
    expect 0 "### moco_fast_resnet34"
    asked 3 "--train-audio $here/train .*--scale testbed --datadir data --dumpdir dump --seed 0 --expdir exp_seed0 --system moco"
    grep -q -- "--data dump/raw/test --trials data/test/trials_core .*drawn=moco_fast_resnet34-drawn/scores/core.score" "$calls"
}
