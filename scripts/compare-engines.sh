#!/bin/bash
# compare-engines.sh - the same scenarios through four FTP helpers on a stock kernel, in one table.
#
#   sudo scripts/compare-engines.sh [--full | --dialogues] [--filter REGEX] [--host]
#                                   [--engines kernel,conntrackd,ours-nftables,ours-conntrack]
#
# The helpers are the kernel's nf_conntrack_ftp, conntrackd's FTP helper in userspace, and ftp-alg
# with each backend. Each has a virtual machine of its own, two at a time. All have the same
# operator's rules, which accept established and related alone; ftp-alg's backend nftables has a
# line for its mark too. --full tries the whole matrix instead of a selection. --dialogues tries
# what real peers are known to say (tests/lab/dialogue_rows.py), one row for each dialogue.
#
# --host takes this machine's kernel, and so the kernel's helper and ours alone. That is fast.
set -uo pipefail
. "$(dirname "$0")/common.sh"

engines='' selection=(--covering) limit=3600 host=''
filter='^(transfer|ten-ports|announces-public|guarantee)/'
while [ $# -gt 0 ]; do
    case $1 in
        --full) selection=() limit=36000 ;;
        # Also the cases that ours fails today, because the table is to show them.
        --dialogues) selection=(--not-yet) filter='^dialogue/' ;;
        --host) host=yes ;;
        --filter) filter=${2?}; shift ;;
        --engines) engines=${2?}; shift ;;
        *) say_and_exit "unknown option $1: see the first lines of $0" ;;
    esac
    shift
done

[ -n "$engines" ] || engines=${host:+kernel,ours}
[ -n "$engines" ] || engines=kernel,conntrackd,ours-nftables,ours-conntrack

require_root
require_cargo
"$repository/scripts/install-deps.sh" || exit 1
run_cargo build --release --quiet || exit 1

directory=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$directory"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A helper that fails a case lets its client wait. So there are many labs at once, and less patience
# than where all should pass.
try() {        # <engine>
    mkdir -p "$directory/$1"
    cd "$repository" || return
    if [ -n "$host" ]; then
        exec python3 tests/lab/run.py --engine "$1" "${selection[@]}" --filter "$filter" \
            --json "$directory/$1/$1.json" >"$directory/$1.log" 2>&1
    else
        exec scripts/vm-run.sh -m 2048 -t "$limit" -e LAB_PATIENCE=3 -w "$directory/$1" -- \
            /usr/bin/python3 tests/lab/run.py --engine "$1" "${selection[@]}" --filter "$filter" \
            --jobs 8 --json "$directory/$1/$1.json" >"$directory/$1.log" 2>&1
    fi
}

results=()
for engine in ${engines//,/ }; do
    # Two machines fill two processors.
    while [ "$(jobs -pr | wc -l)" -ge 2 ]; do wait -n; done
    echo "compare-engines: $engine" >&2
    try "$engine" &
    results+=("$directory/$engine/$engine.json")
done
wait

for result in "${results[@]}"; do
    [ -s "$result" ] || {
        cat "${result%/*}.log" >&2
        say_and_exit "$(basename "$result" .json) could not be tried: see above"
    }
done
python3 "$repository/tests/lab/compare_engines.py" "${results[@]}"
