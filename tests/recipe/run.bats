#!/usr/bin/env bats
# What run.sh does with its options, and which commands its stages call. The commands themselves are not run here.

load recipe_copy

setup() {
    unset VOXCELEB1 VOXCELEB2 MUSAN RIRS PYTHON
    copy_recipe "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR/egs/voxceleb" || return
    pretend_environment "$BATS_TEST_TMPDIR/venv"
    calls=$SSLSV_VENV/calls
}

corpus() { # the folders of a corpus, empty: no command looks into them here
    mkdir -p corpus/{voxceleb1,voxceleb2,musan,rirs}
    echo "1 a b" >corpus/voxceleb1/veri_test2.txt
    export VOXCELEB1=$PWD/corpus/voxceleb1 VOXCELEB2=$PWD/corpus/voxceleb2 MUSAN=$PWD/corpus/musan RIRS=$PWD/corpus/rirs
}

prepared() { # prepared SET ...: what stages 1 to 3 would leave, with three utterances in each set
    local set
    for set in "$@" musan_noise musan_music musan_speech rirs; do
        mkdir -p "data/$set" "dump/raw/$set"
        printf 'a x\nb x\nc x\n' | tee "data/$set/wav.scp" >"dump/raw/$set/wav.scp"
    done
    touch data/{voxceleb1_test,test}/trials_veri_test2 2>/dev/null || true
    mkdir -p exp && echo "the table" >exp/RESULTS.md
}

trained() { # trained SYSTEM ...: what stages 4 and 5 would leave of each
    local name
    for name in "$@"; do
        mkdir -p "exp/$name/checkpoints" && touch "exp/$name/checkpoints/"{averaged,latest,100epoch}.pt
        echo "{encoder: {name: fast_resnet34}, method: {name: simclr}}" >"exp/$name/config.yaml"
    done
}

called() { # called COUNT WORD: how many calls contain WORD
    local found
    found=$(grep -c -- "$2" "$calls" || true)
    [ "$found" -eq "$1" ] || { echo "expected $1 calls with '$2', found $found:" && cat "$calls" && return 1; }
}

@test "the first line is the call, so quoted that it may be pasted" {
    run ./run.sh --stop-stage 1 --train-audio "a b" --positives "same_utterance ssps_25k_1"
    [[ "$output" == *"run.sh --stop-stage 1 --train-audio a\\ b --positives same_utterance\\ ssps_25k_1"* ]]
}

@test "--help shows the options block and needs no environment" {
    SSLSV_VENV=/nowhere PYTHON=/nowhere run ./run.sh --help
    expect 0 "stop_stage=7           # last stage to run, inclusive"
    expect 0 "mini=false"
    expect 0 "tolerance=0.0"
}

@test "every option is explained and used" {
    block=$(sed -n '/^# Options/,/^# End of options/p' run.sh)
    while read -r name; do
        grep -q "^$name=.*# ..." <<<"$block" || { echo "$name has no comment" && return 1; }
        { grep -v "^$name=" run.sh && sed -n 's/^    \([a-z_]*\): .*/$\1/p' ../../sslsv_tk/recipes/options.py; } |
            grep -q "\$$name\b\|\${$name\b" || { echo "$name is not used" && return 1; }
    done < <(sed -n 's/^\([a-z_]*\)=.*/\1/p' <<<"$block")
}

@test "mistakes in the call end with status 2 and one line" {
    for words in "--stge 3" "--stage" "--stage x" "--mini yes" "stray" "--stage 3 stray" "--stage 0" "--stop-stage 8" "--stage 5 --stop-stage 4" \
        "--channel left" "--train-part train" "--pack-audio no" "--ngpu -1" "--ngpu some" "--num-nodes 0" "--num-nodes 2" "--num-threads 0" "--nj 0" "--feats-type mfcc" "--features some" "--features keep" "--compress zip" "--conf nowhere" \
        "--checkpoint first" "--tag a/b" "--scale large" "--systems ../../etc" "--systems .." "--mini true --tiny true" "--config nowhere.yaml"; do
        # shellcheck disable=SC2086 # several words
        run bash -c './run.sh "$@" 2>&1 >/dev/null' - $words
        [ "$status" -eq 2 ] && [ "${#lines[@]}" -eq 1 ] || { echo "$words: status $status, $output" && return 1; }
    done
    run ./run.sh ""
    expect 2 "unexpected argument ''"
    called 0 .
}

@test "a missing environment stops with the command that makes it" {
    SSLSV_VENV=$BATS_TEST_TMPDIR/none run ./run.sh
    expect 1 "tools/install.sh"
    [ ! -e "$BATS_TEST_TMPDIR/none" ]
}

