#!/usr/bin/env bash
# Checks everything: style, types, shell scripts, recipe, package. Words after the name go to pytest: tools/test.sh -k launch
# tools/test.sh --fast leaves out bats and every test that is not marked `fast`.
set -uo pipefail

tools=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$tools/.." || exit 1
if [ "${1:-}" = --help ]; then
    echo "Usage: test.sh [--fast] [pytest options]
Makes the environment if it is missing (tools/install.sh), then runs ruff, mypy, shellcheck, bats and pytest.
--fast runs no bats, and of pytest what takes a minute: methods, layers, positives, clustering, encoders, scoring, reports, configurations.
As root, missing programs (shellcheck, bats, ffmpeg, slurm-wlm, munge) are installed with apt-get; without ffmpeg tests of m4a are skipped, without
Slurm and root those of a real one. SSLSV_VENV and PYTHON: see tools/install.sh --help."
    exit 0
fi
fast=false marked=()
parallel=(--numprocesses auto --maxprocesses 8 --dist worksteal) # a word after it wins: -n 0 runs all in one process
if [ "${1:-}" = --fast ]; then
    fast=true marked=(-m fast)
    shift
fi
[ "$(id -u)" -eq 0 ] && system=true || system=false
"$tools/install.sh" --with-tests true --system "$system" || exit 1
for program in shellcheck bats; do
    "$fast" && [ "$program" = bats ] && continue
    command -v "$program" >/dev/null ||
        { echo "test.sh: $program is missing. Install it (Debian, Ubuntu: sudo apt-get install $program)." >&2 && exit 1; }
done
"$fast" || ! "$system" || "$tools/start_test_slurm.sh" install || echo "test.sh: no Slurm could be installed, so tests with a real one are skipped" >&2
. "$tools/activate_python.sh" || exit 1

summary=()
failed=false
check() { # check NAME COMMAND ...
    local started=$SECONDS result=passed
    printf '\n== %s\n' "$1"
    "${@:2}" || { result=FAILED && failed=true; }
    summary+=("$(printf '%-12s %-7s %4d s' "$1" "$result" $((SECONDS - started)))")
}

mapfile -t scripts < <(find . \( -name .git -o -path './egs/*/exp*' -o -path './egs/*/dump*' -o -path './egs/*/data*' \) -prune -o \
    -type f \( -name '*.sh' -o -name '*.bats' -o -path ./.ci/run \) -print | sort)
check "ruff" ruff check .
check "ruff format" ruff format --check .
check "mypy" mypy
check "shellcheck" shellcheck "${scripts[@]}"
"$fast" || check "bats" bats tests/recipe
check "pytest" python3 -m pytest "${parallel[@]}" "${marked[@]}" "$@"

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
! "$failed"
