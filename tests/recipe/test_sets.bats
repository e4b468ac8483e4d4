#!/usr/bin/env bats
# Several test sets in one run: how --test-audio and --trials make sets and lists, and what the stages do with them.

load recipe_copy

setup() {
    unset VOXCELEB1 VOXCELEB2 MUSAN RIRS PYTHON
    copy_recipe "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR/egs/voxceleb" || return
    pretend_environment "$BATS_TEST_TMPDIR/venv"
    calls=$SSLSV_VENV/calls
    mkdir -p corpus/{vox1,vox2,musan,rirs} cn sitw "with space"
    export VOXCELEB1=$PWD/corpus/vox1 VOXCELEB2=$PWD/corpus/vox2 MUSAN=$PWD/corpus/musan RIRS=$PWD/corpus/rirs
    echo "1 a b" | tee "$VOXCELEB1/veri_test2.txt" cn/trials sitw/core.lst >free.txt
}

called() { # called COUNT WORD: how many calls contain WORD
    local found
    found=$(grep -c -- "$2" "$calls" || true)
    [ "$found" -eq "$1" ] || { echo "expected $1 calls with '$2', found $found:" && cat "$calls" && return 1; }
}

@test "out-of-domain sets go through all stages beside VoxCeleb" {
    for set in train voxceleb2_train voxceleb1_test cn eval musan_noise musan_music musan_speech rirs; do
        mkdir -p "data/$set" "dump/raw/$set"
        printf 'a x\nb x\n' | tee "data/$set/wav.scp" >"dump/raw/$set/wav.scp"
    done
    mkdir -p exp/one/checkpoints && touch exp/one/checkpoints/averaged.pt && echo "the table" >exp/RESULTS.md
    run ./run.sh --test-audio "$VOXCELEB1 cn eval=sitw" --trials "eval=free.txt sitw/core.lst" --systems one
    expect 0 "Successfully finished."
    called 1 "prepare_corpus --source $VOXCELEB1 --out data/voxceleb1_test --labels auto --only $VOXCELEB1/veri_test2.txt --features compute --tol"
    called 1 "prepare_corpus --source cn --out data/cn --labels auto --only cn/trials --features compute --tol"
    called 1 "prepare_corpus --source sitw --out data/eval --labels auto --only free.txt sitw/core.lst --features compute --tol"
    called 1 "prepare_trials --source cn/trials --data data/cn --out data/cn/trials_cn"
    called 1 "prepare_trials --source sitw/core.lst --data data/eval --out data/eval/trials_core"
    for set in voxceleb2_train voxceleb1_test cn eval; do
        called 1 "finish_packing --data data/$set --out dump/raw/$set"
    done
    for set in voxceleb1_test cn eval; do
        called 1 "finish_extraction --system exp/one --checkpoint averaged --data dump/raw/$set"
    done
    called 4 "score_trials --system"
    called 1 "score_trials --system exp/one --checkpoint averaged --data dump/raw/eval --trials data/eval/trials_free"
    called 1 "score_trials --system exp/one --checkpoint averaged --data dump/raw/voxceleb1_test --trials data/voxceleb1_test/trials_veri_test2"
}

@test "a folder of official lists stands for those that are in it, in VoxCeleb's folder or anywhere" {
    mkdir lists
    for name in list_test_hard2 veri_test notes voxsrc2021_val; do echo "1 a b" >"lists/$name.txt"; done
    run ./run.sh --stop-stage 1 --trials "lists $VOXCELEB1"
    expect 0 "Successfully finished."
    called 4 "prepare_trials"
    for name in list_test_hard2 veri_test voxsrc2021_val; do
        called 1 "prepare_trials --source lists/$name.txt --data data/voxceleb1_test --out data/voxceleb1_test/trials_$name"
    done
    called 1 "prepare_trials --source $VOXCELEB1/veri_test2.txt"
    run ./run.sh --stop-stage 1 --trials musan
    expect 1 "there is no trial list musan"
    run ./run.sh --stop-stage 1 --trials corpus/musan
    expect 1 "corpus/musan has none of the lists veri_test.txt veri_test2.txt list_test_all.txt"
}

@test "lists of one name in two sets are told apart by the set" {
    cp free.txt cn/list.txt && cp free.txt sitw/list.txt
    run ./run.sh --stop-stage 1 --test-audio "cn sitw" --trials "cn/list.txt sitw/list.txt sitw/core.lst"
    expect 0 "Successfully finished."
    called 1 "--out data/cn/trials_cn_list"
    called 1 "--out data/sitw/trials_sitw_list"
    called 1 "--out data/sitw/trials_core"
}

@test "sets and lists that are not clear stop with one line before any work" {
    for words in "--trials|x=free.txt|there is no test set x; there are: voxceleb1_test" \
        "--test-audio|train=cn|cannot be the name of a test set" \
        "--test-audio|cn|--trials|nowhere.txt|there is no trial list nowhere.txt. Expected one of veri_test.txt" \
        "--test-audio|gone|--trials|free.txt|there is no folder gone" \
        "--test-audio|cn sitw|--trials|free.txt sitw/core.lst|which test set is it about? Write SET=free.txt; the sets are cn sitw" \
        "--test-audio|cn ./cn|two test sets are called cn (cn and ./cn). Name one: NAME=./cn" \
        "--test-audio|cn|--trials|free.txt cn/free.lst|two lists of test are called free"; do
        IFS='|' read -ra parts <<<"$words"
        run ./run.sh --stop-stage 1 "${parts[@]::${#parts[@]}-1}"
        [ "$status" -ne 0 ] && [[ $output == *"${parts[-1]}"* ]] || { echo "$words: $status, $output" && return 1; }
    done
    called 0 sslsv_tk.bin
}

