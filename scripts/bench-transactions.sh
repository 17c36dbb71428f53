#!/bin/bash
# bench-transactions.sh - transactions a second of the kernel's helper, a loop that only accepts,
# and ftp-alg, in one run.
#
#   sudo scripts/bench-transactions.sh [--rounds N] [--seconds S] [--sessions 1,16]
#                                      [--deployment NAME] [--json FILE]
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
require_cargo
"$repository/scripts/install-deps.sh"
run_cargo build --release --quiet --bin ftp-alg --example accept_loop --example ftp_load
exec python3 "$repository/tests/lab/bench.py" "$@"