@test "a corpus that is not named stops before any work, and says how to name it" {
    run ./run.sh
    expect 1 "VOXCELEB2 is not known. Set VOXCELEB2 in egs/voxceleb/db.sh or in the environment, or give --train-audio DIR"
    expect 1 "--mini true needs no corpus"
    corpus
    VOXCELEB1="" run ./run.sh
    expect 1 "VOXCELEB1 is not known"
    RIRS=/nowhere run ./run.sh
    expect 1 "RIRS: there is no folder /nowhere"
    MUSAN="" run ./run.sh --stage 2 --stop-stage 2
    expect 1 "MUSAN is not known"
    rm corpus/voxceleb1/veri_test2.txt
    run ./run.sh
    expect 1 "there is no trial list $VOXCELEB1/veri_test2.txt"
    run ./run.sh --test-audio corpus/voxceleb1
    expect 2 "--test-audio needs --trials FILE"
    called 0 sslsv_tk
}

@test "by default all seven stages run, in order, and the last line says so" {
    corpus
    prepared voxceleb2_train voxceleb1_test
    run ./run.sh
    expect 0 "the table"
    [[ ${lines[-1]} == *"Successfully finished. [elapsed="*"s]"* ]]
    order=$(grep -o 'bin\.[a-z_]*' "$calls" | uniq | paste -sd ' ')
    packing=$(printf 'bin.pack_audio bin.finish_packing %.0s' 1 2 3 4 5 6)
    training="bin.train bin.average_checkpoints bin.train bin.average_checkpoints"
    extraction="bin.extract_embeddings bin.finish_extraction bin.extract_embeddings bin.finish_extraction"
    [ "$order" = "bin.prepare_corpus bin.prepare_trials bin.plan bin.prepare_noises bin.prepare_responses bin.check_disk_space $packing$training $extraction bin.score_trials bin.write_results" ]
}

@test "stages are inclusive, and each runs alone" {
    corpus
    prepared voxceleb2_train voxceleb1_test
    trained simclr_fast_resnet34 simclr_fast_resnet34_ssps_kmeans
    counts=(3 2 13 2 2 4 3)
    for stage in 1 2 3 4 5 6 7; do
        : >"$calls"
        run ./run.sh --stage "$stage" --stop-stage "$stage"
        expect 0 "Successfully finished."
        called "${counts[stage - 1]}" sslsv_tk.bin
    done
    : >"$calls"
    run ./run.sh --stage 6 --stop-stage=7
    called 7 sslsv_tk.bin
}

@test "a stage whose input is missing names it and the stage that makes it" {
    corpus
    run ./run.sh --stage 3
    expect 1 "data/voxceleb2_train/wav.scp is missing or empty: run stages 1 and 2 first."
    run ./run.sh --stage 5
    expect 1 "stage 5 goes on from exp/simclr_fast_resnet34, which stage 4 has not trained. Begin with --stage 4"
    run ./run.sh --stage 6
    expect 1 "exp/simclr_fast_resnet34/checkpoints/averaged.pt: no such checkpoint. There are: none; run stage 4"
    trained simclr_fast_resnet34 simclr_fast_resnet34_ssps_kmeans
    rm exp/simclr_fast_resnet34/checkpoints/100epoch.pt && touch exp/simclr_fast_resnet34/checkpoints/60epoch.pt
    run ./run.sh --stage 5
    expect 1 "where stage 4 is at epoch 60 of 100. Let it end: --stage 4"
    run ./run.sh --stage 6
    expect 1 "dump/raw/voxceleb1_test/wav.scp is missing or empty: run stage 3 first."
}

@test "arrays have nj jobs, but no more than there are utterances" {
    corpus
    prepared voxceleb2_train voxceleb1_test
    run ./run.sh --stage 3 --stop-stage 3 --nj 2
    called 1 "check_disk_space --data data/voxceleb2_train data/voxceleb1_test data/musan_noise data/musan_music data/musan_speech data/rirs --out dump/raw"
    called 6 "{JOB}=1:2 dump/log/pack_.*--num-jobs 2 --job {JOB}"
    trained simclr_fast_resnet34 simclr_fast_resnet34_ssps_kmeans
    run ./run.sh --stage 6 --stop-stage 6 --nj 8
    called 2 "{JOB}=1:3 .*extract_embeddings .*--num-jobs 3 --job {JOB}"
}

