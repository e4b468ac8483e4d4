# shellcheck shell=bash
# A copy of the recipe folder in a temporary place, so that a test leaves nothing in the checkout.

copy_recipe() { # copy_recipe FOLDER: afterwards FOLDER/egs/voxceleb is the recipe, the rest is linked
    local root name
    root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    mkdir -p "$1/egs/voxceleb"
    cp -r "$root"/egs/voxceleb/*.sh "$root/egs/voxceleb/conf" "$root/egs/voxceleb/local" "$1/egs/voxceleb"
    for name in setup.py sslsv_tk tools utils; do ln -s "$root/$name" "$1/$name"; done
}

# pretend_environment FOLDER: an environment whose python3 runs nothing but writes each call, one line, to FOLDER/calls;
# a call that contains the word in FOLDER/failing ends with status 1. Plans are real, but for what they ask of torch.
pretend_environment() {
    local real
    real=$(python3 -c 'import sys; print(sys.executable)')
    mkdir -p "$1/bin"
    cat >"$1/bin/python3" <<SCRIPT
#!/usr/bin/env bash
case \$* in
    *environment.py* | *sslsv_tk.bin.completed*) exit 0 ;;
    *sslsv_tk.bin.plan*)
        [[ "\$*" != *--after-stage* ]] || echo "sslsv_tk.bin.plan --after-stage 1" >>"$1/calls"
        exec "$real" "$BATS_TEST_DIRNAME/plan_without_torch.py" "$1" "\${@:3}"
        ;;
    *) echo "\$*" >>"$1/calls" ;;
esac
[ ! -f "$1/failing" ] || [[ "\$*" != *"\$(cat "$1/failing")"* ]]
SCRIPT
    chmod +x "$1/bin/python3"
    touch "$1/calls"
    export SSLSV_VENV=$1
}

# sleeping_environment FOLDER: the same, but the launcher is the real one and a command sleeps, its process in FOLDER/job.
sleeping_environment() {
    local real
    real=$(python3 -c 'import sys; print(sys.executable)')
    rm -f "$1/job"
    cat >"$1/bin/python3" <<SCRIPT
#!/usr/bin/env bash
case \$* in
    *environment.py* | *sslsv_tk.bin.completed*) exit 0 ;;
    *sslsv_tk.launch* | *sslsv_tk.bin.plan*) exec "$real" "\$@" ;;
    *) echo \$\$ >"$1/job.new" && mv "$1/job.new" "$1/job" && exec sleep 300 ;;
esac
SCRIPT
}

expect() { # expect STATUS PART-OF-OUTPUT: of the last `run`
    [ "${status:?}" -eq "$1" ] || { echo "status $status, output: ${output?}" && return 1; }
    [[ $output == *"$2"* ]] || { echo "expected '$2' in: $output" && return 1; }
}
