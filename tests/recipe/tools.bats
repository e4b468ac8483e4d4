#!/usr/bin/env bats
# tools/install.sh, prove_install.sh and activate_python.sh with interpreters that install nothing.

load recipe_copy

setup() {
    tools="$BATS_TEST_DIRNAME/../../tools"
    real=$(python3 -c 'import sys; print(sys.executable)')
    cd "$BATS_TEST_TMPDIR" || return
    export SSLSV_VENV=$BATS_TEST_TMPDIR/venv
    unset PYTHON
}

# An interpreter whose `-m venv FOLDER` makes an environment in which pip writes to the file `pip`, fails where
# a file `no-network` is, and waits while a file `slow-network` is. The environment's environment.py prints the files
# untested, unlocked, unfit and broken where they are; `broken` fails where a file `stopping` is.
pretend_python() {
    cat >inside <<SCRIPT
#!/usr/bin/env bash
here=$PWD
venv=\$(cd "\$(dirname "\$0")/.." && pwd)
case \$* in
    "-m pip install"*)
        echo "\$*" >>"\$here/pip"
        while [ -e "\$here/slow-network" ]; do sleep 0.02; done
        [ ! -e "\$here/no-network" ] || { echo "no network" && exit 1; }
        touch "\$venv/installed"
        [[ \$* != *pytest* ]] || touch "\$venv/with-tests"
        ;;
    *"environment.py missing"*)
        [ -e "\$venv/installed" ] || echo "torch>=2.11"
        [ -e "\$venv/with-tests" ] || [[ \$* != *test ]] || echo pytest
        ;;
    *"environment.py describe"*) echo "Python, pretended" ;;
    *"environment.py "*)
        [ ! -e "\$here/\$2" ] || cat "\$here/\$2"
        [ "\$2" != broken ] || [ ! -e "\$here/stopping" ]
        ;;
    *) echo "\$*" >>"\$here/python-calls" ;;
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
    cp -r "$tools/environment.py" "$tools/locks" other/tools
    sed 's/2\.11/2.12/' "$tools/../pyproject.toml" >other/pyproject.toml
    XDG_CACHE_HOME=/cache run python3 other/tools/environment.py folder
    [[ $output =~ ^/cache/sslsv_tk/venv- && $output != "$before" ]]
    cp "$tools/../pyproject.toml" other
    XDG_CACHE_HOME=/cache run python3 other/tools/environment.py folder
    [ "$output" = "$before" ]
    sed -i 's/^scipy==.*/scipy==1.0.0/' other/tools/locks/run.txt
    XDG_CACHE_HOME=/cache run python3 other/tools/environment.py folder
    [[ $output =~ ^/cache/sslsv_tk/venv- && $output != "$before" ]]
}

@test "an environment is made once and then reused" {
    pretend_python
    run "$tools/install.sh"
    expect 0 "the environment is complete"
    grep -q -- "--constraint .*/locks/run.txt --constraint .*/locks/test.txt torch>=2.11 torchaudio>=2.11 .*tensorboard" pip
    [ "$(grep -c "pytest\|ruff" pip)" -eq 0 ]
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
    expect 1 "lacks torch>=2.11. Install with: "
    run "$tools/install.sh"
    expect 0 "it lacks torch>=2.11"
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
    expect 1 "did not make, and it lacks torch>=2.11"
    [ "$(cat "$SSLSV_VENV/file")" = precious ]
    touch "$SSLSV_VENV/installed"
    run "$tools/install.sh"
    expect 0 "using the environment"
    [ "$(pip_calls)" -eq 0 ]
}

@test "what tests need is added to the environment of the recipes, and is not taken away again" {
    pretend_python
    "$tools/install.sh"
    touch "$SSLSV_VENV/kept"
    run "$tools/install.sh" --with-tests true
    expect 0 "it lacks pytest"
    grep -q -- "--constraint .* pytest .*ruff" pip
    [ -e "$SSLSV_VENV/kept" ]
    "$tools/install.sh" && "$tools/install.sh" --with-tests true
    [ "$(pip_calls)" -eq 2 ]
}

@test "an addition that fails leaves the recipes what they had" {
    pretend_python
    "$tools/install.sh"
    touch no-network
    run "$tools/install.sh" --with-tests true
    expect 1 "pip failed"
    run bash -c '. "$1/activate_python.sh" && command -v python3' - "$tools"
    expect 0 "$SSLSV_VENV/bin/python3"
    run "$tools/install.sh"
    expect 0 "using the environment"
}

