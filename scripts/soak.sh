#!/bin/bash
# soak.sh - random acts of operators, link flaps, kills and traffic for an hour; at the end nothing
# may be stuck or left over, and the memory of the daemon is flat (tests/lab/soak.py).
#
#   sudo scripts/soak.sh [--minutes N] [--seed S] [--round NAME] [--only REGEX]
#
# The schedule comes from the seed, which the first and the last line print. The exit status is 1
# when anything failed.
# Environment: FTP_ALG (another program than target/release/ftp-alg).
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
exec /usr/bin/python3 "$repository/tests/lab/soak.py" "$@"
