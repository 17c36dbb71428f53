#!/bin/bash
# demo.sh - FTP through a NAT gateway with ftp-alg: real servers, real clients, every deployment.
#
#   sudo scripts/demo.sh
#
# It installs the packages that it needs, builds ftp-alg, and works in network namespaces of its
# own. It does not touch the machine's network, and leaves nothing behind.
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
require_cargo
"$repository/scripts/install-deps.sh"
run_cargo build --release --quiet
exec python3 "$repository/tests/lab/demo.py" "$@"
