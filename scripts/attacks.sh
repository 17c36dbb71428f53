#!/bin/bash
# attacks.sh - attacks on FTP helpers in one table: no helper, the kernel's, ftp-alg; and floods.
#
#   sudo scripts/attacks.sh [--no-floods] [--filter REGEX] [--jobs N] [--verbose]
#                           [--engines none,ports-open,kernel,ours]
#   sudo scripts/attacks.sh --network zone|zones-of-hosts|zone-of-guests [...]
#   sudo scripts/attacks.sh --stock [--network vrf] [...]
#
# --stock takes a stock kernel in a virtual machine, and each backend of ours: about ten minutes.
# --network has the table without the floods in that network. A VRF needs a stock kernel.
#
# Each cell says whether the attacker's connection came through, and whether honest sessions beside
# it finished. The exit status is 1 when ours opens anything, when an honest session beside ours
# does not finish, or when an attack succeeds with nobody and no reason is stated.
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
require_cargo
"$repository/scripts/install-deps.sh"
run_cargo build --release --quiet --bin ftp-alg
if [ "${1:-}" = --stock ]; then
    shift
    cd "$repository"
    # One processor, because an emulated second one makes all work cost three times as much.
    exec scripts/vm-run.sh -s 1 -m 1536 -t 7200 -e LAB_PATIENCE=5 -- \
        /usr/bin/python3 tests/lab/attacks_table.py --no-floods \
        --engines kernel,ours-nftables,ours-conntrack "$@"
fi
exec python3 "$repository/tests/lab/attacks_table.py" "$@"
