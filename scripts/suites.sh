#!/bin/bash
# suites.sh - other people's test suites through the gateway: CPython's test_ftplib, pyftpdlib,
# aioftp, curl, basic-ftp, and lftp's mirror without waiting for answers.
#
#   sudo scripts/suites.sh [--suites cpython,pyftpdlib,aioftp,curl,basic-ftp,lftp]
#                          [--engines kernel,ours] [--routes snat,dnat] [--logs DIRECTORY]
#
# Each suite runs directly, with the kernel's helper, and with ftp-alg as shipped. Its servers are
# in another network namespace than its clients. The exit status is 1 when a test passes directly
# and fails with ours, unless tests/suites/expected.py has the reason.
#
# The suites come from PyPI, npm and Debian (curl's as a source package), into the cache directory
# of scripts/install-deps.sh. Whatever they write lies in temporary directories.
set -euo pipefail
. "$(dirname "$0")/common.sh"

require_root
require_cargo
"$repository/scripts/install-deps.sh"
run_cargo build --release --quiet --bin ftp-alg
exec python3 "$repository/tests/suites/suites.py" "$@"
