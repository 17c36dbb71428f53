#!/bin/bash
# test-vm.sh - the scenarios on a stock Debian kernel, with each backend in a virtual machine.
#
#   sudo scripts/test-vm.sh            a selection with everything that the matrix tries
#   sudo scripts/test-vm.sh --full     the whole matrix, splits and losses too; takes some hours
#   sudo scripts/test-vm.sh --filter REGEX, --json DIRECTORY, --jobs N
#
# The stock kernel has what the machine's own may lack: nft's `queue`, userspace helpers, netem, the
# list of expectations. The files of rules/ are loaded as they are shipped. The kernel tests of
# `cargo test` run there too.
#
# A machine that cannot be booted is a failure, and the script says so before anything else.
set -uo pipefail
. "$(dirname "$0")/common.sh"

mode=(--covering) limit=2400 filter='' jobs=4 results=''
while [ $# -gt 0 ]; do
    case $1 in
        --full) mode=(--extra) limit=36000 ;;
        --filter) filter=${2?}; shift ;;
        --jobs) jobs=${2?}; shift ;;
        --json) results=$(realpath -m "${2?}"); mkdir -p "$results"; shift ;;
        *) say_and_exit "unknown option $1: see the first lines of $0" ;;
    esac
    shift
done

require_root
require_cargo
run_cargo build --release --quiet || exit 1
"$repository/scripts/vm-run.sh" true ||
    say_and_exit "no virtual machine can be booted here, so the stock kernel was not tried"

directory=$(mktemp -d)
pids=()
trap '[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null; rm -rf "$directory"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# One processor each, because an emulated second one makes all work cost three times as much.
boot() {        # <log> <command...>
    local log=$1; shift
    : >"$log"
    (cd "$repository" && exec scripts/vm-run.sh -s 1 -m 1536 -t "$limit" -e LAB_PATIENCE=5 \
        ${results:+-w "$results"} -- "$@") >"$log" 2>&1 &
    pids+=($!)
    tail -n +1 -f --pid=$! "$log" 2>/dev/null | grep --line-buffered -v '^not applicable' |
        sed -u "s/^/${log##*/}: /" &
}

# Repeats the last line of a run, where nobody can miss it; a machine that ended without it failed.
conclude() {        # <log> <pattern of the line>
    wait "${pids[0]}" || status=1
    pids=("${pids[@]:1}")
    grep -E "$2" "$1" | tail -n 1 | grep . || {
        echo "${1##*/} ended before its tests did"
        echo "0 passed, 1 failed"
        status=1
    }
}

# Proofs about other helpers, and about none, need no backend of ours. Only the first machine has
# them.
declare -A besides=([nftables]='' [conntrack]='(?!(tls-)?without-helper/|beside-kernel/)')
# /usr/bin/python3, because the script of a version manager takes seconds to find another one.
for backend in nftables conntrack; do
    boot "$directory/$backend" /usr/bin/python3 tests/lab/run.py --engine "ours-$backend" --stock \
        "${mode[@]}" --jobs "$jobs" --filter "^${besides[$backend]}.*(?:$filter)" \
        ${results:+--json "$results/ours-$backend.json"}
done
status=0
for backend in nftables conntrack; do
    conclude "$directory/$backend" '^[0-9]+ passed, [0-9]+ failed$'
done

if [ -z "$filter" ]; then
    tests=$(run_cargo test --quiet --no-run --message-format=json --test netns --test rules |
        sed -nE '/"kind":\["test"\]/s/.*"executable":"([^"]+)".*/\1/p') || status=1
    [ -n "$tests" ] || { echo "cargo did not say what it built"; status=1; }
    names=()
    for test in $tests; do
        names+=("$(basename "${test%-*}")")
        boot "$directory/${names[-1]}" "$test" --ignored --test-threads 1
    done
    for name in "${names[@]}"; do conclude "$directory/$name" '^test result: '; done
fi
exit "$status"
