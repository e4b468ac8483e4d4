# shellcheck shell=bash disable=SC2154 # cmd_backend, log and fail come from the script that sources this
# One run at a time in a folder: hold FILE locks it, release or the end of the script, however it ends, lets it go.

hold() {
    mkdir -p "$(dirname "$1")"
    exec {__hold_lock}>>"$1"
    local status=0
    flock --timeout 8 "$__hold_lock" || status=$?
    [ $status -le 1 ] ||
        fail "$1 cannot be locked: its file system has no locks. Mount it with them (Lustre: flock), or put it elsewhere."
    [ $status = 0 ] || __hold_wait_for_cancelling "$1" ||
        fail "another run (process $(cat "$1")) is at work here and holds $1. Wait for it or stop it."
    echo "$$ on $(hostname)" >"$1"
}

release() { exec {__hold_lock}>&-; }

__hold_wait_for_cancelling() { # the launcher of a run that was stopped holds its lock until the cluster has cancelled its jobs
    [ "$cmd_backend" != local ] || return
    log "$1 is held: waiting up to a minute for a run that may have been stopped"
    flock --timeout 60 "$__hold_lock"
}