@test "fbank: offline copies in stage 2, features of every set and copy in stage 3, then training and extraction on them" {
    corpus
    prepared voxceleb2_train voxceleb1_test voxceleb2_train_{noise,music,babble,reverb}
    trained one
    mkdir -p dump/fbank/voxceleb1_test && cp dump/raw/voxceleb1_test/wav.scp dump/fbank/voxceleb1_test/feats.scp
    run ./run.sh --feats-type fbank --nj 2 --compress cm2 --copies-seed 3 --stage 2 --systems one
    expect 0 "Successfully finished."
    called 1 "prepare_copies --data data/voxceleb2_train --clips data --seed 3 --force false"
    called 6 "finish_packing --data data/.* --out dump/raw/"
    called 1 "check_disk_space --data data/voxceleb2_train data/voxceleb1_test data/musan_noise .* --feature-data data/voxceleb2_train data/voxceleb1_test data/voxceleb2_train_noise .* --feature-out dump/fbank --bands 40 --compress cm2 --out dump/raw"
    called 6 "{JOB}=1:2 dump/log/features_.*compute_features --config conf/systems/simclr_fast_resnet34.yaml conf/features/fbank.yaml --set training.seed=0 .*--compress cm2 --force false --num-jobs 2 --job {JOB}"
    called 1 "finish_features .*--audio dump/raw/voxceleb1_test --clips dump/raw --out dump/fbank/voxceleb1_test --compress"
    for kind in noise music babble reverb; do
        called 1 "finish_features .*--audio dump/raw/voxceleb2_train --copy data/voxceleb2_train_$kind --clips dump/raw --out dump/fbank/voxceleb2_train_$kind --compress"
    done
    called 1 "bin.train --config conf/systems/simclr_fast_resnet34.yaml conf/features/fbank.yaml --train-set dump/fbank/voxceleb2_train --augmentation dump/fbank --out exp/simclr_fast_resnet34 --force false --set training.seed=0"
    called 1 "finish_extraction --system exp/one --checkpoint averaged --data dump/fbank/voxceleb1_test"
    called 1 "score_trials --system exp/one --checkpoint averaged --data dump/fbank/voxceleb1_test"
}

features_alone() { # features_alone FOLDER ...: data directories without audio
    local folder
    for folder in "$@"; do
        mkdir -p "$folder" && printf 'a x.ark:2\nb x.ark:9\n' >"$folder/feats.scp" && echo "a b target" >"$folder/trials"
    done
}

@test "features without audio are kept: no packing, no noises, clean features alone, said once" {
    features_alone k/train k/test data/train data/test dump/fbank/train dump/fbank/test
    mkdir -p exp && echo "the table" >exp/RESULTS.md
    run ./run.sh --feats-type fbank --train-audio k/train --test-audio k/test --nj 2
    expect 0 "Successfully finished."
    expect 0 "they are made of audio, and k/test has no wav.scp"
    [ "$(grep -c 'without copies with noise' <<<"$output")" -eq 1 ]
    called 1 "prepare_corpus --source k/train --out data/train .*--features keep"
    called 1 "prepare_corpus --source k/test --out data/test .*--features keep"
    called 1 "keep_features --config conf/systems/simclr_fast_resnet34.yaml conf/features/kept.yaml --set training.seed=0 --data data/train --out dump/fbank/train --force false"
    called 1 "keep_features --config .* --data data/test --out dump/fbank/test --force false"
    called 2 "bin.train --config conf/systems/simclr_fast_resnet34.yaml conf/features/kept.yaml --train-set"
    called 2 "{JOB}=1:2 .*extract_embeddings"
    for word in pack_audio prepare_noises prepare_responses prepare_copies check_disk_space compute_features; do called 0 "$word"; done
    : >"$calls"
    rm -r k
    run ./run.sh --feats-type fbank --stage 3 --stop-stage 4 --train-audio k/train --test-audio k/test
    expect 0 "Stage 3: features as they came"
    called 2 keep_features
}

@test "features of two makers are not mixed: one line before any work" {
    features_alone k/train k/test
    mkdir w && echo "1 x y" >w/trials
    run ./run.sh --feats-type fbank --train-audio k/train --test-audio "k/test w"
    expect 1 "w has no feats.scp, but other sets keep the features that they came with, and frames of two makers cannot be mixed"
    run ./run.sh --feats-type fbank --features keep --train-audio w --test-audio k/test
    expect 1 "w has no feats.scp"
    called 0 .
}

@test "where wav.scp is there too, features are computed unless --features keep" {
    features_alone k/train k/test
    printf 'a a.wav\nb b.wav\n' | tee k/train/wav.scp >k/test/wav.scp
    mkdir m r
    run ./run.sh --feats-type fbank --train-audio k/train --test-audio k/test --musan m --rirs r --stop-stage 1
    expect 0 "Successfully finished."
    called 2 "prepare_corpus .*--features compute"
    : >"$calls"
    run ./run.sh --feats-type fbank --features keep --train-audio k/train --test-audio k/test --stop-stage 2
    expect 0 "they would be computed by our front end"
    called 2 "prepare_corpus .*--features keep"
    called 0 prepare_noises
    rm k/test/wav.scp
    run ./run.sh --feats-type fbank --features compute --train-audio k/train --test-audio k/test --stop-stage 1
    expect 0 "Successfully finished."
    : >"$calls"
    run ./run.sh --train-audio k/train --test-audio k/test --stop-stage 1
    called 2 "prepare_corpus .*--features compute"
}

@test "stage 5 goes on from stage 4, once for each name in --positives" {
    corpus
    trained simclr_fast_resnet34
    run ./run.sh --stage 5 --stop-stage 5 --positives "same_speaker ssps_kmeans" --seed 3
    expect 0 "Stage 5"
    for name in same_speaker ssps_kmeans; do
        called 1 "bin.train --config conf/systems/simclr_fast_resnet34.yaml --train-set .*--out exp/simclr_fast_resnet34_$name --force false --continue-from exp/simclr_fast_resnet34 --positives conf/positives/$name.yaml --set training.seed=3"
        called 1 "bin.average_checkpoints --system exp/simclr_fast_resnet34_$name"
    done
}

