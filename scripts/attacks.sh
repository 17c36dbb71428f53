#!/bin/bash
# attacks.sh - attacks on FTP helpers, each with no helper, with the kernel's, and with ftp-alg, in one table; and floods.
#
#   sudo scripts/attacks.sh [--no-floods] [--filter REGEX] [--engines none,ports-open,kernel,ours] [--jobs N] [--verbose]
#
# Each cell says whether the attacker's connection came through, and whether honest sessions beside it finished. Exit status 1 when
# ours opens anything, an honest session beside ours does not finish, or an attack succeeds with nobody without a stated reason.
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
require_cargo
"$repository/scripts/install-deps.sh"
run_cargo build --release --quiet --bin ftp-alg
exec python3 "$repository/tests/lab/attacks_table.py" "$@"
