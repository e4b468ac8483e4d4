#!/usr/bin/env bats
# The surface of utils/parse_options.sh, and the faults of its ancestors that it does not have.

load recipe_copy

setup() {
    utils="$BATS_TEST_DIRNAME/../../utils"
    cd "$BATS_TEST_TMPDIR" || return
    cat >script.sh <<SCRIPT
#!/usr/bin/env bash
set -euo pipefail
# Options
# Settings of a small script.
stage=1             # first stage
stop_stage=7        # last stage, inclusive
force=false         # make anew
name=nobody         # a name
empty=              # empty unless given
# End of options
inner=kept
. "$utils/parse_options.sh"
printf '%s|' "\$stage" "\$stop_stage" "\$force" "\$name" "\$empty" "\$inner" "\$#" "\$@"
SCRIPT
    chmod +x script.sh
}

@test "without options the defaults hold" {
    run ./script.sh
    expect 0 "1|7|false|nobody||kept|0|"
}

@test "dashes, underscores and the equals sign are the same option" {
    for words in "--stop-stage 6" "--stop_stage 6" "--stop-stage=6" "--stop_stage=6"; do
        # shellcheck disable=SC2086 # two words on purpose
        run ./script.sh $words
        expect 0 "1|6|false|nobody||kept|0|"
    done
}

@test "the last one given wins" {
    run ./script.sh --stage 2 --stage 3
    expect 0 "3|7|"
}

@test "a script variable called name, and any value, are taken as they are" {
    # shellcheck disable=SC2016 # nothing may be expanded
    run ./script.sh --name '$(touch ran) `touch ran`; "x" *' --empty 'a  b'
    # shellcheck disable=SC2016
    expect 0 '|$(touch ran) `touch ran`; "x" *|a  b|'
    [ ! -e ran ]
}

@test "an empty value is a value" {
    run ./script.sh --name "" --empty=
    expect 0 "1|7|false|||kept|0|"
}

@test "an option without a value is a mistake, not a loop" {
    run timeout 10 ./script.sh --stage
    expect 2 "--stage needs a value"
    run timeout 10 ./script.sh --stage --force true
    expect 2 "--stage needs a value"
    run timeout 10 ./script.sh --conf
    expect 2 "--conf needs a value"
}

@test "a value that begins with dashes goes with the equals sign" {
    run ./script.sh --name=--odd
    expect 0 "|--odd|"
    run ./script.sh --name --odd
    expect 2 "--name needs a value"
}

@test "a value of several words may begin with dashes: no option has blanks in its name" {
    run ./script.sh --name "--odd even" --stage 3
    expect 0 "3|7|false|--odd even||kept|0|"
}

@test "an unknown option is a mistake, also one that is a variable of the script or of the shell" {
    for word in --stge --inner --PATH --path --__po_script --bash -x -- =; do
        run ./script.sh "$word" 1
        case $word in
            -- | =) expect 0 "|kept|" ;;
            *) expect 2 "unknown option" ;;
        esac
    done
    run ./script.sh --inner=changed
    expect 2 "unknown option --inner"
    run ./script.sh --=3
    expect 2 "unknown option"
}

@test "a name with signs of a pattern or of an index is no option" {
    run ./script.sh '--sta*' 3
    expect 2 "unknown option"
    # shellcheck disable=SC2016
    run ./script.sh '--name[$(touch ran)]' 3
    expect 2 "unknown option"
    [ ! -e ran ]
}

@test "booleans take only true and false" {
    run ./script.sh --force true
    expect 0 "|true|"
    for value in yes 1 True ""; do
        run ./script.sh --force "$value"
        expect 2 "--force takes true or false, found '$value'"
    done
}

@test "a switch alone is true, before another option or at the end" {
    run ./script.sh --force
    expect 0 "1|7|true|"
    run ./script.sh --force --stage 2
    expect 0 "2|7|true|"
    run ./script.sh --force stray
    expect 2 "--force takes true or false, found 'stray'"
}

