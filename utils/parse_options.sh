# shellcheck shell=bash
# Reads `--name value` from the command line into the variables of the options block of the script that sources this.
#
#     # Options
#     stage=1             # first stage to run
#     stop_stage=7        # last stage to run, inclusive
#     # End of options
#     . utils/parse_options.sh
#
# The block is the list of options, their defaults and the text of --help. `--stop-stage 6`, `--stop_stage 6` and
# `--stop-stage=6` are the same; the last one given wins. An option whose default is true or false takes only these,
# one whose default is a whole number only whole numbers; `--force` alone is `--force true`. An option whose default is
# `()` may be given several times and is an array of what was given. `--conf FILE` reads lines `name=value`, over which
# the command line wins (to arrays it adds). Values are never evaluated. What follows the options stays in "$@".
# `all_options` holds every option as name=value, for a command that takes them all. A mistake ends with status 2.
# The names here begin with __po_, so that a script may call its variables what it likes.

__po_script=${BASH_SOURCE[1]}
__po_known=" " # names in the block, each between spaces
__po_conf_files=()
__po_given_names=()
__po_given_values=()
__po_consumed=0

__po_fail() {
    printf '%s: %s (--help shows the options)\n' "${__po_script##*/}" "$1" >&2
    exit 2
}

__po_is_list() { [[ $(declare -p "$1" 2>/dev/null) == "declare -a"* ]]; }

__po_block() { sed -n '/^# Options/,/^# End of options/{//!p}' "$__po_script"; }

__po_read_block() {
    local __po_line
    while IFS= read -r __po_line; do
        [[ $__po_line =~ ^([a-z][a-z0-9_]*)= ]] && __po_known+="${BASH_REMATCH[1]} "
    done < <(__po_block)
    [ "$__po_known" != " " ] || __po_fail "has no block between '# Options' and '# End of options'"
}

__po_help() {
    printf 'Usage: %s [--name value ...]\n\nOptions and their defaults; --stop-stage is the same as --stop_stage.\n' "${__po_script##*/}"
    __po_block
    printf 'conf=               # a file of lines name=value with more of these; the command line wins\n'
    exit 0
}

# __po_near NAME: the options that NAME may have been meant for: few letters are others, or all of it stands in them
__po_near() {
    awk -v word="$1" -v known="$__po_known" '
        function least(a, b) { return a < b ? a : b }
        function edits(a, b,    i, j, row, above, left) { # Levenshtein: letters to insert, remove or replace
            for (j = 0; j <= length(b); j++) row[j] = j
            for (i = 1; i <= length(a); i++) {
                above = row[0]; row[0] = i
                for (j = 1; j <= length(b); j++) {
                    left = above + (substr(a, i, 1) != substr(b, j, 1))
                    above = row[j]
                    row[j] = least(left, least(row[j], row[j - 1]) + 1)
                }
            }
            return row[length(b)]
        }
        BEGIN {
            count = split(known, names, " ")
            for (n = 1; n <= count; n++) {
                away = edits(word, names[n])
                if ((away <= 2 && away * 2 < length(word)) || (length(word) > 2 && index(names[n], word)))
                    found = found (found == "" ? "" : " or ") "--" names[n]
            }
            gsub("_", "-", found)
            if (found != "") print " Did you mean " found "?"
        }'
}

# __po_check NAME VALUE WHERE: is NAME an option, and VALUE of the kind of its default?
__po_check() {
    [[ $1 =~ ^[a-z][a-z0-9_]*$ && $__po_known == *" $1 "* ]] || __po_fail "$3: unknown option --${1//_/-}.$(__po_near "$1")"
    ! __po_is_list "$1" || return 0
    case ${!1} in
        true | false) [[ $2 == true || $2 == false ]] || __po_fail "$3: --${1//_/-} takes true or false, found '$2'" ;;
        *[!0-9]* | "") ;;
        *) [[ $2 =~ ^-?(0|[1-9][0-9]*)$ ]] || __po_fail "$3: --${1//_/-} takes a whole number, found '$2'" ;;
    esac
}

