#!/bin/bash
# test-vm.sh - the scenarios on stock Debian kernels, with each backend in a virtual machine.
#
#   sudo scripts/test-vm.sh            a selection with everything that the matrix tries, on the
#                                      kernel of this machine's release; and on the kernels of
#                                      trixie and sid what depends on the kernel
#   sudo scripts/test-vm.sh --kernel KERNEL   the large selection, on this kernel (vm-run.sh -k)
#   sudo scripts/test-vm.sh --full     the whole matrix, splits and losses too; takes some hours
#   sudo scripts/test-vm.sh --filter REGEX, --json DIRECTORY, --jobs N
#
# With --kernel, --full or --filter one kernel is tried. A stock kernel has what the machine's own
# may lack: nft's `queue`, userspace helpers, netem, the list of expectations. The files of rules/
# are loaded as they are shipped. The kernel tests of `cargo test` run there too.
#
# A kernel that cannot be fetched or booted is a failure, and the script says so.
set -uo pipefail
. "$(dirname "$0")/common.sh"

mode=--covering limit=2400 filter='' jobs=4 results='' kernel=${FTP_ALG_VM_KERNEL:-}
# Helpers and expectations changed in both of them (docs/kernel.md).
others=(trixie sid)
while [ $# -gt 0 ]; do
    case $1 in
        --kernel) kernel=${2?} others=(); shift ;;
        --full) mode=--extra limit=36000 others=() ;;
        --filter) filter=${2?} others=(); shift ;;
        --jobs) jobs=${2?}; shift ;;
        --json) results=$(realpath -m "${2?}"); mkdir -p "$results"; shift ;;
        *) say_and_exit "unknown option $1: see the first lines of $0" ;;
    esac
    shift
done

require_root
require_cargo
run_cargo build --release --quiet || exit 1

directory=$(mktemp -d)
pids=()
status=0
trap '[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null; rm -rf "$directory"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Says which kernel it is, so that a reader of the results knows.
require_kernel() {
    local version
    version=$("$repository/scripts/vm-run.sh" -k "$kernel" uname -rv) && echo "kernel: $version" &&
        return
    echo "the kernel ${kernel:-of this release} cannot be fetched or booted: it was NOT tried"
    echo "0 passed, 1 failed"
    status=1
    return 1
}

# One processor each, because an emulated second one makes all work cost three times as much.
boot() {        # <log> <command...>
    local log=$1; shift
    : >"$log"
    (cd "$repository" && exec scripts/vm-run.sh -k "$kernel" -s 1 -m 1536 -t "$limit" \
        -e LAB_PATIENCE=5 ${results:+-w "$results"} -- "$@") >"$log" 2>&1 &
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
run_lab() {        # <selection's option>
    local backend name=${kernel:+$kernel-}
    for backend in nftables conntrack; do
        boot "$directory/$name$backend" /usr/bin/python3 tests/lab/run.py --stock "$1" \
            --engine "ours-$backend" --jobs "$jobs" --filter "^${besides[$backend]}.*(?:$filter)" \
            ${results:+--json "$results/${name}ours-$backend.json"}
    done
    for backend in nftables conntrack; do
        conclude "$directory/$name$backend" '^[0-9]+ passed, [0-9]+ failed$'
    done
}

# The tests of the adapters, one machine for each program.
run_kernel_tests() {        # [filter of the names]
    local tests test names=() name
    tests=$(run_cargo test --quiet --no-run --message-format=json --test netns --test rules |
        sed -nE '/"kind":\["test"\]/s/.*"executable":"([^"]+)".*/\1/p') || status=1
    [ -n "$tests" ] || { echo "cargo did not say what it built"; status=1; }
    for test in $tests; do
        names+=("${kernel:+$kernel-}$(basename "${test%-*}")")
        boot "$directory/${names[-1]}" "$test" --ignored --test-threads 1 "$@"
    done
    # A filter that finds no test is no success.
    for name in "${names[@]}"; do
        conclude "$directory/$name" '^test result: .* [1-9][0-9]* passed'
    done
}

if require_kernel; then
    run_lab "$mode"
    [ -n "$filter" ] || run_kernel_tests
fi
for kernel in "${others[@]}"; do
    ! require_kernel || { run_lab --brief; run_kernel_tests kernel_expectations each_nft_file; }
done
exit "$status"
