#!/usr/bin/env bash
# From audio to equal error rates: speaker encoders trained without labels, SimCLR first, then SSPS.
set -euo pipefail

log() { printf '%s (%s:%s:%s) %s\n' "$(date +%FT%T)" "${BASH_SOURCE[1]##*/}" "${BASH_LINENO[0]}" "${FUNCNAME[1]}" "$*"; }
fail() { printf '%s (run.sh:%s) error: %s\n' "$(date +%FT%T)" "${BASH_LINENO[0]}" "$1" >&2 && exit "${2:-1}"; }

# Options
# Which part of the recipe, and how
stage=1                # first stage to run
stop_stage=7           # last stage to run, inclusive
nj=auto                # jobs of an array (stages 3 and 6); auto: as many as cores
ngpu=auto              # 1: train and extract on a GPU; 0: on the CPU; auto: 1 where there is one
num_threads=auto       # threads of training on the CPU; auto: all cores
force=false            # true: make anew what is there but was made with other options or from other inputs
# Which system
system=simclr_fast_resnet34  # stage 4: conf/<system>.yaml, trained into exp/<system>
config=                # one more YAML file, whose values win over those of the system
positives=             # stage 5: names of conf/positives/*.yaml, separated by spaces; empty: ssps_kmeans
systems=               # stages 6-7: names of folders in exp; empty: those of stages 4 and 5
checkpoint=averaged    # what is evaluated: averaged (last 10 epochs), latest, or the number of an epoch
seed=0                 # of everything drawn in training
# Which audio: VoxCeleb as db.sh has it, or any corpus
train_audio=           # <speaker>/<recording>/<utterance>.(wav|flac) in place of VOXCELEB2
test_audio=            # the same in place of VOXCELEB1
trials=                # trial lists, separated by spaces; empty: VOXCELEB1/veri_test2.txt, the cleaned O list
tolerance=0.0          # share of audio files that may be left out when unreadable (they are listed in <folder>/rejected)
labels=true            # false: the folders of train_audio are not speakers (labels are used for diagnostics only)
musan=                 # a tree with noise, music, speech on top, in place of MUSAN
rirs=                  # a tree of room responses in place of RIRS
feats_type=raw         # raw: 16-bit waveforms in arks, augmented anew at every step
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
[[ $ngpu =~ ^(0|1|auto)$ ]] || fail "--ngpu $ngpu: expected 0, 1 or auto" 2
[[ $num_threads =~ ^([1-9][0-9]*|auto)$ ]] || fail "--num-threads $num_threads: expected a number or auto" 2
[[ $nj =~ ^([1-9][0-9]*|auto)$ ]] || fail "--nj $nj: expected a number from 1 or auto" 2
[ "$feats_type" = raw ] || fail "--feats-type $feats_type: raw is the one there is" 2