# __po_collect ARGUMENTS: splits the command line into names and values without setting anything yet.
__po_collect() {
    local __po_total=$# __po_word __po_name __po_value
    while [ $# -gt 0 ]; do
        __po_word=$1
        case $__po_word in
            --) shift && break ;;
            --help | -h) __po_help ;;
            --*=*) __po_name=${__po_word%%=*} __po_value=${__po_word#*=} ;;
            --*)
                __po_name=$__po_word
                if [[ $# -gt 1 && ($2 != --* || $2 == *[[:blank:]]*) ]]; then
                    __po_value=$2
                    shift
                elif __po_is_switch "$__po_word"; then
                    __po_value=true
                else
                    __po_need_value "$__po_word"
                fi
                ;;
            -*) __po_fail "unknown option $__po_word" ;;
            *) break ;;
        esac
        shift
        __po_name=${__po_name#--}
        __po_name=${__po_name//-/_}
        if [ "$__po_name" = conf ]; then
            __po_conf_files+=("$__po_value")
        else
            __po_check "$__po_name" "$__po_value" "command line"
            __po_given_names+=("$__po_name")
            __po_given_values+=("$__po_value")
        fi
    done
    __po_consumed=$((__po_total - $#))
}

__po_is_switch() { # is it an option that is false until it is given?
    local __po_name=${1#--}
    __po_name=${__po_name//-/_}
    [[ $__po_name =~ ^[a-z][a-z0-9_]*$ && $__po_known == *" $__po_name "* ]] &&
        ! __po_is_list "$__po_name" && [ "${!__po_name}" = false ]
}

__po_need_value() {
    local __po_name=${1#--}
    [[ $__po_name == conf || $__po_known == *" ${__po_name//-/_} "* ]] ||
        __po_fail "command line: unknown option $1.$(__po_near "${__po_name//-/_}")"
    __po_fail "$1 needs a value (one that is a word that begins with -- is written $1=VALUE)"
}

# __po_read_conf FILE: lines `name=value`; # begins a comment at the start of a line or after a blank; one pair of quotes goes.
__po_read_conf() {
    local __po_line __po_name __po_value __po_number=0
    [ -f "$1" ] || __po_fail "--conf $1: no such file"
    while IFS= read -r __po_line || [ -n "$__po_line" ]; do
        __po_number=$((__po_number + 1))
        [[ $__po_line =~ ^[[:space:]]*(#.*)?$ ]] && continue
        [[ $__po_line =~ ^[[:space:]]*([A-Za-z0-9_-]+)=(.*)$ ]] || __po_fail "$1:$__po_number: expected name=value, found '$__po_line'"
        __po_name=${BASH_REMATCH[1]//-/_} __po_value=${BASH_REMATCH[2]}
        if [[ $__po_value =~ ^(\"([^\"]*)\"|\'([^\']*)\')[[:space:]]*(#.*)?$ ]]; then
            __po_value=${BASH_REMATCH[2]}${BASH_REMATCH[3]}
        else
            __po_value=" $__po_value"
            __po_value=${__po_value%%[[:space:]]#*}
            __po_value=${__po_value#"${__po_value%%[![:space:]]*}"}
            __po_value=${__po_value%"${__po_value##*[![:space:]]}"}
        fi
        __po_check "$__po_name" "$__po_value" "$1:$__po_number"
        __po_set "$__po_name" "$__po_value"
    done <"$1"
}

__po_set() { # __po_set NAME VALUE: an array gets one more, if it is not empty
    if __po_is_list "$1"; then
        local -n __po_list=$1
        [ -z "$2" ] || __po_list+=("$2")
    else
        printf -v "$1" '%s' "$2"
    fi
}

__po_apply() {
    local __po_file __po_index
    for __po_file in "${__po_conf_files[@]}"; do __po_read_conf "$__po_file"; done
    for __po_index in "${!__po_given_names[@]}"; do
        __po_set "${__po_given_names[__po_index]}" "${__po_given_values[__po_index]}"
    done
}

__po_gather() {
    local __po_name __po_value
    all_options=()
    for __po_name in $__po_known; do
        if __po_is_list "$__po_name"; then
            __po_value="${__po_name}[@]"
            for __po_value in "${!__po_value}"; do all_options+=("$__po_name=$__po_value"); done
        else
            all_options+=("$__po_name=${!__po_name}")
        fi
    done
}

__po_read_block
__po_collect "$@"
shift "$__po_consumed"
__po_apply
__po_gather
unset "${!__po_@}"
unset -f __po_fail __po_near __po_block __po_is_list __po_is_switch __po_read_block __po_help __po_check __po_collect __po_need_value \
    __po_read_conf __po_set __po_apply __po_gather
