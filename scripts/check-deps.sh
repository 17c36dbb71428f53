#!/bin/bash
# check-deps.sh - licences, sources and known vulnerabilities of what ftp-alg is built from.
#
#   scripts/check-deps.sh
#
# With cargo-deny installed (`cargo install --locked cargo-deny`) it runs `cargo deny check`.
# Without cargo-deny it checks licences and sources against the same deny.toml. It does not check
# for vulnerabilities then, and says so.
set -euo pipefail
. "$(dirname "$0")/common.sh"

if run_cargo deny --version >/dev/null 2>&1; then
    run_cargo deny check
else
    run_cargo metadata --format-version 1 --locked |
        python3 "$repository/scripts/check_licences.py" "$repository/deny.toml"
    echo "check-deps: cargo-deny is not installed, so advisories were NOT checked:" \
        "cargo install --locked cargo-deny"
fi