@test "without a list there are embeddings and no scores: --stop-stage 6 takes such sets, stage 7 does not" {
    for set in cn sitw; do
        mkdir -p "data/$set" "dump/raw/$set"
        printf 'a x\nb x\n' | tee "data/$set/wav.scp" >"dump/raw/$set/wav.scp"
    done
    mkdir -p exp/one/checkpoints && touch exp/one/checkpoints/averaged.pt
    run ./run.sh --train-audio none --test-audio "cn sitw" --systems one --stop-stage 6
    expect 0 "Successfully finished."
    expect 0 "(plan) sitw: no trial list, so embeddings alone"
    grep -q "prepare_corpus --source sitw --out data/sitw --labels auto --features" "$calls"
    called 1 "extract_embeddings --system exp/one --checkpoint averaged --data dump/raw/sitw"
    called 0 "score_trials"
    called 1 "prepare_trials"
    rm "$calls"
    run ./run.sh --train-audio none --test-audio "cn sitw" --systems one
    expect 2 "--test-audio needs --trials sitw=FILE: lines \`1|0 a b\` with paths below sitw"
    expect 2 "Embeddings alone: --stop-stage 6"
    [ ! -e "$calls" ]
}

@test "paths with spaces and with equals signs go wherever others go" {
    mkdir -p "sp ace/set" a=b
    printf '1 a b\n' | tee "sp ace/list one.txt" >a=b/two.txt
    run ./run.sh --stop-stage 1 --test-audio "x=sp ace/set y=a=b" --trials "x=sp ace/list one.txt y=a=b/two.txt" --datadir run=1/data
    expect 0 "Successfully finished."
    called 1 "prepare_corpus --source sp ace/set --out run=1/data/x --labels auto --only sp ace/list one.txt"
    called 1 "prepare_corpus --source a=b --out run=1/data/y --labels auto --only a=b/two.txt"
    called 1 "local --end-with-parent run=1/data/log/prepare_y.log python3"
}

@test "a test set whose folder has spaces stays whole, one folder is called test" {
    echo "1 a b" >"with space/trials"
    run ./run.sh --stop-stage 1 --test-audio "with space"
    expect 0 "Successfully finished."
    called 1 "--source with space --out data/test --labels auto --only with space/trials"
    called 1 "--out data/test/trials_test"
}

@test "several training folders, the part of VoxCeleb, preferred kinds and options of packing reach the commands" {
    mkdir -p a b data/train data/voxceleb1_test data/musan_{noise,music,speech} data/rirs
    for set in train voxceleb1_test musan_noise musan_music musan_speech rirs; do echo "a x" >"data/$set/wav.scp"; done
    run ./run.sh --stop-stage 3 --train-audio "a b" --train-part all --prefer "wav m4a" --channel 2 --pack-audio false --allow-pipes true
    expect 0 "Successfully finished."
    called 1 "prepare_corpus --source a b --out data/train --labels true --part all --features compute --prefer wav m4a --tolerance"
    called 1 "check_disk_space --data data/musan_noise data/musan_music data/musan_speech data/rirs --in-place data/train data/voxceleb1_test --out dump/raw"
    called 2 "pack_audio .*--channel 2 --copy false --allow-pipes true"
    called 4 "pack_audio .*--channel mix --copy true --allow-pipes true"
}

@test "a second run in the same folder says so and stops while the first is at work" {
    sleeping_environment "$BATS_TEST_TMPDIR/venv"
    ./run.sh --stop-stage 1 >"$BATS_TEST_TMPDIR/printed" 2>&1 &
    first=$!
    for _ in $(seq 600); do [ ! -s "$SSLSV_VENV/job" ] || break && sleep 0.05; done
    run ./run.sh --stop-stage 1
    kill "$first"
    expect 1 "another run (process $first on $(hostname)) is at work here and holds data/log/lock. Wait for it or stop it."
    wait "$first" || true
}

@test "the EER of one list is followed while training goes on" {
    mkdir -p dump/raw/train && printf 'a x\n' >dump/raw/train/wav.scp
    run ./run.sh --stage 4 --stop-stage 5 --test-audio "$VOXCELEB1 cn" --validation cn --system simclr_fast_resnet34
    expect 0 "Successfully finished."
    called 2 "bin.train.*--validation-data dump/raw/cn --validation-trials data/cn/trials_cn"
    run ./run.sh --stage 4 --stop-stage 4 --test-audio "$VOXCELEB1 cn" --validation core
    expect 2 "--validation core: there is no such list; there are: veri_test2 cn"
    rm "$calls"
    run ./run.sh --stage 4 --stop-stage 4
    expect 0 "Successfully finished."
    called 0 "--validation"
}