@test "positives that stage 5 could not begin with are told before stage 4" {
    corpus && prepared voxceleb2_train voxceleb1_test
    echo check_with >"$SSLSV_VENV/failing"
    run ./run.sh --stage 4 --positives "same_utterance ssps_live ssps_6k_0"
    expect 1 "check_with failed"
    called 1 "asked check_with dump/raw/voxceleb2_train simclr_fast_resnet34 same_utterance ssps_live ssps_6k_0"
    run ./run.sh --stage 1 --positives ssps_6k_0
    expect 1 "check_with failed"
    called 1 "asked check_with data/voxceleb2_train simclr_fast_resnet34 ssps_6k_0"
    called 1 "bin.prepare_trials"
    for word in prepare_noises "bin.train "; do called 0 "$word"; done
    [[ ${lines[-1]} == *"stopped by exit status 1: mend what the lines above name."* ]]
    echo check >"$SSLSV_VENV/failing"
    run ./run.sh --stage 1
    expect 2 "check failed"
    called 1 "bin.prepare_trials"
    rm "$SSLSV_VENV/failing"
    run ./run.sh --stage 4 --stop-stage 5 --positives same_utterance
    expect 0 "Successfully finished"
    called 2 "bin.train "
}

@test "--systems and --checkpoint choose what stages 6 and 7 treat" {
    corpus
    prepared voxceleb2_train voxceleb1_test
    trained one two
    run ./run.sh --stage 6 --systems "one two" --checkpoint latest
    expect 0 "Successfully finished."
    for name in one two; do
        called 1 "extract_embeddings --system exp/$name --checkpoint latest"
        called 1 "score_trials --system exp/$name --checkpoint latest .*--trials data/voxceleb1_test/trials_veri_test2"
    done
    called 0 "exp/simclr"
    run ./run.sh --stage 6 --systems ones
    expect 2 "there is no system exp/ones. Did you mean one?"
}

@test "another corpus has folders of its own, and several lists are scored" {
    mkdir -p a b m r
    echo "1 x y" | tee one.txt >two.list
    prepared train test
    run ./run.sh --train-audio a --test-audio b --trials "one.txt two.list" --musan m --rirs r --labels false --tolerance 0.01
    expect 0 "Successfully finished."
    called 1 "prepare_corpus --source a --out data/train --labels false --part dev --features compute --tolerance 0.01"
    called 1 "prepare_corpus --source b --out data/test --labels auto --only one.txt two.list --features compute --tolerance"
    called 1 "prepare_trials --source two.list --data data/test --out data/test/trials_two"
    called 4 "score_trials"
}

@test "--train-audio none treats the test sets alone: no training audio, no noises, no training" {
    mkdir -p t data/test dump/raw/test dump/fbank/test
    trained old
    echo "1 x y" >t/trials
    echo "the table" >exp/RESULTS.md
    printf 'a x\nb x\n' | tee data/test/wav.scp dump/raw/test/wav.scp >dump/fbank/test/feats.scp
    run ./run.sh --train-audio none --test-audio t --systems old
    expect 0 "Successfully finished."
    called 1 prepare_corpus
    called 1 "check_disk_space --data data/test --out"
    called 1 finish_packing
    called 1 finish_extraction
    called 1 score_trials
    for word in prepare_noises prepare_responses bin.train; do called 0 "$word"; done
    : >"$calls"
    run ./run.sh --train-audio none --test-audio t --systems old --feats-type fbank --pack-audio false
    expect 0 "Successfully finished."
    called 1 finish_features
    called 1 "check_disk_space --data --in-place data/test --feature-data data/test --feature-out"
    for words in "--stage 2 --stop-stage 2" "--stage 4 --stop-stage 5"; do
        # shellcheck disable=SC2086 # several words
        run ./run.sh --train-audio none --test-audio t $words
        expect 2 "--train-audio none: stages 2, 4 and 5 are about training"
    done
}

@test "folders given from elsewhere are looked for where the caller stands" {
    mkdir -p "$BATS_TEST_TMPDIR/elsewhere/"{a,b,m,r}
    cd "$BATS_TEST_TMPDIR/elsewhere" || return
    echo "1 x y" >one.txt
    echo "seed=4" >some.conf
    run ../egs/voxceleb/run.sh --stop-stage 2 --train-audio a --test-audio "$PWD/b" --trials one.txt --musan m --rirs r --conf some.conf
    expect 0 "Successfully finished."
    called 1 "--source $PWD/a --out data/train"
    called 1 "--source $PWD/b --out data/test"
    called 1 "--source $PWD/one.txt"
}

