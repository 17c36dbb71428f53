#!/bin/bash
# attacks.sh - attacks on FTP helpers, each with no helper, with the kernel's, and with ftp-alg, in one table; and floods.
#
#   sudo scripts/attacks.sh [--no-floods] [--filter REGEX] [--engines none,ports-open,kernel,ours] [--jobs N] [--verbose]
#   sudo scripts/attacks.sh --stock [...]      on a stock kernel in a virtual machine, with each backend of ours: about ten minutes
#
# Each cell says whether the attacker's connection came through, and whether honest sessions beside it finished. Exit status 1 when
# ours opens anything, an honest session beside ours does not finish, or an attack succeeds with nobody without a stated reason.
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
require_cargo
"$repository/scripts/install-deps.sh"
run_cargo build --release --quiet --bin ftp-alg
if [ "${1:-}" = --stock ]; then
    shift
    cd "$repository"
    # One processor: an emulated second one makes all work cost three times as much.
    exec scripts/vm-run.sh -s 1 -m 1536 -t 7200 -e LAB_PATIENCE=5 -- /usr/bin/python3 tests/lab/attacks_table.py --no-floods \
        --engines kernel,ours-nftables,ours-conntrack "$@"
fi
exec python3 "$repository/tests/lab/attacks_table.py" "$@"
