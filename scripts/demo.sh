#!/bin/bash
# demo.sh - FTP through a NAT gateway, with ftp-alg in the path: real servers, real clients, every deployment.
#
#   sudo scripts/demo.sh
#
# Installs the packages it needs, builds ftp-alg, and then works in network namespaces of its own: the
# machine's network is not touched, and nothing is left behind.
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
require_cargo
"$repository/scripts/install-deps.sh"
run_cargo build --release --quiet
exec python3 "$repository/tests/lab/demo.py" "$@"