# Files that the user names are looked for where the user stands, also when that is not the recipe's folder.
from_caller() { [[ -z $1 || $1 == /* || $caller == "$recipe" ]] && printf '%s' "$1" || printf '%s/%s' "$caller" "$1"; }
for name in train_audio test_audio musan rirs config; do
    printf -v "$name" '%s' "$(from_caller "${!name}")"
done
read -ra trial_lists <<<"$trials"
for index in "${!trial_lists[@]}"; do trial_lists[index]=$(from_caller "${trial_lists[index]}"); done
cd "$recipe"

export PYTHON=$python
configs=("conf/$system.yaml")
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
[ -z "$config" ] || configs+=("$config")
. ./path.sh
. ./cmd.sh
. ./db.sh
if "$generated"; then
    VOXCELEB1=$datadir/corpus/voxceleb1 VOXCELEB2=$datadir/corpus/voxceleb2
    MUSAN=$datadir/corpus/musan RIRS=$datadir/corpus/rirs
fi

# What several stages need is set here, so that each runs alone from the artifacts on disk.
dump=$dumpdir/$feats_type
train_set=voxceleb2_train train_layout=voxceleb
test_set=voxceleb1_test test_layout=voxceleb
[ -z "$train_audio" ] || train_set="train" train_layout="folder"
[ -z "$test_audio" ] || test_set="test" test_layout="folder"
train_audio=${train_audio:-$VOXCELEB2} test_audio=${test_audio:-$VOXCELEB1}
musan=${musan:-$MUSAN} rirs=${rirs:-$RIRS}
[ ${#trial_lists[@]} -gt 0 ] || [ "$test_layout" = folder ] || trial_lists=("$VOXCELEB1/veri_test2.txt")
read -ra positive_names <<<"${positives:-ssps_kmeans}"
read -ra system_names <<<"${systems:-$system ${positive_names[*]/#/${system}_}}"
[ "$nj" != auto ] || nj=$(nproc)
[ "$num_threads" != auto ] || num_threads=$(nproc)
[ "$ngpu" != auto ] || ngpu=$(python3 -c 'from sslsv_tk.launch import local; print(min(1, len(local.visible_gpus())))')

within() { [ "$stage" -le "$2" ] && [ "$stop_stage" -ge "$1" ]; } # within FIRST LAST: does a stage of this range run?

need_folder() { # need_folder VARIABLE OPTION FOLDER: a corpus that a stage reads
    local advice="Set $1 in egs/voxceleb/db.sh or in the environment, or give $2 DIR; --mini true needs no corpus."
    [ -n "$3" ] || fail "the folder of $1 is not known. $advice"
    [ -d "$3" ] || fail "$1: there is no folder $3. $advice"
}

hold() { # hold FILE: one run at a time; the lock goes with `release` or with this script, however it ends
    mkdir -p "$(dirname "$1")"
    exec {lock}>>"$1"
    flock --timeout 8 "$lock" || fail "another run (process $(cat "$1")) is at work here and holds $1. Wait for it or stop it."
    echo $$ >"$1"
}
release() { exec {lock}>&-; }

trials_of() { printf 'trials_%s' "$(basename "${1%.*}")"; } # trials_of LIST: its name in a data directory

jobs_for() { # jobs_for FILE MAKER: nj, but no more than FILE has lines
    [ -s "$1" ] || fail "$1 is missing or empty: run $2 first."
    local lines
    lines=$(wc -l <"$1")
    echo $((nj < lines ? nj : lines))
}

train() { # train NAME OPTION ...: the system exp/NAME, then the mean of its last epochs
    local out=$expdir/$1 logs=$expdir/log/$1
    hold "$logs/lock"
    log "training $out (its steps: $logs/train.log)"
    $cuda_cmd --gpu "$ngpu" --num-threads "$num_threads" "$logs/train.log" \
        python3 -m sslsv_tk.bin.train \
        --config "${configs[@]}" \
        --set "training.seed=$seed" \
        --train-set "$dump/$train_set" \
        --augmentation "$dump" \
        --out "$out" \
        --force "$force" \
        "${@:2}"
    $train_cmd "$logs/average.log" \
        python3 -m sslsv_tk.bin.average_checkpoints \
        --system "$out"
    release
}

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
    need_folder VOXCELEB2 --train-audio "$train_audio"
    need_folder VOXCELEB1 --test-audio "$test_audio"
    [ ${#trial_lists[@]} -gt 0 ] || fail "--test-audio needs --trials FILE: lines \`1|0 a b\` with paths below $test_audio."
    for list in "${trial_lists[@]}"; do
        [ -f "$list" ] || fail "there is no trial list $list. The official one (veri_test2.txt: cleaned O) belongs there; --trials FILE names another."
    done
fi
if within 2 2; then
    need_folder MUSAN --musan "$musan"
    need_folder RIRS --rirs "$rirs"
fi

if within 1 1; then
    log "Stage 1: data preparation ($datadir/$train_set, $datadir/$test_set)"
    hold "$datadir/log/lock"
    $train_cmd "$datadir/log/prepare_$train_set.log" \
        python3 -m sslsv_tk.bin.prepare_corpus \
        --layout "$train_layout" \
        --source "$train_audio" \
        --out "$datadir/$train_set" \
        --labels "$labels" \
        --tolerance "$tolerance" \
        --force "$force"
    $train_cmd "$datadir/log/prepare_$test_set.log" \
        python3 -m sslsv_tk.bin.prepare_corpus \
        --layout "$test_layout" \
        --source "$test_audio" \
        --out "$datadir/$test_set" \
        --only "${trial_lists[@]}" \
        --tolerance "$tolerance" \
        --force "$force"
    for list in "${trial_lists[@]}"; do
        $train_cmd "$datadir/log/prepare_$(trials_of "$list").log" \
            python3 -m sslsv_tk.bin.prepare_trials \
            --source "$list" \
            --data "$datadir/$test_set" \
            --out "$datadir/$test_set/$(trials_of "$list")"
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
    release
fi

if within 3 3; then
    log "Stage 3: 16-bit waveforms into arks ($dump)"
    hold "$dumpdir/log/lock"
    for set in "$train_set" "$test_set" musan_noise musan_music musan_speech rirs; do
        jobs=$(jobs_for "$datadir/$set/wav.scp" "stages 1 and 2")
        $train_cmd JOB=1:"$jobs" "$dumpdir/log/pack_$set.JOB.log" \
            python3 -m sslsv_tk.bin.pack_audio \
            --data "$datadir/$set" \
            --out "$dump/$set" \
            --num-jobs "$jobs" \
            --job JOB \
            --tolerance "$tolerance" \
            --force "$force"
        $train_cmd "$dumpdir/log/finish_$set.log" \
            python3 -m sslsv_tk.bin.finish_packing \
            --data "$datadir/$set" \
            --out "$dump/$set" \
            --num-jobs "$jobs" \
            --force "$force"
    done
    release
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
    log "Stage 6: embeddings of $test_set (${system_names[*]/#/$expdir/})"
    jobs=$(jobs_for "$dump/$test_set/wav.scp" "stage 3")
    for name in "${system_names[@]}"; do
        hold "$expdir/log/$name/lock"
        $decode_cmd --gpu "$ngpu" JOB=1:"$jobs" "$expdir/log/$name/extract_$test_set.JOB.log" \
            python3 -m sslsv_tk.bin.extract_embeddings \
            --system "$expdir/$name" \
            --checkpoint "$checkpoint" \
            --data "$dump/$test_set" \
            --num-jobs "$jobs" \
            --job JOB \
            --force "$force"
        $train_cmd "$expdir/log/$name/finish_$test_set.log" \
            python3 -m sslsv_tk.bin.finish_extraction \
            --system "$expdir/$name" \
            --checkpoint "$checkpoint" \
            --data "$dump/$test_set" \
            --num-jobs "$jobs" \
            --force "$force"
        release
    done
fi

if within 7 7; then
    log "Stage 7: scores, error rates and $expdir/RESULTS.md"
    [ ${#trial_lists[@]} -gt 0 ] || fail "--test-audio needs --trials FILE, the list that stage 1 was given."
    for name in "${system_names[@]}"; do
        for list in "${trial_lists[@]}"; do
            $train_cmd "$expdir/log/$name/score_$(trials_of "$list").log" \
                python3 -m sslsv_tk.bin.score_trials \
                --system "$expdir/$name" \
                --checkpoint "$checkpoint" \
                --data "$dump/$test_set" \
                --trials "$datadir/$test_set/$(trials_of "$list")" \
                --force "$force"
        done
    done
    $train_cmd "$expdir/log/write_results.log" \
        python3 -m sslsv_tk.bin.write_results \
        --exp "$expdir"
    cat "$expdir/RESULTS.md"
fi

log "Successfully finished. [elapsed=${SECONDS}s] Logs and results: $datadir, $dump, $expdir (RESULTS.md after stage 7)"
