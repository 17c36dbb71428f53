#!/bin/bash
# failover.sh - two gateways with keepalived and conntrackd, one of which loses its power in the
# middle of FTP sessions; tells which sessions go on through the other (docs/ha.md).
#
#   sudo scripts/failover.sh [--times N] [--controls]
#                            [--without states|expectations|adoption|backend]
#
# It runs in a virtual machine with a stock kernel (vm-run.sh), because few other kernels take
# connection tracking helpers from a program. The last line is `N passed, M failed`. The exit status
# is 1 when anything failed.
# Environment: FTP_ALG (another program than target/release/ftp-alg).
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
exec "$repository/scripts/vm-run.sh" -t 3600 -e FTP_ALG -e LAB_PATIENCE -- \
    python3 "$repository/tests/lab/failover.py" "$@"
