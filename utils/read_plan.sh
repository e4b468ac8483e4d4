# shellcheck shell=bash disable=SC2154 # the lists of names come from the script that sources this
# Reads the lines name=value that sslsv_tk/bin/plan.py prints into variables and arrays of the script that sources this.
#
#     plan_values="datadir nj" plan_arrays="lists"
#     . utils/read_plan.sh
#     read_plan <<<"$plan"
#
# A variable without a line is empty; an array has a value for each of its lines. A value is all that follows the first
# equals sign and is never evaluated. A name that is in neither list is an error.

read_plan() {
    local __plan_name __plan_line
    for __plan_name in $plan_values; do printf -v "$__plan_name" '%s' ''; done
    for __plan_name in $plan_arrays; do unset -v "$__plan_name" && declare -ga "$__plan_name=()"; done
    while IFS= read -r __plan_line; do
        __plan_name=${__plan_line%%=*}
        if [[ " ${plan_arrays//[[:space:]]/ } " == *" $__plan_name "* ]]; then
            local -n __plan_array=$__plan_name
            __plan_array+=("${__plan_line#*=}")
        elif [[ " ${plan_values//[[:space:]]/ } " == *" $__plan_name "* && $__plan_line == *=* ]]; then
            printf -v "$__plan_name" '%s' "${__plan_line#*=}"
        else
            echo "the plan has a line that is not known here: $__plan_line" >&2
            return 1
        fi
    done
}