@test "--config, --set and --tag reach every stage: later files win, and the folder has the tag" {
    corpus && prepared voxceleb2_train voxceleb1_test
    echo "training: {epochs: 3}" | tee mine.yaml >yours.yaml
    run ./run.sh --stage 4 --config mine.yaml --config yours.yaml --set training.epochs=4 --set=training.compile=true --tag lr2 --force
    expect 0 "Successfully finished."
    files="conf/systems/simclr_fast_resnet34.yaml mine.yaml yours.yaml"
    called 2 "bin.train --config $files --train-set .*--force true.*--set training.seed=0 training.epochs=4 training.compile=true"
    called 1 "bin.train .*--out exp/simclr_fast_resnet34-lr2_ssps_kmeans --force true --continue-from exp/simclr_fast_resnet34-lr2 "
    called 1 "finish_extraction --system exp/simclr_fast_resnet34-lr2_ssps_kmeans --checkpoint"
    prepared voxceleb2_train_{noise,music,babble,reverb}
    run ./run.sh --stage 3 --stop-stage 3 --config mine.yaml --set frontend.bands=80 --feats-type fbank
    called 1 "check_disk_space .*--bands 80"
    for words in "--set training.epochs" "--set training.epochs=010" "--set training.epochs=[1"; do
        # shellcheck disable=SC2086 # several words
        run ./run.sh --stage 4 $words
        expect 2 "--set training.epochs"
    done
}

@test "--scale brings the size of a corpus and what the method needs there; a method without is an error" {
    corpus && prepared voxceleb2_train voxceleb1_test
    run ./run.sh --stage 4 --stop-stage 4 --system byol_fast_resnet34 --scale gpu_testbed
    called 1 "bin.train --config conf/systems/byol_fast_resnet34.yaml conf/scale/gpu_testbed.yaml conf/small/byol.yaml --train-set"
    run ./run.sh --stage 4 --stop-stage 4 --system dino_ecapa --scale testbed
    called 1 "bin.train --config conf/systems/dino_ecapa.yaml conf/scale/testbed.yaml conf/small/dino_testbed.yaml --train-set"
    rm conf/small/byol.yaml
    run ./run.sh --stage 4 --stop-stage 4 --system byol_fast_resnet34 --scale testbed
    expect 2 "--scale testbed: there is no conf/small/byol.yaml, which says what the method byol needs where steps are few."
    called 2 "bin.train "
}

@test "a path goes wherever a name goes, also from elsewhere, and settings may be written out for a sampler" {
    corpus && prepared voxceleb2_train voxceleb1_test
    mkdir "$BATS_TEST_TMPDIR/elsewhere" && cd "$BATS_TEST_TMPDIR/elsewhere" || return
    cp ../egs/voxceleb/conf/positives/ssps_live.yaml mine.yaml
    echo "include: [../egs/voxceleb/conf/systems/moco_ecapa.yaml]" >own.yaml
    run ../egs/voxceleb/run.sh --stage 4 --stop-stage 5 --system own.yaml+masked --scale conf/scale/testbed.yaml \
        --positives "mine.yaml ssps_kmeans:clusters=240,neighbours=1"
    expect 0 "Successfully finished"
    here=$PWD
    files="$here/own.yaml conf/variants/masked.yaml conf/scale/testbed.yaml conf/small/moco.yaml"
    called 1 "bin.train --config $files --train-set .*--out exp/own+masked --force"
    called 1 "--out exp/own+masked_mine .*--positives $here/mine.yaml --set training.seed=0"
    called 1 "--out exp/own+masked_ssps_kmeans_240_1 .*--positives conf/positives/ssps_kmeans.yaml --set positives.clusters=240 positives.neighbours=1 --set training"
}

@test "--dry-run prints the plan and touches nothing, and values with any signs are data" {
    corpus
    # shellcheck disable=SC2016 # nothing may be expanded
    odd='a$(touch ran)b="c" d'
    mkdir "$odd" && find . | sort >"$BATS_TEST_TMPDIR/before"
    run ./run.sh --dry-run --train-audio "$odd" --mini false
    expect 0 "train_folders=$odd"
    expect 0 "stages=1 2 3 4 5 6 7"
    expect 0 "continued=simclr_fast_resnet34_ssps_kmeans"
    [[ ${lines[0]} =~ ^stages= && $output != *"Successfully finished"* ]]
    find . | sort | diff - "$BATS_TEST_TMPDIR/before"
    called 0 sslsv_tk.bin
    run ./run.sh --stop-stage 1 --train-audio "$odd"
    expect 0 "Successfully finished"
    grep -qF -- "--source $odd --out data/train" "$calls"
    [ ! -e ran ]
    grep -qF "train_folders=$odd" exp/log/plan
    mkdir $'two\nlines'
    run ./run.sh --dry-run --musan $'two\nlines'
    expect 2 "a name or a path with an end of line cannot be planned with"
}

