#!/usr/bin/env bash
# From audio to equal error rates: speaker encoders trained without labels, SimCLR first, then SSPS.
set -Eeuo pipefail

log() { printf '%s (%s:%s:%s) %s\n' "$(date +%FT%T)" "${BASH_SOURCE[1]##*/}" "${BASH_LINENO[0]}" "${FUNCNAME[1]}" "$*"; }
fail() { printf '%s (run.sh:%s) error: %s\n' "$(date +%FT%T)" "${BASH_LINENO[0]}" "$1" >&2 && exit "${2:-1}"; }

stopped() { # stopped STATUS LINE: the last words of a run whose command failed and said why above
    printf '%s (run.sh:%s) stopped by exit status %s, see above; the same command goes on, and what is complete stays\n' \
        "$(date +%FT%T)" "$2" "$1" >&2
}
trap 'stopped $? $LINENO' ERR

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
# Which system
system=simclr_fast_resnet34  # stage 4: conf/<system>.yaml, trained into exp/<system>; <system>+<variant>: with the values of
                       # conf/variants/<variant>.yaml over it, as in dino_ecapa+no_augmentation; README.md has the table
config=                # one more YAML file, whose values win over those of the system
positives=             # stage 5: names of conf/positives/*.yaml, separated by spaces; empty: ssps_kmeans; none: no stage 5
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
mini=false             # true: a generated corpus in the layout of VoxCeleb, its own folders and conf/mini.yaml;
                       # makes the environment if it is missing; stage 5 with ssps_mini and same_utterance, the control
tiny=false             # true: as mini, but seconds of audio and conf/tiny.yaml: a test of files, not of error rates
corpus_seed=0          # of the generated corpus
# End of options