@test "--newest takes the ranges, also over what the locks installed, and later additions keep to that" {
    pretend_python
    "$tools/install.sh"
    run "$tools/install.sh" --newest true
    expect 0 "it lacks the newest versions"
    tail -n 1 pip | grep -q -- "--upgrade --upgrade-strategy eager torch>=2.11"
    run "$tools/install.sh" --newest true
    expect 0 "using the environment"
    run "$tools/install.sh" --with-tests true
    expect 0 "versions: newest"
    [ "$(pip_calls)" -eq 3 ]
    [ "$(grep -c constraint pip)" -eq 1 ]
}

@test "a torchaudio that does not load beside its torch is replaced by the one that does" {
    pretend_python
    echo "torchaudio==2.11.0" >unfit
    run "$tools/install.sh" --newest true
    expect 0 "the environment is complete"
    tail -n 1 pip | grep -q "install .*--no-deps torchaudio==2.11.0"
}

@test "--pip-options go to pip, word by word" {
    pretend_python
    run "$tools/install.sh" --pip-options "--extra-index-url https://example.org/cpu --pre"
    expect 0 "the environment is complete"
    grep -q "tensorboard --extra-index-url https://example.org/cpu --pre$" pip
    run "$tools/install.sh" --pip-options=--pre
    expect 0 "--pip-options was not used: nothing is missing"
}

@test "versions that are not tested, and packages of no lock, are named in a line and refused by nobody" {
    pretend_python
    printf 'numpy 9.0\nscipy 9.1\n' >untested
    echo "stowaway 1.0" >unlocked
    for _ in made used; do
        run "$tools/install.sh"
        expect 0 "not tested in these versions (tools/locks has the tested ones): numpy 9.0, scipy 9.1"
        expect 0 "in no lock of tools/locks: stowaway 1.0"
        [ "$(grep -c "numpy 9.0" <<<"$output")" -eq 1 ]
    done
    rm "$SSLSV_VENV/sslsv_tk.state" # as if somebody else had made it: it may hold much that is not of this toolkit
    run "$tools/install.sh"
    expect 0 "numpy 9.0, scipy 9.1"
    [[ $output != *stowaway* ]]
}

@test "an environment whose packages cannot be imported is not complete" {
    pretend_python
    touch stopping
    echo "soundfile 0.1 cannot be loaded (OSError: libsndfile). Install it again" >broken
    run "$tools/install.sh"
    expect 1 "cannot be imported from $SSLSV_VENV: soundfile 0.1 cannot be loaded (OSError: libsndfile)"
    run bash -c '. "$1/activate_python.sh"' - "$tools"
    expect 1 "Make it with: "
}

@test "a torchaudio that cannot be loaded is a line, and stops nothing else" {
    pretend_python
    echo "torchaudio 2.11.1 cannot be loaded beside torch 2.11.0 (OSError)" >broken
    run "$tools/install.sh"
    expect 0 "warning: torchaudio 2.11.1 cannot be loaded beside torch 2.11.0"
    expect 0 "the environment is complete"
}

@test "the installation is proved once for each state of it, and a failure is no proof" {
    pretend_python
    unset SSLSV_VENV
    export XDG_CACHE_HOME=$PWD/cache
    touch no-network
    run "$tools/prove_install.sh"
    expect 1 "not proved: tools/install.sh from nothing"
    rm no-network
    run "$tools/prove_install.sh"
    expect 0 "proved in"
    grep -q -- "pip install --constraint .*/locks/run.txt $PWD/cache/sslsv_tk/proof.*/source" pip
    grep -q "sslsv_tk.bin.train --help" python-calls
    grep -q "py.typed" python-calls
    run ls cache/sslsv_tk
    [[ $output =~ ^proved-install-[0-9a-f]{64}$ ]]
    calls=$(pip_calls)
    run "$tools/prove_install.sh"
    expect 0 "proved on this machine at 20"
    [ "$(pip_calls)" -eq "$calls" ]
    run "$tools/prove_install.sh" --again true
    expect 0 "proved in"
    [ "$(pip_calls)" -gt "$calls" ]
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
