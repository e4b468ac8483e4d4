#!/usr/bin/env bats
# tools/install.sh and tools/activate_python.sh with interpreters that install nothing.

load recipe_copy

setup() {
    tools="$BATS_TEST_DIRNAME/../../tools"
    real=$(python3 -c 'import sys; print(sys.executable)')
    cd "$BATS_TEST_TMPDIR" || return
    export SSLSV_VENV=$BATS_TEST_TMPDIR/venv
    unset PYTHON
}

# An interpreter whose `-m venv FOLDER` makes an environment in which pip writes to the file `pip`, fails where
# a file `no-network` is, and waits while a file `slow-network` is.
pretend_python() {
    cat >inside <<SCRIPT
#!/usr/bin/env bash
here=$PWD
case \$* in
    "-m pip install"*)
        echo "\$*" >>"\$here/pip"
        while [ -e "\$here/slow-network" ]; do sleep 0.02; done
        [ ! -e "\$here/no-network" ] || { echo "no network" && exit 1; }
        touch "$SSLSV_VENV/installed"
        ;;
    *"environment.py missing"*) [ -e "$SSLSV_VENV/installed" ] || echo "torch==2.11.*" ;;
    *) echo "Python, pretended" ;;
esac
SCRIPT
    cat >python <<SCRIPT
#!/usr/bin/env bash
[ "\$1 \$2" = "-m venv" ] || exec "$real" "\$@"
mkdir -p "\$3/bin" && cp "$PWD/inside" "\$3/bin/python3" && chmod +x "\$3/bin/python3"
SCRIPT
    chmod +x python
    export PYTHON=$PWD/python
}

pip_calls() { if [ -e pip ]; then wc -l <pip; else echo 0; fi; }

@test "mistakes in the call" {
    run "$tools/install.sh" --sistem true
    expect 2 "unknown option --sistem"
    run "$tools/install.sh" stray
    expect 2 "unexpected argument 'stray'"
    run "$tools/install.sh" --help
    expect 0 "system=false"
}

@test "no Python, and a Python that is too old, are one clear line each" {
    PYTHON=/nowhere/python3 run "$tools/install.sh"
    expect 1 "/nowhere/python3: not found. Install Python 3.11 or newer"
    # shellcheck disable=SC2016 # for the script to expand
    printf '#!/bin/sh\n[ "$1" = -c ] && exit 1\necho Python 3.8.10\n' >old
    chmod +x old
    PYTHON=$PWD/old run "$tools/install.sh"
    expect 1 "Python 3.8.10 is too old: 3.11 or newer is needed"
}

@test "a Python without venv is told how to get it" {
    # shellcheck disable=SC2016 # for the script to expand
    printf '#!/bin/sh\n[ "$2" = "import ensurepip, venv" ] && exit 1\nexec "%s" "$@"\n' "$real" >bare
    chmod +x bare
    PYTHON=$PWD/bare run "$tools/install.sh"
    expect 1 "apt-get install python3-venv"
    [ ! -e "$SSLSV_VENV" ]
}

@test "the default folder depends on the requirements, and SSLSV_VENV wins" {
    run python3 "$tools/environment.py" folder
    expect 0 "$SSLSV_VENV"
    unset SSLSV_VENV
    XDG_CACHE_HOME=/cache run python3 "$tools/environment.py" folder
    [[ $output =~ ^/cache/sslsv_tk/venv-[0-9a-f]{12}$ ]]
    before=$output
    mkdir other other/tools
    cp "$tools/environment.py" other/tools
    sed 's/2\.11/2.12/' "$tools/../setup.py" >other/setup.py
    XDG_CACHE_HOME=/cache run python3 other/tools/environment.py folder
    [[ $output =~ ^/cache/sslsv_tk/venv- && $output != "$before" ]]
}

@test "an environment is made once and then reused" {
    pretend_python
    run "$tools/install.sh"
    expect 0 "the environment is complete"
    grep -q "torch==2.11.* torchaudio==2.11.* .*pytest" pip
    run "$tools/install.sh"
    expect 0 "using the environment $SSLSV_VENV"
    [ "$(pip_calls)" -eq 1 ]
}

@test "an environment that was left half made is not used, and is made anew" {
    pretend_python
    touch no-network
    run "$tools/install.sh"
    expect 1 "pip failed; run this again when mended. Its last lines: no network"
    touch "$SSLSV_VENV/installed" "$SSLSV_VENV/leftover"
    run bash -c '. "$1/activate_python.sh"' - "$tools"
    expect 1 "Make it with: "
    rm no-network
    run "$tools/install.sh"
    expect 0 "the environment is complete"
    [ ! -e "$SSLSV_VENV/leftover" ]
    run bash -c '. "$1/activate_python.sh" && command -v python3 && echo "$PYTHONPATH"' - "$tools"
    expect 0 "$SSLSV_VENV/bin/python3"
    expect 0 "$(cd "$tools/.." && pwd)"
}

@test "two installations at once: the second waits and installs nothing" {
    pretend_python
    touch slow-network
    "$tools/install.sh" >first 2>&1 &
    until [ -s pip ]; do sleep 0.02; done
    "$tools/install.sh" >second 2>&1 &
    until grep -q "waiting for it" second; do sleep 0.02; done
    rm slow-network
    wait
    grep -q "the environment is complete" first
    grep -q "using the environment" second
    [ "$(pip_calls)" -eq 1 ]
}

@test "a complete environment that now lacks something gets it, in place" {
    pretend_python
    "$tools/install.sh"
    rm "$SSLSV_VENV/installed"
    touch "$SSLSV_VENV/kept"
    run bash -c '. "$1/activate_python.sh"' - "$tools"
    expect 1 "lacks torch==2.11.*. Install with: "
    run "$tools/install.sh"
    expect 0 "it lacks torch==2.11.*"
    [ -e "$SSLSV_VENV/kept" ]
}

@test "a folder or an environment that is not ours is left alone" {
    pretend_python
    mkdir "$SSLSV_VENV"
    echo precious >"$SSLSV_VENV/file"
    run "$tools/install.sh"
    expect 1 "is a folder with other contents"
    mkdir "$SSLSV_VENV/bin"
    cp inside "$SSLSV_VENV/bin/python3"
    chmod +x "$SSLSV_VENV/bin/python3"
    run "$tools/install.sh"
    expect 1 "did not make, and it lacks torch==2.11.*"
    [ "$(cat "$SSLSV_VENV/file")" = precious ]
    touch "$SSLSV_VENV/installed"
    run "$tools/install.sh"
    expect 0 "using the environment"
    [ "$(pip_calls)" -eq 0 ]
}

@test "missing programs are named to who is not root, and installed by root" {
    mkdir apt bin
    for program in bash cat date dirname env id sed head mkdir flock ls; do ln -s "$(command -v $program)" "bin/$program"; done
    export PYTHON=$real
    printf '#!/bin/sh\necho "$*" >>%s/apt/calls\n' "$PWD" >bin/apt-get
    printf '#!/bin/sh\necho 1000\n' >id
    chmod +x bin/apt-get id
    mkdir "$SSLSV_VENV" && touch "$SSLSV_VENV/file"
    PATH=$PWD:$PWD/bin run "$tools/install.sh" --system true
    expect 1 "only root installs them: sudo apt-get install shellcheck bats ffmpeg"
    [ ! -e apt/calls ]
    printf '#!/bin/sh\necho 0\n' >id
    PATH=$PWD:$PWD/bin run "$tools/install.sh" --system true
    expect 1 "installing with apt-get: shellcheck bats ffmpeg"
    grep -q "install .*shellcheck bats ffmpeg" apt/calls
}