caller=$PWD
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
log "$0 $*"
. "$recipe/../../utils/parse_options.sh"
[ $# -eq 0 ] || fail "unexpected argument '$1': only options are taken (--help shows them)" 2
((1 <= stage && stage <= stop_stage && stop_stage <= 7)) ||
    fail "--stage $stage --stop-stage $stop_stage: expected a range within 1 to 7" 2
[[ $ngpu =~ ^([0-9]+|auto)$ ]] || fail "--ngpu $ngpu: expected a number or auto" 2
[[ $num_nodes =~ ^[1-9][0-9]*$ ]] || fail "--num-nodes $num_nodes: expected a number from 1" 2
[[ $num_threads =~ ^([1-9][0-9]*|auto)$ ]] || fail "--num-threads $num_threads: expected a number or auto" 2
[[ $nj =~ ^([1-9][0-9]*|auto)$ ]] || fail "--nj $nj: expected a number from 1 or auto" 2
[[ $channel =~ ^(mix|[1-9][0-9]*)$ ]] || fail "--channel $channel: expected mix or a number from 1" 2
[[ $train_part =~ ^(dev|test|all)$ ]] || fail "--train-part $train_part: expected dev, test or all" 2
[[ $feats_type =~ ^(raw|fbank)$ ]] || fail "--feats-type $feats_type: expected raw or fbank" 2
[[ $features =~ ^(auto|keep|compute)$ ]] || fail "--features $features: expected auto, keep or compute" 2
[[ $compress =~ ^(none|cm2)$ ]] || fail "--compress $compress: expected none or cm2" 2

# Files that the user names are looked for where the user stands, also when that is not the recipe's folder.
from_caller() { [[ -z $1 || $1 == /* || $caller == "$recipe" ]] && printf '%s' "$1" || printf '%s/%s' "$caller" "$1"; }
for name in musan rirs config; do
    printf -v "$name" '%s' "$(from_caller "${!name}")"
done
cd "$recipe"

export PYTHON=$python
IFS=+ read -ra variants <<<"$system"
configs=("conf/${variants[0]-}.yaml")
for name in "${variants[@]:1}"; do configs+=("conf/variants/$name.yaml"); done
for file in "${configs[@]}"; do
    [ -f "$file" ] || fail "--system $system: there is no $file here" 2
done
suffix=
generated=false
if "$mini" || "$tiny"; then
    if "$tiny"; then suffix=_tiny; else suffix=_mini; fi
    generated=true
    configs+=("conf/${suffix#_}.yaml")
    positives=${positives:-ssps$suffix same_utterance}
    (. ./path.sh) 2>/dev/null || ../../tools/install.sh
fi
datadir=${datadir:-data$suffix}
dumpdir=${dumpdir:-dump$suffix}
expdir=${expdir:-exp$suffix}
. ./path.sh
. ./cmd.sh
. ./db.sh
if "$generated"; then
    VOXCELEB1=$datadir/corpus/voxceleb1 VOXCELEB2=$datadir/corpus/voxceleb2
    MUSAN=$datadir/corpus/musan RIRS=$datadir/corpus/rirs
fi

# What several stages need is set here, so that each runs alone from the artifacts on disk.
raw=$dumpdir/raw dump=$dumpdir/$feats_type listing=wav.scp # listing: the table of the utterances in $dump/SET
copies=() # data directories of the offline copies
noises=(musan_noise musan_music musan_speech rirs)
train_set=voxceleb2_train train_folders=("$VOXCELEB2")
. local/test_sets.sh
if [ "$train_audio" = none ]; then
    train_set='' train_folders=() noises=()
    [[ ! "$stage$stop_stage" =~ ^(22|44|45|55)$ ]] || fail "--train-audio none: stages 2, 4 and 5 are about training" 2
    log "--train-audio none: only the test sets are treated, stages 2, 4 and 5 are left out"
elif [ -n "$train_audio" ]; then
    train_set="train"
    split_folders train_folders "$train_audio"
    for index in "${!train_folders[@]}"; do train_folders[index]=$(from_caller "${train_folders[index]}"); done
fi
find_test_sets "$test_audio" "$trials"
. local/kept_features.sh
decide_features
if [ "$features" = keep ]; then
    configs+=(conf/kept_features.yaml) listing=feats.scp
elif [ "$feats_type" = fbank ]; then
    configs+=(conf/fbank.yaml) listing=feats.scp
    [ -z "$train_set" ] || copies=("$train_set"_{noise,music,babble,reverb})
fi
[ -z "$config" ] || configs+=("$config")
musan=${musan:-$MUSAN} rirs=${rirs:-$RIRS}
read -ra preferred <<<"${prefer:+--prefer $prefer}"
read -ra positive_names <<<"${positives:-ssps_kmeans}"
[ "$positives" != none ] || positive_names=()
for name in "${positive_names[@]}"; do
    [ -f "conf/positives/$name.yaml" ] || fail "--positives $positives: there is no conf/positives/$name.yaml here" 2
done
has_positives() { # does the method of the system have positives, which stage 5 could choose?
    [ "$(python3 -c 'import sys
from sslsv_tk import config
from sslsv_tk.systems import assembly
from sslsv_tk.systems.configuration import SystemConfig
print(int(assembly.method_class(config.load(SystemConfig, *sys.argv[1:])).slots == 0))' "${configs[@]}")" = 0 ]
}

setting() { # setting SECTION.NAME: a value of the system's configuration
    python3 -c 'import operator, sys
from sslsv_tk import config
from sslsv_tk.systems.configuration import SystemConfig
print(operator.attrgetter(sys.argv[1])(config.load(SystemConfig, *sys.argv[2:])))' "$1" "${configs[@]}"
}
usable_gpus() { # as many as this machine has, or fewer, so that each gets as much of a batch
    local gpus batch
    gpus=$(python3 -c 'from sslsv_tk import gpus; print(len(gpus.visible_gpus()))')
    if [ "$gpus" -gt 1 ]; then
        batch=$(setting training.batch_size)
        while ((batch % gpus)); do gpus=$((gpus - 1)); done
    fi
    echo "$gpus"
}

if [ "$stop_stage" -ge 5 ] && [ -z "$positives" ] && [ "$system" != simclr_fast_resnet34 ] && ! has_positives; then
    log "$system has no positives: no stage 5"
    positive_names=()
fi
read -ra system_names <<<"${systems:-$system ${positive_names[*]/#/${system}_}}"
if [ "$cmd_backend" = local ]; then
    [ "$num_nodes" = 1 ] || fail "--num-nodes $num_nodes: this is one machine. Choose a cluster in cmd.sh, or --num-nodes 1" 2
    [ "$nj" != auto ] || nj=$(nproc)
    [ "$ngpu" != auto ] || ngpu=$(usable_gpus)
    if ((ngpu > 0 && stop_stage >= 3 && stage <= 6)); then # told here, not after hours of stages that need no GPU
        reason=$(python3 -c 'import sys; from sslsv_tk import gpus; sys.exit(gpus.unusable())' 2>&1) || fail "$reason"
    fi
    [ "$num_threads" != auto ] || num_threads=$(($(nproc) > ngpu && ngpu > 0 ? $(nproc) / ngpu : $(nproc)))
fi
[ "$nj" != auto ] || nj=16
[ "$num_threads" != auto ] || num_threads=4
[ "$ngpu" != auto ] || ngpu=1
one_gpu=$((ngpu > 0 ? 1 : 0)) # of a job that does not train
trainer=(python3 -m sslsv_tk.bin.train) trainer_threads=$num_threads
if [ "$num_nodes" = 1 ] && [ "$ngpu" -gt 1 ]; then # on several machines the launcher starts the processes
    trainer=(python3 -m sslsv_tk.bin.run_processes --processes "$ngpu" "${trainer[@]}")
    trainer_threads=$((num_threads * ngpu))
fi

within() { # within FIRST LAST: does a stage of this range run?
    [ "$stage" -le "$2" ] && [ "$stop_stage" -ge "$1" ] || return 1
    [[ -n $train_set || ! $1$2 =~ ^(22|44|55)$ ]] && [ "$features,$1$2" != keep,22 ]
}

need_folder() { # need_folder VARIABLE OPTION FOLDER: a corpus that a stage reads
    local advice="Set $1 in egs/voxceleb/db.sh or in the environment, or give $2 DIR; --mini true needs no corpus."
    [ -n "$3" ] || fail "the folder of $1 is not known. $advice"
    [ -d "$3" ] || fail "$1: there is no folder $3. $advice"
}

hold() { # hold FILE: one run at a time; the lock goes with `release` or with this script, however it ends
    mkdir -p "$(dirname "$1")"
    exec {lock}>>"$1"
    local status=0
    flock --timeout 8 "$lock" || status=$?
    [ $status -le 1 ] ||
        fail "$1 cannot be locked: its file system has no locks. Mount it with them (Lustre: flock), or put it elsewhere."
    [ $status = 0 ] || wait_for_cancelling "$1" ||
        fail "another run (process $(cat "$1")) is at work here and holds $1. Wait for it or stop it."
    echo "$$ on $(hostname)" >"$1"
}
release() { exec {lock}>&-; }
wait_for_cancelling() { # the launcher of a run that was stopped holds its lock until the cluster has cancelled its jobs
    [ "$cmd_backend" != local ] || return
    log "$1 is held: waiting up to a minute for a run that may have been stopped"
    flock --timeout 60 "$lock"
}

jobs_for() { # jobs_for FILE MAKER: nj, but no more than FILE has lines
    [ -s "$1" ] || fail "$1 is missing or empty: run $2 first."
    local lines
    lines=$(wc -l <"$1")
    echo $((nj < lines ? nj : lines))
}

find_validation() { # fills `validate`, the options of training about the list that --validation names
    local index names="${list_name[*]}"
    validate=()
    for index in "${!lists[@]}"; do
        [ "${list_name[index]}" != "$validation" ] ||
            validate=(--validation-data "$dump/${list_set[index]}" --validation-trials "$datadir/${list_set[index]}/trials_$validation")
    done
    [ -z "$validation" ] || [ ${#validate[@]} -gt 0 ] || fail "--validation $validation: there is no such list; there are: $names" 2
}

train() { # train NAME OPTION ...: the system exp/NAME, then the mean of its last epochs
    local out=$expdir/$1 logs=$expdir/log/$1
    hold "$logs/lock"
    log "training $out (its steps: $logs/train.log)"
    $cuda_cmd --gpu "$ngpu" --num-nodes "$num_nodes" --num-threads "$trainer_threads" "$logs/train.log" \
        "${trainer[@]}" \
        --config "${configs[@]}" \
        --set "training.seed=$seed" \
        --train-set "$dump/$train_set" \
        --augmentation "$dump" \
        --out "$out" \
        --force "$force" \
        "${validate[@]}" \
        "${@:2}"
    $train_cmd "$logs/average.log" \
        python3 -m sslsv_tk.bin.average_checkpoints \
        --system "$out"
    release
}

find_validation
if within 4 4 && within 5 5 && [ -n "$positives" ] && [[ $positives != none && $positives != same_utterance ]] && ! has_positives; then
    fail "--positives $positives: $system is trained on labels and has no positives. Give --positives none, or leave it out" 2
fi
if "$generated" && within 1 2; then
    hold "$datadir/log/lock"
    log "generating a corpus in $datadir/corpus"
    $train_cmd --num-threads 1 "$datadir/log/make_mini_corpus.log" \
        python3 local/make_mini_corpus.py \
        --out "$datadir/corpus" \
        --seed "$corpus_seed" \
        --tiny "$tiny" \
        --force "$force"
    release
fi
if within 1 1; then
    for folder in "${train_folders[@]}"; do need_folder VOXCELEB2 --train-audio "$folder"; done
    for set in "${test_sets[@]}"; do need_folder VOXCELEB1 --test-audio "${test_folder[$set]}"; done
    check_test_sets 1
fi
if within 2 2; then
    need_folder MUSAN --musan "$musan"
    need_folder RIRS --rirs "$rirs"
fi

if within 1 1; then
    log "Stage 1: data preparation ($datadir: ${train_set:+$train_set }${test_sets[*]})"
    hold "$datadir/log/lock"
    if [ -n "$train_set" ]; then
        $train_cmd "$datadir/log/prepare_$train_set.log" \
            python3 -m sslsv_tk.bin.prepare_corpus \
            --source "${train_folders[@]}" \
            --out "$datadir/$train_set" \
            --labels "$labels" \
            --part "$train_part" \
            --features "$features" \
            "${preferred[@]}" \
            --tolerance "$tolerance" \
            --force "$force"
    fi
    for set in "${test_sets[@]}"; do
        of_set=()
        for index in "${!lists[@]}"; do
            [ "${list_set[index]}" != "$set" ] || of_set+=("${lists[index]}")
        done
        $train_cmd "$datadir/log/prepare_$set.log" \
            python3 -m sslsv_tk.bin.prepare_corpus \
            --source "${test_folder[$set]}" \
            --out "$datadir/$set" \
            --labels auto \
            --only "${of_set[@]}" \
            --features "$features" \
            "${preferred[@]}" \
            --tolerance "$tolerance" \
            --force "$force"
    done
    for index in "${!lists[@]}"; do
        $train_cmd "$datadir/log/prepare_trials_${list_name[index]}.log" \
            python3 -m sslsv_tk.bin.prepare_trials \
            --source "${lists[index]}" \
            --data "$datadir/${list_set[index]}" \
            --out "$datadir/${list_set[index]}/trials_${list_name[index]}"
    done
    release
fi

if within 2 2; then
    log "Stage 2: augmentation lists ($datadir/musan_noise, musan_music, musan_speech, rirs)"
    hold "$datadir/log/lock"
    $train_cmd "$datadir/log/prepare_noises.log" \
        python3 -m sslsv_tk.bin.prepare_noises \
        --source "$musan" \
        --out "$datadir" \
        --tolerance "$tolerance" \
        --force "$force"
    $train_cmd "$datadir/log/prepare_responses.log" \
        python3 -m sslsv_tk.bin.prepare_responses \
        --source "$rirs" \
        --out "$datadir/rirs" \
        --tolerance "$tolerance" \
        --force "$force"
    if [ "$feats_type" = fbank ]; then
        [ -s "$datadir/$train_set/wav.scp" ] || fail "$datadir/$train_set/wav.scp is missing or empty: run stage 1 first."
        $train_cmd "$datadir/log/prepare_copies.log" \
            python3 -m sslsv_tk.bin.prepare_copies \
            --data "$datadir/$train_set" \
            --clips "$datadir" \
            --seed "$copies_seed" \
            --force "$force"
    fi
    release
fi

if within 3 3 && [ "$features" = compute ]; then
    log "Stage 3: 16-bit waveforms into arks ($raw)"
    hold "$dumpdir/log/lock"
    speech=(${train_set:+"$train_set"} "${test_sets[@]}")
    sets=("${speech[@]}" "${noises[@]}")
    to_write=(--data "${sets[@]/#/$datadir/}")
    "$pack_audio" || to_write=(--data "${noises[@]/#/$datadir/}" --in-place "${speech[@]/#/$datadir/}")
    for set in "${sets[@]}" "${copies[@]}"; do jobs_for "$datadir/$set/wav.scp" "stages 1 and 2" >/dev/null; done
    if [ "$feats_type" = fbank ]; then
        bands=$(setting frontend.bands)
        featured=("${speech[@]}" "${copies[@]}")
        to_write+=(--feature-data "${featured[@]/#/$datadir/}" --feature-out "$dump" --bands "$bands" --compress "$compress")
    fi
    $train_cmd "$dumpdir/log/check_disk_space.log" \
        python3 -m sslsv_tk.bin.check_disk_space \
        "${to_write[@]}" \
        --out "$raw"
    for set in "${sets[@]}"; do
        jobs=$(jobs_for "$datadir/$set/wav.scp" "stages 1 and 2")
        how=(--channel "$channel" --copy "$pack_audio")
        [[ " ${noises[*]} " != *" $set "* ]] || how=(--channel mix --copy true) # these two options are about speech
        $train_cmd JOB=1:"$jobs" "$dumpdir/log/pack_$set.JOB.log" \
            python3 -m sslsv_tk.bin.pack_audio \
            --data "$datadir/$set" \
            --out "$raw/$set" \
            --num-jobs "$jobs" \
            --job JOB \
            "${how[@]}" \
            --allow-pipes "$allow_pipes" \
            --tolerance "$tolerance" \
            --force "$force"
        $train_cmd "$dumpdir/log/finish_$set.log" \
            python3 -m sslsv_tk.bin.finish_packing \
            --data "$datadir/$set" \
            --out "$raw/$set" \
            --num-jobs "$jobs" \
            --force "$force"
    done
    release
fi

if within 3 3 && [ "$feats_type,$features" = fbank,compute ]; then
    log "Stage 3: log-mel frames into arks ($dump)"
    hold "$dumpdir/log/lock"
    for set in "${featured[@]}"; do
        jobs=$(jobs_for "$datadir/$set/wav.scp" "stages 1 and 2")
        clean=$set copy=()
        [[ " ${copies[*]} " != *" $set "* ]] || clean=$train_set copy=(--copy "$datadir/$set")
        options=(
            --config "${configs[@]}"
            --audio "$raw/$clean" "${copy[@]}"
            --clips "$raw"
            --out "$dump/$set"
            --compress "$compress"
            --num-jobs "$jobs"
            --force "$force"
        )
        $decode_cmd --gpu "$one_gpu" JOB=1:"$jobs" "$dumpdir/log/features_$set.JOB.log" \
            python3 -m sslsv_tk.bin.compute_features "${options[@]}" --job JOB
        $train_cmd "$dumpdir/log/finish_features_$set.log" \
            python3 -m sslsv_tk.bin.finish_features "${options[@]}"
    done
    release
fi

if within 3 3 && [ "$features" = keep ]; then
    log "Stage 3: features as they came ($dump)"
    hold "$dumpdir/log/lock"
    for set in ${train_set:+"$train_set"} "${test_sets[@]}"; do
        jobs_for "$datadir/$set/feats.scp" "stage 1" >/dev/null
        $train_cmd "$dumpdir/log/keep_features_$set.log" \
            python3 -m sslsv_tk.bin.keep_features \
            --config "${configs[@]}" \
            --data "$datadir/$set" \
            --out "$dump/$set" \
            --force "$force"
    done
    release
fi

chosen=() # of stage 5, what training set and method may not allow
for name in "${positive_names[@]}"; do [ "$name" = same_utterance ] || chosen+=("conf/positives/$name.yaml"); done
if within 5 5 && [ ${#chosen[@]} -gt 0 ] && has_positives; then
    python3 -m sslsv_tk.bin.check_positives --config "${configs[@]}" --train-set "$dump/$train_set" --positives "${chosen[@]}"
fi

if within 4 4; then
    log "Stage 4: SSL pre-training ($expdir/$system)"
    train "$system"
fi

if within 5 5; then
    for name in "${positive_names[@]}"; do
        log "Stage 5: the same training goes on with other positives ($expdir/${system}_$name)"
        train "${system}_$name" \
            --continue-from "$expdir/$system" \
            --positives "conf/positives/$name.yaml"
    done
fi

if within 6 6; then
    log "Stage 6: embeddings of ${test_sets[*]} (${system_names[*]/#/$expdir/})"
    for name in "${system_names[@]}"; do
        for set in "${test_sets[@]}"; do
            jobs=$(jobs_for "$dump/$set/$listing" "stage 3")
            hold "$expdir/log/$name/lock"
            $decode_cmd --gpu "$one_gpu" JOB=1:"$jobs" "$expdir/log/$name/extract_$set.JOB.log" \
                python3 -m sslsv_tk.bin.extract_embeddings \
                --system "$expdir/$name" \
                --checkpoint "$checkpoint" \
                --data "$dump/$set" \
                --num-jobs "$jobs" \
                --job JOB \
                --force "$force"
            $train_cmd "$expdir/log/$name/finish_$set.log" \
                python3 -m sslsv_tk.bin.finish_extraction \
                --system "$expdir/$name" \
                --checkpoint "$checkpoint" \
                --data "$dump/$set" \
                --num-jobs "$jobs" \
                --force "$force"
            release
        done
    done
fi

if within 7 7; then
    log "Stage 7: scores, error rates and $expdir/RESULTS.md"
    check_test_sets 7
    for name in "${system_names[@]}"; do
        hold "$expdir/log/$name/lock"
        for index in "${!lists[@]}"; do
            $train_cmd "$expdir/log/$name/score_trials_${list_name[index]}.log" \
                python3 -m sslsv_tk.bin.score_trials \
                --system "$expdir/$name" \
                --checkpoint "$checkpoint" \
                --data "$dump/${list_set[index]}" \
                --trials "$datadir/${list_set[index]}/trials_${list_name[index]}" \
                --force "$force"
        done
        release
    done
    $train_cmd "$expdir/log/write_results.log" \
        python3 -m sslsv_tk.bin.write_results \
        --exp "$expdir"
    cat "$expdir/RESULTS.md"
fi

log "Successfully finished. [elapsed=${SECONDS}s] Logs and results: $datadir, $dumpdir, $expdir (RESULTS.md after stage 7)"
