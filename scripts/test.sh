#!/bin/bash
# test.sh - every test there is: format, lints, unit and property tests, replay, dependencies, and
# the scenarios with real servers and clients. The scenarios run on this machine's kernel, and on a
# stock one in virtual machines.
#
#   sudo scripts/test.sh
#
# The last line is `N passed, M failed`. The exit status is 1 when anything failed. A format, lint
# or dependency check counts as one test. Everything runs even after a failure, so that one run
# shows all failures.
set -uo pipefail
. "$(dirname "$0")/common.sh"

require_root
require_cargo
"$repository/scripts/install-deps.sh" || exit 1

passed=0 failed=0 summary=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

count() {        # <name> <passed> <failed>
    passed=$((passed + $2)) failed=$((failed + $3))
    summary+=("$(printf '%-14s %5d passed %5d failed' "$1" "$2" "$3")")
}

check() {        # <name> <command...>: one test
    local name=$1; shift
    echo "== $name"
    if "$@"; then count "$name" 1 0; else count "$name" 0 1; fi
}

counting() {        # <name> <sed expression that prints "N M" for each result line> <command...>
    local name=$1 pattern=$2 status=0 good bad; shift 2
    echo "== $name"
    "$@" 2>&1 | tee "$log" || status=1
    read -r good bad < <(sed -nE "$pattern" "$log" |
        awk '{ n += $1; m += $2 } END { print n + 0, m + 0 }')
    # A run that ended before it could count anything has failed all the same.
    [ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    [ $((good + bad)) -gt 0 ] || bad=1
    count "$name" "$good" "$bad"
}

check format run_cargo fmt --check
check clippy run_cargo clippy --quiet --all-targets -- -D warnings
# Cargo's and the lab's result lines.
cargo_line='s/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p'
lab_line='s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p'
counting cargo-test "$cargo_line" run_cargo test --no-fail-fast
counting kernel-tests "$cargo_line" \
    run_cargo test --no-fail-fast --test netns --test rules -- --ignored
check dependencies "$repository/scripts/check-deps.sh"
check build run_cargo build --release --quiet
counting scenarios "$lab_line" python3 "$repository/tests/lab/run.py" "$@"
counting stock-kernel "$lab_line; $cargo_line" "$repository/scripts/test-vm.sh"

printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
