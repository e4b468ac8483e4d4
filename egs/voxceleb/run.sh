#!/usr/bin/env bash
# From audio to equal error rates: speaker encoders trained without labels, SimCLR first, then SSPS.
# shellcheck disable=SC2034,SC2154 # options go to the plan, and what follows from them comes from it
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # where it was called as `sh run.sh`
set -Eeuo pipefail
# The folder of this script, also where it is called by a link; the functions of the stages.
caller=$PWD
recipe=$(CDPATH="" cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
. "$recipe/../../utils/stages.sh"

# Options
# Which part of the recipe, and how
stage=1                # first stage to run
stop_stage=7           # last stage to run, inclusive
nj=auto                # jobs of an array (stages 3 and 6); auto: as many as cores, on a cluster 16
ngpu=auto              # GPUs of a machine that train together, one process on each; other jobs take one each; 0: the CPU;
                       # auto: as many as there are and the batch can be shared out among, on a cluster 1
num_nodes=1            # machines that train together (a cluster only), each with ngpu GPUs, or with one process on its CPU
num_threads=auto       # threads of each process that trains; auto: all cores together, on a cluster 4 each
force=false            # true: make anew what is there but was made with other options or from other inputs
dry_run=false          # true: check all options, print the plan that follows from them, and change nothing
# Which system
system=simclr_fast_resnet34  # stage 4: a name of conf/systems, or a path, trained into exp/<system>; <system>+<variant>: with
                       # conf/variants/<variant>.yaml over it, as in dino_ecapa+no_augmentation; README.md has the table
scale=                 # of a small corpus: a name of conf/scale, or a path; with it comes conf/small/<method>.yaml
                       # auto: a batch and a number of clusters that fit the training set, where the papers' do not
init_from=             # stage 4 begins with the weights of this checkpoint, or of this system (averaged), as far as they fit
config=()              # a YAML file whose values win over those; may be given several times, later ones win
set=()                 # a setting over all files, as in training.batch_size=128; may be given several times
tag=                   # a word: the system's folder is exp/<system>-<tag>, so that settings of its own have their own folder
positives=             # stage 5: names of conf/positives or conf/aliases.yaml, paths, or samplers with settings, as in
                       # "ssps_kmeans:clusters=240,neighbours=1 same_utterance"; empty: ssps_kmeans; none: no stage 5
systems=               # stages 6-7: names of folders in exp; empty: those of stages 4 and 5
checkpoint=averaged    # what is evaluated: averaged (last 10 epochs), latest, the number of an epoch, or best (of --validation)
validation=            # a list of the test sets by its name in the results: its EER is logged every training.validation_epochs
                       # epochs of stages 4 and 5, and the best checkpoint kept; not of the speakers that you report on
seed=0                 # of everything drawn in training
# Which audio: VoxCeleb as db.sh has it, or any corpus (folders of wav, flac, ogg, mp3, m4a ..., or data directories of Kaldi)
train_audio=           # in place of VOXCELEB2: folders separated by spaces, VoxCeleb's or <speaker>/<recording>/<utterance>.wav
                       # none: no training set, for scoring new test sets with a system that is there (stages 1, 3, 6, 7)
train_part=dev         # of a VoxCeleb folder that holds dev and test: dev, test or all
test_audio=            # in place of VOXCELEB1: folders separated by spaces, DIR or SET=DIR (the set's name in results)
trials=                # trial lists, separated by spaces, LIST or SET=LIST, or folders of official lists; a list below a test
                       # folder is about that set; empty: VOXCELEB1/veri_test2.txt (the cleaned O list), or DIR/trials
labels=true            # false: the speakers of train_audio are not known, and its files may lie at any depth
prefer=                # where an utterance is there in several files: kinds to take, the first choice first, as in "wav m4a"
tolerance=0.0          # share of audio files that may be left out when unreadable (they are listed in <folder>/rejected)
channel=mix            # of files with several channels: mix (their mean), or one by its number from 1
pack_audio=true        # false: speech in 16 kHz mono 16-bit wav files is read where it is, without a copy in dump
allow_pipes=false      # true: run the commands in a wav.scp (values that end with |); only for tables that you trust
musan=                 # a tree with noise, music, speech on top, in place of MUSAN
rirs=                  # a tree of room responses in place of RIRS
feats_type=raw         # raw: 16-bit waveforms in arks, augmented anew at every step; fbank: log-mel frames in arks, of the
                       # clean set and of offline copies with noise, music, babble and reverberation
features=auto          # fbank: features of data directories with feats.scp: keep (as they are, in all sets; augmented copies are
                       # made of audio, so there are none), compute (from the audio of wav.scp); auto: keep where one of
                       # the sets has feats.scp alone
compress=none          # fbank: none (32 bits per value) or cm2 (16 bits, half the disk space)
copies_seed=0          # fbank: of what the offline copies are made with
# Where
datadir=               # data directories; empty: data (data_mini, data_tiny)
dumpdir=               # packed audio; empty: dump (dump_mini, dump_tiny)
expdir=                # systems and results; empty: exp (exp_mini, exp_tiny)
python=${PYTHON:-python3}  # interpreter that the environment is made with
# Without any corpus
mini=false             # true: a generated corpus in the layout of VoxCeleb, its own folders and --scale mini;
                       # makes the environment if it is missing; stage 5 with ssps_mini and same_utterance, the control
tiny=false             # true: as mini, but seconds of audio and --scale tiny: a test of files, not of error rates
corpus_seed=0          # of the generated corpus
# End of options

printf -v call '%q ' "$0" "$@" # so that it may be pasted
. "$recipe/../../utils/parse_options.sh"
[ $# -eq 0 ] || fail "unexpected argument '$1': only options are taken (--help shows them)" 2
"$dry_run" || log "${call% }"
resolve_plugins
cd "$recipe"
export PYTHON=$python
generated=false
! "$mini" && ! "$tiny" || generated=true
if "$generated" && ! "$dry_run"; then (. ./path.sh) 2>/dev/null || ../../tools/install.sh; fi
. ./path.sh
. ./cmd.sh
. ./db.sh

# The plan (sslsv_tk/bin/plan.py): what follows from the options, checked before any work, as lines name=value of these names.
plan_values="stages features datadir dumpdir expdir raw dump listing train_set musan rirs bands system nj ngpu num_threads
    trainer_threads"
plan_arrays="note train_folders test_sets test_folders lists list_sets list_names speech noises copies configs settings
    trainer watch initial continued choice_files choice_settings evaluated"
. ../../utils/read_plan.sh
make_plan

one_gpu=$((ngpu > 0 ? 1 : 0)) # of a job that does not train
read -ra preferred <<<"${prefer:+--prefer $prefer}"

prepare() { # prepare SET OPTION ...: a data directory of speech
    job "$datadir/log/prepare_$1.log" prepare_corpus \
        "${@:2}" \
        --features "$features" \
        "${preferred[@]}" \
        --tolerance "$tolerance" --force "$force"
}

train() { # train NAME OPTION ...: the system exp/NAME, then the mean of its last epochs
    local out=$expdir/$1 logs=$expdir/log/$1
    hold "$logs/lock"
    log "training $out (its steps: $logs/train.log)"
    $cuda_cmd --follow --gpu "$ngpu" --num-nodes "$num_nodes" --num-threads "$trainer_threads" "$logs/train.log" \
        "${trainer[@]}" \
        --config "${configs[@]}" \
        --train-set "$dump/$train_set" \
        --augmentation "$dump" \
        --out "$out" \
        --force "$force" \
        "${watch[@]}" \
        "${@:2}" \
        --set "${settings[@]}"
    job "$logs/average.log" average_checkpoints --system "$out"
    release
}

if "$generated" && { runs 1 || runs 2; }; then
    hold "$datadir/log/lock"
    log "generating a corpus in $datadir/corpus"
    $train_cmd --num-threads 1 "$datadir/log/make_mini_corpus.log" \
        python3 local/make_mini_corpus.py \
        --out "$datadir/corpus" \
        --seed "$corpus_seed" \
        --tiny "$tiny" \
        --force "$force"
    release
    find_complete "$expdir/log/plan" # the audio is there now
fi

if begins 1; then
    log "Stage 1: data preparation ($datadir: ${speech[*]})"
    hold "$datadir/log/lock"
    [ -z "$train_set" ] ||
        prepare "$train_set" --source "${train_folders[@]}" --out "$datadir/$train_set" --labels "$labels" --part "$train_part"
    for index in "${!test_sets[@]}"; do
        name=${test_sets[index]}
        find_lists_of "$name" # into only
        prepare "$name" --source "${test_folders[index]}" --out "$datadir/$name" --labels auto "${only[@]}"
    done
    for index in "${!lists[@]}"; do
        job "$datadir/log/prepare_trials_${list_names[index]}.log" prepare_trials \
            --source "${lists[index]}" \
            --data "$datadir/${list_sets[index]}" \
            --out "$datadir/${list_sets[index]}/trials_${list_names[index]}"
    done
    release
fi
if [[ " $stages " == *" 1 "* ]] && { runs 4 || runs 5; }; then make_plan --after-stage 1; fi

if begins 2; then
    log "Stage 2: augmentation lists ($datadir/musan_noise, musan_music, musan_speech, rirs)"
    hold "$datadir/log/lock"
    job "$datadir/log/prepare_noises.log" prepare_noises \
        --source "$musan" \
        --out "$datadir" \
        --tolerance "$tolerance" --force "$force"
    job "$datadir/log/prepare_responses.log" prepare_responses \
        --source "$rirs" \
        --out "$datadir/rirs" \
        --tolerance "$tolerance" --force "$force"
    if [ ${#copies[@]} -gt 0 ]; then
        [ -s "$datadir/$train_set/wav.scp" ] || fail "$datadir/$train_set/wav.scp is missing or empty: run stage 1 first."
        job "$datadir/log/prepare_copies.log" prepare_copies \
            --data "$datadir/$train_set" \
            --clips "$datadir" \
            --seed "$copies_seed" \
            --force "$force"
    fi
    release
fi

if begins 3 && [ "$features" = compute ]; then
    log "Stage 3: 16-bit waveforms into arks ($raw)"
    hold "$dumpdir/log/lock"
    sets=("${speech[@]}" "${noises[@]}")
    featured=("${speech[@]}" "${copies[@]}")
    to_write=(--data "${sets[@]/#/$datadir/}")
    "$pack_audio" || to_write=(--data "${noises[@]/#/$datadir/}" --in-place "${speech[@]/#/$datadir/}")
    [ -z "$bands" ] ||
        to_write+=(--feature-data "${featured[@]/#/$datadir/}" --feature-out "$dump" --bands "$bands" --compress "$compress")
    for name in "${sets[@]}" "${copies[@]}"; do jobs_for "$datadir/$name/wav.scp" "stages 1 and 2" >/dev/null; done
    job "$dumpdir/log/check_disk_space.log" check_disk_space "${to_write[@]}" --out "$raw"
    for name in "${sets[@]}"; do
        jobs=$(jobs_for "$datadir/$name/wav.scp" "stages 1 and 2")
        how=(--channel "$channel" --copy "$pack_audio")
        [[ " ${noises[*]} " != *" $name "* ]] || how=(--channel mix --copy true) # these two options are about speech
        array "$train_cmd" "$jobs" "$dumpdir/log/pack_$name" pack_audio \
            --data "$datadir/$name" \
            --out "$raw/$name" \
            "${how[@]}" \
            --allow-pipes "$allow_pipes" \
            --tolerance "$tolerance" --force "$force"
        job "$dumpdir/log/finish_$name.log" finish_packing \
            --data "$datadir/$name" \
            --out "$raw/$name" \
            --num-jobs "$jobs" \
            --force "$force"
    done
    release
fi

if begins 3 && [ "$feats_type,$features" = fbank,compute ]; then
    log "Stage 3: log-mel frames into arks ($dump)"
    hold "$dumpdir/log/lock"
    for name in "${featured[@]}"; do
        jobs=$(jobs_for "$datadir/$name/wav.scp" "stages 1 and 2")
        clean=$name copy=()
        [[ " ${copies[*]} " != *" $name "* ]] || clean=$train_set copy=(--copy "$datadir/$name")
        options=(
            --config "${configs[@]}"
            --set "${settings[@]}"
            --audio "$raw/$clean" "${copy[@]}"
            --clips "$raw"
            --out "$dump/$name"
            --compress "$compress"
            --force "$force"
        )
        array "$decode_cmd --gpu $one_gpu" "$jobs" "$dumpdir/log/features_$name" compute_features "${options[@]}"
        job "$dumpdir/log/finish_features_$name.log" finish_features "${options[@]}" --num-jobs "$jobs"
    done
    release
fi

if begins 3 && [ "$features" = keep ]; then
    log "Stage 3: features as they came ($dump)"
    hold "$dumpdir/log/lock"
    for name in "${speech[@]}"; do
        jobs_for "$datadir/$name/feats.scp" "stage 1" >/dev/null
        job "$dumpdir/log/keep_features_$name.log" keep_features \
            --config "${configs[@]}" \
            --set "${settings[@]}" \
            --data "$datadir/$name" \
            --out "$dump/$name" \
            --force "$force"
    done
    release
fi

if begins 4; then
    log "Stage 4: SSL pre-training ($expdir/$system)"
    train "$system" "${initial[@]}"
fi

if begins 5; then
    for index in "${!continued[@]}"; do
        log "Stage 5: the same training goes on with other positives ($expdir/${continued[index]})"
        read -ra own <<<"${choice_settings[index]:+--set ${choice_settings[index]}}"
        train "${continued[index]}" \
            --continue-from "$expdir/$system" \
            --positives "${choice_files[index]}" \
            "${own[@]}"
    done
fi

if begins 6; then
    log "Stage 6: embeddings of ${test_sets[*]} (${evaluated[*]/#/$expdir/})"
    for name in "${evaluated[@]}"; do
        for test_set in "${test_sets[@]}"; do
            jobs=$(jobs_for "$dump/$test_set/$listing" "stage 3")
            hold "$expdir/log/$name/lock"
            options=(
                --system "$expdir/$name"
                --checkpoint "$checkpoint"
                --data "$dump/$test_set"
                --force "$force"
            )
            array "$decode_cmd --gpu $one_gpu" "$jobs" "$expdir/log/$name/extract_$test_set" extract_embeddings "${options[@]}"
            job "$expdir/log/$name/finish_$test_set.log" finish_extraction "${options[@]}" --num-jobs "$jobs"
            release
        done
    done
fi

if begins 7; then
    log "Stage 7: scores, error rates and $expdir/RESULTS.md"
    for name in "${evaluated[@]}"; do
        hold "$expdir/log/$name/lock"
        for index in "${!lists[@]}"; do
            job "$expdir/log/$name/score_trials_${list_names[index]}.log" score_trials \
                --system "$expdir/$name" \
                --checkpoint "$checkpoint" \
                --data "$dump/${list_sets[index]}" \
                --trials "$datadir/${list_sets[index]}/trials_${list_names[index]}" \
                --force "$force"
        done
        release
    done
    job "$expdir/log/write_results.log" write_results --exp "$expdir"
fi
begins nothing || [[ " $stages " != *" 7 "* ]] || cat "$expdir/RESULTS.md"

log "Successfully finished. [elapsed=${SECONDS}s] Logs and results: $datadir, $dumpdir, $expdir (RESULTS.md after stage 7)"
