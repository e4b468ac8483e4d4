# shellcheck shell=bash
# Which test sets there are, and which trial lists are about which: from --test-audio and --trials. Sourced by run.sh.
#
#     test_sets                  names of the sets; test_folder[SET]: the folder of each
#     lists                      trial lists; list_set[i]: the set of each; list_name[i]: its name in data/ and in the results

# The lists of VoxCeleb and of the VoxSRC validation sets by their official names (what each is: sslsv_tk/kaldi/trials.py).
official_lists=(veri_test.txt veri_test2.txt list_test_all.txt list_test_all2.txt list_test_hard.txt list_test_hard2.txt
    voxsrc2020_val.txt voxsrc2021_val.txt voxsrc2022_dev.txt voxsrc2022_dev_fixed.txt VoxSRC2023_Track12_val.txt)
test_sets=() lists=() list_set=() list_name=()
declare -A test_folder

# find_test_sets TEST-AUDIO TRIALS: fills the variables above; VOXCELEB1 is the one test set where none is given.
find_test_sets() {
    local words word
    split_folders words "$1"
    for word in "${words[@]}"; do add_test_set "$word" "${#words[@]}"; done
    [ ${#words[@]} -gt 0 ] || { test_sets=(voxceleb1_test) && test_folder[voxceleb1_test]=$VOXCELEB1; }
    read -ra words <<<"$2"
    for word in "${words[@]}"; do add_lists "$word"; done
    add_default_lists
    name_lists
}

split_folders() { # split_folders ARRAY VALUE: words apart, but one folder whose name has spaces stays whole
    if [ -d "$(from_caller "$2")" ]; then
        local -n into=$1
        # shellcheck disable=SC2034 # it is the array of the caller
        into=("$2")
    else
        read -ra "$1" <<<"$2"
    fi
}

split_name() { # split_name WORD: sets `name` and `path` of SET=PATH; `name` is empty where there is only a path
    name='' path=$1
    if [[ $1 =~ ^([A-Za-z0-9_.-]+)=(.+)$ ]]; then name=${BASH_REMATCH[1]} path=${BASH_REMATCH[2]}; fi
    path=$(from_caller "${path%/}")
}

add_test_set() { # add_test_set WORD HOW-MANY-THERE-ARE
    local name path
    split_name "$1"
    [ "$path" != "$VOXCELEB1" ] || name=${name:-voxceleb1_test}
    if [ -z "$name" ] && [ "$2" -eq 1 ]; then name="test"; fi
    name=${name:-$(basename "$path")}
    [[ $name =~ ^[A-Za-z0-9_.-]+$ && ! $name =~ ^(train|voxceleb2_train|musan|rirs)(_.*)?$ ]] ||
        fail "--test-audio $1: '$name' cannot be the name of a test set. Give another: NAME=$path" 2
    [ -z "${test_folder[$name]+there}" ] ||
        fail "--test-audio: two test sets are called $name (${test_folder[$name]} and $path). Name one: NAME=$path" 2
    test_sets+=("$name")
    test_folder[$name]=$path
}

add_lists() { # add_lists WORD: LIST or SET=LIST; a folder stands for the official lists in it
    local name path official found=()
    split_name "$1"
    if [ -d "$path" ]; then
        for official in "${official_lists[@]}"; do [ ! -f "$path/$official" ] || found+=("$path/$official"); done
        [ ${#found[@]} -gt 0 ] || fail "--trials: the folder $path has none of the lists ${official_lists[*]}. Give the file."
    else
        found=("$path")
    fi
    [ -n "$name" ] || set_of_list "$path"
    [ -n "${test_folder[$name]+there}" ] || fail "--trials $1: there is no test set $name; there are: ${test_sets[*]}" 2
    for path in "${found[@]}"; do lists+=("$path") list_set+=("$name"); done
}

set_of_list() { # set_of_list LIST: sets `name` to the one set, or to the set in whose folder the list lies
    local set
    [ ${#test_sets[@]} -gt 1 ] || { name=${test_sets[0]} && return; }
    for set in "${test_sets[@]}"; do
        [[ $1/ != "${test_folder[$set]}"/* ]] || name=$set
    done
    [ -n "$name" ] || fail "--trials $1: which test set is it about? Write SET=$1; the sets are ${test_sets[*]}" 2
}

add_default_lists() { # a set without a list: the cleaned O list of VoxCeleb1, or a file called trials
    local set folder
    for set in "${test_sets[@]}"; do
        folder=${test_folder[$set]}
        [[ " ${list_set[*]} " != *" $set "* ]] || continue
        if [ "$folder" = "$VOXCELEB1" ]; then
            lists+=("$folder/veri_test2.txt") list_set+=("$set")
        elif [ -f "$folder/trials" ]; then
            lists+=("$folder/trials") list_set+=("$set")
        fi
    done
}

name_lists() { # the name of the file without its ending; with the set before it where two sets have lists of one name
    local index name
    for index in "${!lists[@]}"; do
        name=$(basename "${lists[index]}")
        name=${name%.*}
        [ "$name" != trials ] || name=${list_set[index]}
        list_name+=("$name")
    done
    local names=" ${list_name[*]} "
    for index in "${!lists[@]}"; do
        name=" ${list_name[index]} "
        [[ ${names/"$name"/ } != *"$name"* ]] || list_name[index]=${list_set[index]}_${list_name[index]}
    done
    for index in "${!lists[@]}"; do
        [ "$(printf '%s\n' "${list_name[@]}" | grep -cFx -- "${list_name[index]}")" -eq 1 ] ||
            fail "--trials: two lists of ${list_set[index]} are called $(basename "${lists[index]%.*}"). Rename one of the files." 2
    done
}

check_test_sets() { # before stages 1 and 7: every set has a list, every list that stage 1 reads is there
    local set list
    for set in "${test_sets[@]}"; do
        [[ " ${list_set[*]} " == *" $set "* ]] ||
            fail "--test-audio needs --trials $([ ${#test_sets[@]} -eq 1 ] || echo "$set=")FILE: lines \`1|0 a b\` with paths below ${test_folder[$set]}, or \`a b target|nontarget\`."
    done
    [ "$1" = 1 ] || return 0
    for list in "${lists[@]}"; do
        [ -f "$list" ] || fail "there is no trial list $list. Expected one of ${official_lists[*]} (2: cleaned), or any list; --trials FILE names it."
    done
}