@test "the generated corpus has folders, configuration and positives of its own" {
    for setting in mini tiny; do
        mkdir -p "data_$setting/corpus/"{voxceleb1,voxceleb2,musan,rirs}
        echo "1 a b" >"data_$setting/corpus/voxceleb1/veri_test2.txt"
        : >"$calls"
        run ./run.sh "--$setting" true --stop-stage 2 --corpus-seed 7
        expect 0 "Successfully finished."
        called 1 "local/make_mini_corpus.py --out data_$setting/corpus --seed 7"
        called 1 "prepare_corpus --source data_$setting/corpus/voxceleb2 --out data_$setting/voxceleb2_train"
        run ./run.sh "--$setting" true --stage 4 --stop-stage 5
        expect 0 "Successfully finished."
        called 3 "--config conf/systems/simclr_fast_resnet34.yaml conf/scale/$setting.yaml .*--train-set"
        called 1 "--out exp_$setting/simclr_fast_resnet34_ssps_$setting"
        called 1 "--out exp_$setting/simclr_fast_resnet34_same_utterance"
        [ ! -e data ] && [ ! -e exp ]
    done
}

@test "a command that fails ends the recipe with status 1 and nothing after it runs" {
    corpus
    echo bin.prepare_noises >"$SSLSV_VENV/failing"
    run ./run.sh
    [ "$status" -eq 1 ]
    [[ $output != *"Successfully"* ]]
    called 1 bin.prepare_noises
    called 0 bin.prepare_responses
}

@test "two runs in one folder: the second says so and stops" {
    corpus
    mkdir -p data/log
    exec {held}>data/log/lock
    flock "$held"
    echo 4242 >data/log/lock
    run ./run.sh --stop-stage 1
    exec {held}>&-
    expect 1 "another run (process 4242) is at work here and holds data/log/lock"
    called 0 sslsv_tk.bin
    run ./run.sh --stop-stage 1
    expect 0 "Successfully finished."
}

@test "a file system without locks is told from a run that holds the lock" {
    corpus
    mkdir -p programs
    printf '#!/bin/sh\nexit 65\n' >programs/flock
    chmod +x programs/flock
    PATH=$PWD/programs:$PATH run ./run.sh --stop-stage 1
    expect 1 "data/log/lock cannot be locked: its file system has no locks."
    called 0 sslsv_tk.bin
}

@test "Ctrl-C, kill and kill -9 end what the recipe started, and the next run is not locked out" {
    corpus
    for number in INT TERM KILL; do
        sleeping_environment "$BATS_TEST_TMPDIR/venv"
        setsid --wait env --default-signal=INT ./run.sh --stop-stage 1 >"$BATS_TEST_TMPDIR/printed" 2>&1 &
        for _ in $(seq 600); do [ ! -s "$SSLSV_VENV/job" ] || break && sleep 0.05; done
        job=$(cat "$SSLSV_VENV/job")
        read -r script _ <data/log/lock
        kill -0 "$job" "$script"
        if [ "$number" = INT ]; then kill -INT -- "-$script"; else kill "-$number" "$script"; fi
        wait $! && return 1
        for _ in $(seq 600); do kill -0 "$job" 2>/dev/null || break && sleep 0.05; done
        run kill -0 "$job"
        [ "$status" -ne 0 ]
        pretend_environment "$BATS_TEST_TMPDIR/venv"
        run ./run.sh --stop-stage 1
        expect 0 "Successfully finished."
    done
}

@test "--system names a row of the tables, with variants over it" {
    corpus && prepared voxceleb2_train voxceleb1_test
    run ./run.sh --stage 4 --stop-stage 5 --system dino_ecapa+no_augmentation+as_written --positives "ssps_25k_1 same_utterance"
    expect 0 "Successfully finished"
    files="conf/systems/dino_ecapa.yaml conf/variants/no_augmentation.yaml conf/variants/as_written/dino_ecapa.yaml"
    called 3 "bin.train --config $files --train-set"
    called 1 "bin.train .*--out exp/dino_ecapa+no_augmentation+as_written --force"
    called 1 "bin.train .*--out exp/dino_ecapa+no_augmentation+as_written_ssps_25k_1 --force .*--positives conf/positives/ssps_kmeans.yaml --set positives.clusters=25000 positives.neighbours=1 --set training.seed=0"
}

@test "--positives none leaves stage 5 out" {
    corpus && prepared voxceleb2_train voxceleb1_test
    run ./run.sh --stage 4 --system supervised_ecapa --positives none
    expect 0 "Successfully finished"
    called 1 "bin.train "
    called 1 "write_results"
    called 0 "supervised_ecapa_"
}

@test "a system without positives has no stage 5, and is refused any before stage 4" {
    corpus && prepared voxceleb2_train voxceleb1_test
    run ./run.sh --stage 4 --system supervised_ecapa
    expect 0 "supervised_ecapa has no positives: no stage 5"
    called 1 "bin.train "
    called 0 "supervised_ecapa_"
    run ./run.sh --stage 4 --system supervised_ecapa --positives "ssps_25k_1"
    expect 2 "supervised_ecapa is trained on labels and has no positives"
    called 1 "bin.train "
    run ./run.sh --stage 4 --system dino_ecapa
    expect 0 "Successfully finished"
    called 3 "bin.train "
}

