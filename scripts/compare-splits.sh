#!/bin/sh
# compare-splits.sh - announcements cut at every byte position, the kernel's helper beside ours.
#
#   sudo scripts/compare-splits.sh [--engines kernel,ours] [--step K]
exec python3 "$(dirname "$0")/../tests/lab/compare_splits.py" "$@"
