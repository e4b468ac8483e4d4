# shellcheck shell=bash disable=SC2154 # what follows from the options comes from the script that sources this
# What the stages of a recipe share: log lines, the last words of a run that stops, one run at a time in a folder, jobs.

log() { printf '%s (%s:%s:%s) %s\n' "$(date +%FT%T)" "${BASH_SOURCE[1]##*/}" "${BASH_LINENO[0]}" "${FUNCNAME[1]}" "$*"; }
fail() { printf '%s (%s:%s) error: %s\n' "$(date +%FT%T)" "${BASH_SOURCE[1]##*/}" "${BASH_LINENO[0]}" "$1" >&2 && exit "${2:-1}"; }

stopped() { # stopped STATUS: the last words of a run whose command failed and said why above
    local words line=${BASH_LINENO[${#FUNCNAME[@]} - 2]} # where the script called what led here
    case $1 in
        141) return 0 ;; # SIGPIPE: whoever read the output, such as head, has read enough
        75) words="stopped by request: the same command goes on from the state that is saved" ;;
        2) words="interrupted: the same command goes on, and what is complete stays" ;;
        *)
            words="stopped by exit status $1: mend what the lines above name. Until then the same command stops here again,"
            words+=" afterwards it goes on; what is complete stays"
            ;;
    esac
    # What failed may be a damaged file of a stage that was skipped: the next call looks at contents.
    [[ $1 =~ ^(75|2)$ || -z ${expdir:-} ]] || rm -f "$expdir"/log/complete/*.json
    printf '%s (run.sh:%s) %s\n' "$(date +%FT%T)" "$line" "$words" >&2
    exit 1 # 2 is for options that cannot be meant
}
trap 'stopped $?' ERR

# One run at a time in a folder: hold FILE locks it, release or the end of the script, however it ends, lets it go.

hold() {
    __hold_file=$1
    mkdir -p "$(dirname "$1")"
    exec {__hold_lock}>>"$1"
    local status=0
    flock --timeout 8 "$__hold_lock" || status=$?
    [ $status -le 1 ] ||
        fail "$1 cannot be locked: its file system has no locks. Mount it with them (Lustre: flock), or put it elsewhere."
    [ $status = 0 ] || __hold_wait_for_cancelling "$1" ||
        fail "another run$(__hold_name_of "$1") is at work here and holds $1. Wait for it or stop it."
    echo "$$ on $(hostname)" >"$1"
}

release() {
    : >"$__hold_file" # whoever holds it next writes its own name
    exec {__hold_lock}>&-
}

__hold_name_of() { # the process that holds a lock, where it has written its name
    sleep 0.2 # it may be about to
    local name
    read -r name <"$1" || return 0
    printf ' (process %s)' "$name"
}

__hold_wait_for_cancelling() { # the launcher of a run that was stopped holds its lock until the cluster has cancelled its jobs
    [ "$cmd_backend" != local ] || return
    log "$1 is held: waiting up to a minute for a run that may have been stopped"
    flock --timeout 60 "$__hold_lock"
}

runs() { [[ " $stages " == *" $1 "* && " $complete " != *" $1 "* ]]; }

complete="" # the stages that are skipped

find_complete() { # find_complete PLAN: into complete, the stages that are complete and skipped, by the files that they left
    complete=$(python3 -m sslsv_tk.bin.completed --plan "$1" "${known[@]}")
}

__running="" # the stage that was begun last

begins() { # begins STAGE: is it run? Whichever was run before has ended well then: it is skipped until one of its files changes
    if [ -n "$__running" ] && [ "$__running" != "$1" ]; then
        python3 -m sslsv_tk.bin.completed --plan "$expdir/log/plan" --note "$__running" "${known[@]}"
        __running=""
    fi
    runs "$1" || return 1
    __running=$1
}

jobs_for() { # jobs_for FILE MAKER: nj, but no more than FILE has lines
    [ -s "$1" ] || fail "$1 is missing or empty: run $2 first."
    local lines
    lines=$(wc -l <"$1")
    echo $((nj < lines ? nj : lines))
}

find_lists_of() { # find_lists_of SET: only=(--only LIST ...), the lists that are about a test set; empty where none is
    local index
    only=()
    for index in "${!lists[@]}"; do [ "${list_sets[index]}" != "$1" ] || only+=("${lists[index]}"); done
    [ ${#only[@]} = 0 ] || only=(--only "${only[@]}")
}

job() { # job LOG COMMAND OPTION ...: one job on the CPU
    $train_cmd "$1" python3 -m "sslsv_tk.bin.$2" "${@:3}"
}

array() { # array LAUNCHER JOBS LOG COMMAND OPTION ...: jobs 1 to JOBS of a command, each with the log LOG.<its number>.log
    # The launcher puts the number in the place of {JOB}, which the plan allows nowhere in a path or an option.
    $1 "{JOB}=1:$2" "$3.{JOB}.log" python3 -m "sslsv_tk.bin.$4" "${@:5}" --num-jobs "$2" --job "{JOB}"
}

resolve_plugins() { # folders of plugins are named from where the user stands
    local plugins
    [ -n "${SSLSV_PLUGINS:-}" ] || return 0
    IFS=: read -ra plugins <<<"$SSLSV_PLUGINS"
    SSLSV_PLUGINS=$(realpath --canonicalize-missing --no-symlinks -- "${plugins[@]}" | paste -sd :)
    export SSLSV_PLUGINS
}

__plan_refused() { # __plan_refused STATUS [--after-stage 1]: nothing was begun, or stage 1 stays
    [ $# = 1 ] || stopped "$1"
    exit "$1"
}

__find_plan_of_before() { # into text, the plan of a call with the same words, where all of its stages are complete
    local logs=${expdir:-exp} wanted
    [ -n "$expdir" ] || ! "$mini" || logs+=_mini
    [ -n "$expdir" ] || ! "$tiny" || logs+=_tiny
    [[ -z $expdir || $logs == /* ]] || logs=$caller/$logs
    logs+=/log
    ! "$dry_run" && [ -s "$logs/plan" ] && [ -s "$logs/words" ] || return 1
    [ "$(<"$logs/words")" = "$(printf '%s\n' "${known[@]}")" ] || return 1
    wanted=$(sed -n 's/^stages=//p' "$logs/plan")
    find_complete "$logs/plan"
    [ "$complete" = "$wanted" ] || return 1
    text=$(<"$logs/plan")
}

make_plan() { # make_plan [--after-stage 1]: what follows from the options into variables; --dry-run shows it and ends
    local text line stage
    local words=("${all_options[@]}" "cores=$(nproc)" "cmd_backend=$cmd_backend" "caller=$caller" "recipe=$recipe")
    known=("${words[@]}" "corpora=${VOXCELEB1:-} ${VOXCELEB2:-} ${MUSAN:-} ${RIRS:-}" "plugins=${SSLSV_PLUGINS:-}")
    [ $# = 0 ] && __find_plan_of_before ||
        text=$(python3 -m sslsv_tk.bin.plan "$@" "${words[@]}") || __plan_refused $? "$@"
    ! "$dry_run" || { printf '%s\n' "$text" && exit; }
    read_plan <<<"$text"
    for line in "${note[@]}"; do printf '%s (plan) %s\n' "$(date +%FT%T)" "$line"; done
    mkdir -p "$expdir/log"
    printf '%s\n' "$text" >"$expdir/log/plan"
    printf '%s\n' "${known[@]}" >"$expdir/log/words"
    [ $# = 0 ] || return 0
    [ "$complete" = "$stages" ] || find_complete "$expdir/log/plan" # else it was found with the plan of before
    for stage in $complete; do log "Stage $stage: complete, skipped"; done
}