@test "a system, a variant or positives without a file stop before any work" {
    for words in "--system simclr_resnet" "--system +no_augmentation" "--system simclr_ecapa+none" "--positives ssps_7k_1"; do
        # shellcheck disable=SC2086 # several words
        run ./run.sh $words
        expect 2 "there is no conf/"
    done
    run ./run.sh --system simclr_ecpa
    expect 2 "Did you mean simclr_ecapa?"
    run ./run.sh --positives ssps_25k_3
    expect 2 "Did you mean ssps_25k_"
    [ ! -e "$calls" ] || called 0 "bin.train"
}

@test "a GPU that the driver offers and torch cannot use stops the run before its first stage, unless it needs none" {
    corpus && prepared voxceleb2_train voxceleb1_test
    mkdir driver
    # shellcheck disable=SC2016 # for the script to expand
    printf '#!/bin/sh\ncase $1 in --list-gpus) echo "GPU 0: NVIDIA A100 (UUID: GPU-1)" ;; *) echo 470.82.01 ;; esac\n' >driver/nvidia-smi
    chmod +x driver/nvidia-smi
    export PATH=$PWD/driver:$PATH
    run ./run.sh --ngpu 1
    expect 1 "The driver (470.82.01) offers 1 GPU (NVIDIA A100)"
    called 0 .
    run ./run.sh --ngpu 1 --stop-stage 1
    expect 0 "Successfully finished"
    run ./run.sh --ngpu 0 --stage 4
    expect 0 "Successfully finished"
}

@test "run.sh by a symbolic link and with CDPATH set is the same run.sh" {
    corpus
    ln -s "$PWD/run.sh" ../../link.sh
    mkdir -p ../../other/egs/voxceleb
    cd ../..
    CDPATH=.:$PWD/other run ./link.sh --dry-run true --stop-stage 1
    expect 0 "train_set=voxceleb2_train"
    CDPATH=.:$PWD/other run egs/voxceleb/run.sh --dry-run true --stop-stage 1
    expect 0 "train_set=voxceleb2_train"
}

@test "folders of SSLSV_PLUGINS are named from where the user stands" {
    corpus && trained simclr_fast_resnet34
    mkdir -p ../../lab/positives
    echo "positives: {name: same_utterance}" >../../lab/positives/mine.yaml
    cd ../..
    SSLSV_PLUGINS=lab run egs/voxceleb/run.sh --dry-run true --stage 5 --stop-stage 5 --positives mine
    expect 0 "choice_files=$PWD/lab/positives/mine.yaml"
}

@test "who reads only the head of the help is told nothing of a failure" {
    run bash -c "./run.sh --help | head -n 1"
    [ "$status" -eq 0 ]
    [[ $output != *stopped* ]]
}

@test "an option that is mistyped is answered with those that are near, all of them" {
    run ./run.sh --syste x
    expect 2 "unknown option --syste. Did you mean --system or --systems? (--help shows the options)"
    run ./run.sh --stop-stge=3
    expect 2 "unknown option --stop-stge. Did you mean --stop-stage?"
    run ./run.sh --trial list
    expect 2 "unknown option --trial. Did you mean --trials?"
    run ./run.sh --wombat
    expect 2 "unknown option --wombat. (--help shows the options)"
}

@test "GPUs that are not there are told by --dry-run, and those that cannot share a batch" {
    corpus
    CUDA_VISIBLE_DEVICES="" run ./run.sh --ngpu 3 --dry-run
    expect 2 "--ngpu 3: this machine offers 0 GPUs (nvidia-smi, CUDA_VISIBLE_DEVICES). --ngpu 0 for the CPU"
    CUDA_VISIBLE_DEVICES=0,1 run ./run.sh --ngpu 3 --dry-run
    expect 2 "--ngpu 3: this machine offers 2 GPUs (nvidia-smi, CUDA_VISIBLE_DEVICES). --ngpu 2, or --ngpu 0 for the CPU"
    cmd_backend=slurm run ./run.sh --ngpu 3 --num-nodes 2 --dry-run
    expect 2 "a batch of 256 utterances cannot be shared out evenly among 6 processes. Set training.batch_size to a multiple"
    cmd_backend=slurm run ./run.sh --ngpu 3 --num-nodes 2 --set training.batch_size=252 --dry-run
    expect 0 "ngpu=3"
    called 0 sslsv_tk.bin
}

@test "settings are checked before corpora, and both before any work" {
    echo check >"$SSLSV_VENV/failing"
    run ./run.sh
    expect 2 "check failed"
    [[ $output != *VOXCELEB2* ]]
}

