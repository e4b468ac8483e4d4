# shellcheck shell=bash disable=SC2154 # variables of run.sh
# Are the features of data directories kept, or is everything computed from audio? Sourced by run.sh.
#
# Frames of two makers differ in window, scale and floor, so all sets of a run are of one kind.

# decide_features: sets `features` to keep or compute, from --features and from what is on disk.
decide_features() {
    local set folder folders=("${train_folders[@]}")
    for set in "${test_sets[@]}"; do folders+=("${test_folder[$set]}"); done
    if [ "$feats_type" = raw ]; then
        [ "$features" != keep ] || fail "--features keep needs --feats-type fbank: raw is audio" 2
        features=compute
    fi
    if [ "$features" = auto ]; then
        features=compute
        for folder in "${folders[@]}"; do ! has_features_alone "$folder" || features=keep; done
        if [ "$stage" -gt 1 ]; then # the folders may be gone, or may not have been named again
            for set in $train_set "${test_sets[@]}"; do ! has_features_alone "$datadir/$set" || features=keep; done
        fi
    fi
    [ "$features" = keep ] || return 0
    [ "$stage" -gt 1 ] || require_features "${folders[@]}"
    [ -z "$train_set" ] || say_features "${folders[@]}"
}

has_features_alone() { [ -f "$1/feats.scp" ] && [ ! -f "$1/wav.scp" ]; }

require_features() { # require_features FOLDER ...: before any work
    local folder
    for folder in "$@"; do
        [ -f "$folder/feats.scp" ] || [ ! -d "$folder" ] ||
            fail "$folder has no feats.scp, but other sets keep the features that they came with, and frames of two makers cannot be mixed. Give features of this set too, or audio (wav.scp) of all and --features compute."
    done
}

say_features() { # say_features FOLDER ...: once, what keeping features means
    local folder reason="they would be computed by our front end, and frames of two makers are not mixed"
    for folder in "$@"; do ! has_features_alone "$folder" || reason="they are made of audio, and $folder has no wav.scp"; done
    log "features are taken as they are, without copies with noise, music, babble or reverberation ($reason): training uses the clean features alone, and stage 2 is left out"
}