@test "an option whose default is an array takes all values that it is given, and all_options hands everything on" {
    cat >lists.sh <<SCRIPT
#!/usr/bin/env bash
set -euo pipefail
# Options
stage=1             # first stage
config=()           # files
# End of options
. "$utils/parse_options.sh"
printf '%s|' "\${#config[@]}" "\${config[@]}" "\${all_options[@]}"
SCRIPT
    run bash lists.sh
    expect 0 '0|stage=1|'
    # shellcheck disable=SC2016
    printf 'config=first.yaml\nconfig="with = and $(touch ran)"\n' >some.conf
    run bash lists.sh --config "a b.yaml" --conf some.conf --config= --config=c
    # shellcheck disable=SC2016
    expect 0 '4|first.yaml|with = and $(touch ran)|a b.yaml|c|stage=1|config=first.yaml|config=with = and $(touch ran)|config=a b.yaml|config=c|'
    [ ! -e ran ]
    run bash lists.sh --config
    expect 2 "--config needs a value"
}

@test "numbers take only whole numbers" {
    for value in x 1.5 "" "3 4" 08; do
        run ./script.sh --stage "$value"
        expect 2 "--stage takes a whole number, found '$value'"
    done
    run ./script.sh --stage -1
    expect 0 "-1|7|"
}

@test "an empty first argument stays in the arguments for the script to refuse" {
    run ./script.sh "" --stage 3
    expect 0 "1|7|false|nobody||kept|3||--stage|3|"
}

@test "what follows the options, or two dashes, stays in the arguments" {
    run ./script.sh --stage 2 a "b c" --stop-stage 3
    expect 0 "2|7|false|nobody||kept|4|a|b c|--stop-stage|3|"
    run ./script.sh --stage 2 -- --force
    expect 0 "2|7|false|nobody||kept|1|--force|"
}

@test "--help prints the block itself and ends with 0, wherever it stands" {
    run ./script.sh --stage 3 --help
    expect 0 "stop_stage=7        # last stage, inclusive"
    expect 0 "# Settings of a small script."
    [[ $output != *"End of options"* && $output != *"inner"* ]]
}

@test "a conf file is parsed, not run, and the command line wins wherever it stands" {
    cat >some.conf <<'CONF'
# a comment

stage=3
  stop-stage=5   # with a reason
name="two words # no comment"
empty=$(touch ran)
force='true'
CONF
    run ./script.sh --stage 4 --conf some.conf
    # shellcheck disable=SC2016
    expect 0 '4|5|true|two words # no comment|$(touch ran)|kept|0|'
    [ ! -e ran ]
}

@test "a sharp sign begins a comment only after a blank" {
    printf 'name=a#b # c # d\nempty=#nothing\nstage= 4\t#x\n' >some.conf
    run ./script.sh --conf some.conf
    expect 0 '4|7|false|a#b||kept|0|'
}

@test "a later conf file wins over an earlier one, and an unfinished last line counts" {
    echo "stage=3" >first.conf
    printf 'stage=4\nempty=  # nothing' >second.conf
    run ./script.sh --conf first.conf --conf=second.conf --empty x
    expect 0 "4|7|false|nobody|x|kept|0|"
    run ./script.sh --conf second.conf --conf first.conf
    expect 0 "3|7|false|nobody||kept|0|"
}

@test "a mistake in a conf file names the file and the line" {
    printf 'stage=3\nstop_stage\n' >bad.conf
    run ./script.sh --conf bad.conf
    expect 2 "bad.conf:2: expected name=value, found 'stop_stage'"
    printf 'stage=3\n\nstge=4\n' >bad.conf
    run ./script.sh --conf bad.conf
    expect 2 "bad.conf:3: unknown option --stge"
    printf 'force=maybe\n' >bad.conf
    run ./script.sh --conf bad.conf
    expect 2 "bad.conf:1: --force takes true or false, found 'maybe'"
    run ./script.sh --conf nowhere.conf
    expect 2 "--conf nowhere.conf: no such file"
}

@test "a script without a block is told so" {
    printf '#!/usr/bin/env bash\n. "%s/parse_options.sh"\n' "$utils" >bare.sh
    run bash bare.sh
    expect 2 "has no block"
}