@test "what is written lies where the user stands when it was named, else in the recipe" {
    corpus
    mkdir "$BATS_TEST_TMPDIR/mine" && cd "$BATS_TEST_TMPDIR/mine" || return
    run ../egs/voxceleb/run.sh --stop-stage 1 --datadir d --dumpdir p/q --expdir "$PWD/e"
    expect 0 "Logs and results: $PWD/d, $PWD/p/q, $PWD/e ("
    called 1 "--out $PWD/d/voxceleb2_train"
    [ -s e/log/plan ] && [ ! -e ../egs/voxceleb/exp ]
    run ../egs/voxceleb/run.sh --stop-stage 1
    expect 0 "Logs and results: data, dump, exp ("
    called 1 "--out data/voxceleb2_train"
}

@test "a folder with the word JOB in its name is left as it is, and one with {JOB} is refused" {
    corpus && prepared voxceleb2_train voxceleb1_test
    cp -r data my_JOB_dir
    run ./run.sh --stage 3 --stop-stage 3 --nj 2 --datadir my_JOB_dir --dumpdir JOB/dump
    expect 0 "Successfully finished."
    called 1 "{JOB}=1:2 JOB/dump/log/pack_rirs.{JOB}.log .*--data my_JOB_dir/rirs --out JOB/dump/raw/rirs .*--num-jobs 2 --job {JOB}"
    run ./run.sh --stage 3 --stop-stage 3 --dumpdir "a{JOB}"
    expect 2 "{JOB} is what run.sh writes for the number of a job. Name it otherwise"
}

@test "--init-from is for stage 4 alone: a checkpoint, or a system whose average it is" {
    corpus && trained old
    cd "$BATS_TEST_TMPDIR" || return
    for named in egs/voxceleb/exp/old egs/voxceleb/exp/old/checkpoints/averaged.pt; do
        : >"$calls"
        run egs/voxceleb/run.sh --stage 4 --stop-stage 5 --init-from "$named"
        expect 0 "Successfully finished."
        called 1 "asked check_initial_weights simclr_fast_resnet34 $PWD/egs/voxceleb/exp/old/checkpoints/averaged.pt"
        called 1 "bin.train .*--out exp/simclr_fast_resnet34 .*--init-from $PWD/egs/voxceleb/exp/old/checkpoints/averaged.pt"
        called 1 "--init-from"
    done
    run egs/voxceleb/run.sh --stage 4 --init-from nowhere
    expect 2 "--init-from nowhere: there is no checkpoint $PWD/nowhere"
}

@test "--scale auto: after stage 1 the batch and K fit the training set, where nobody has written others" {
    corpus
    mkdir -p data/voxceleb2_train data/voxceleb1_test
    seq 1440 >data/voxceleb2_train/wav.scp
    run ./run.sh --stop-stage 2 --scale auto
    expect 0 "(plan) --scale auto: batch and K follow when stage 1 has counted the utterances"
    called 0 "asked check_with"
    for set in voxceleb2_train voxceleb1_test; do mkdir -p "dump/raw/$set" && cp data/voxceleb2_train/wav.scp "dump/raw/$set"; done
    run ./run.sh --stage 4 --stop-stage 5 --scale auto --positives "ssps_kmeans ssps_knn ssps_25k_1 ssps_live:neighbours=0"
    expect 0 "(plan) --scale auto: 1,440 utterances; training.batch_size=64 ssps_kmeans:clusters=240,queue_size=N ssps_knn:nearest=14"
    expect 0 "ssps_live_0:clusters=240"
    called 5 "bin.train --config conf/systems/simclr_fast_resnet34.yaml conf/small/simclr.yaml --train-set .*--set training.batch_size=64 training.seed=0"
    called 1 "ssps_25k_1 .*--set positives.clusters=25000 positives.neighbours=1 --set training"
    : >"$calls"
    run ./run.sh --stage 4 --stop-stage 4 --scale auto --set training.batch_size=32
    called 1 "bin.train --config conf/systems/simclr_fast_resnet34.yaml --train-set .*--set training.seed=0 training.batch_size=32"
}

@test "the last line of a failure says what the same command would do" {
    corpus
    for status in 1 75 2; do
        printf '#!/bin/bash\nexit %s\n' "$status" >fail && chmod +x fail
        sed "s|export train_cmd=.*|export train_cmd=$PWD/fail|" ../../egs/voxceleb/cmd.sh >cmd.new && cp cmd.new cmd.sh
        run ./run.sh --stop-stage 1
        [ "$status" -eq 1 ]
        last[status_asked++]=${lines[-1]}
    done
    [[ ${last[0]} == *"stopped by exit status 1: mend what the lines above name. Until then the same command stops here again, afterwards it goes on; what is complete stays" ]]
    [[ ${last[1]} == *"stopped by request: the same command goes on from the state that is saved" ]]
    [[ ${last[2]} == *"interrupted: the same command goes on, and what is complete stays" ]]
}

@test "sh run.sh is bash run.sh" {
    run sh run.sh --help
    expect 0 "stop_stage=7           # last stage to run, inclusive"
}
