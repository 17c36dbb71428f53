#!/bin/bash
# vm-run.sh - run one command as root in a throw-away virtual machine with Debian's own kernel.
#
#   scripts/vm-run.sh [-k KERNEL] [-m MiB] [-s CPUS] [-t SECONDS] [-w DIR]... [-e VAR[=VALUE]]...
#                     [-v] [--] COMMAND [ARG...]
#
#   -k KERNEL   a suite of Debian's archive, whose newest kernel is taken: bookworm, trixie, or sid
#               for the newest that Debian has; or a package of this machine's lists
#               (linux-image-VERSION-amd64). Default: the kernel of this machine's release
#   -m MiB      the memory of the guest (default 1024); the files that it writes take some of it
#   -s CPUS     the processors of the guest (default 1: an emulated second one makes all work cost
#               three times as much)
#   -t SECONDS  end the machine after this time (default 300; exit status 124)
#   -w DIR      a directory of the host that the guest may write to, under the same path
#   -e VAR[=V]  hand a variable to the command; PATH, HOME, TERM and LANG are always handed on
#   -v          print the guest's kernel messages and timings on stderr
#
# The guest has the host's root file system, read-only under an overlay that is thrown away. So
# every program, this repository and what was built in it work in the guest, and the guest writes to
# the host below -w alone. /proc, /sys, /dev, /run and the kernel modules are the guest's own.
# COMMAND starts in the current directory with an empty stdin. Its stdout and stderr are passed on
# separately. When it ends, the machine ends with everything in it. The exit status is COMMAND's;
# 124 means too late, 125 that the machine itself failed.
#
# No KVM is needed. The kernel is downloaded from the Debian archive and unpacked into a cache, but
# never installed. The archive's signatures are checked, and the machine's own package lists stay as
# they are (vm/archive.sh). A kernel in the cache is used until it is removed there. Environment:
#
#   FTP_ALG_VM_CACHE   the cache (default ~/.cache/ftp-alg-vm)
#   FTP_ALG_VM_KERNEL  the default of -k
#   FTP_ALG_VM_DEB     a .deb file instead of a download; it goes before -k
#   FTP_ALG_VM_ACCEL   QEMU's accelerator (default tcg,thread=multi; "kvm" where that works)
#   FTP_ALG_VM_APPEND  more kernel parameters
set -euo pipefail

die() { echo "vm-run: $*" >&2; exit 125; }
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | head -n -1 >&2; exit 125; }

here=$(cd "$(dirname "$0")" && pwd)
kernel=${FTP_ALG_VM_KERNEL:-} memory=1024 cpus=1 limit=300
verbose='' writable='' variables=(PATH HOME TERM LANG)
while getopts k:m:s:t:w:e:v option; do
    case $option in
        k) kernel=$OPTARG ;;
        m) memory=$OPTARG ;;
        s) cpus=$OPTARG ;;
        t) limit=$OPTARG ;;
        w) mkdir -p "$OPTARG"; writable=$(realpath "$OPTARG") ;;
        e) case $OPTARG in *=*) export "${OPTARG?}" ;; esac; variables+=("${OPTARG%%=*}") ;;
        v) verbose=1 ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage

. "$here/vm/kernel.sh"
require_programs
began=$(date +%s.%N)
kernel=$(prepare_kernel "$kernel")
version=$(ls "$kernel/lib/modules")

# --- what the guest reads of this run, and where it leaves its answer ---
run=$(mktemp -d "${TMPDIR:-/tmp}/vm-run.XXXXXX")
qemu=''
trap '[ -z "$qemu" ] || kill "$qemu" 2>/dev/null || :; rm -rf "$run"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir "$run/control"
cp "$here/vm/stage2.sh" "$run/control/stage2"
printf 'VM_VERSION=%q\nVM_MODULES=%q\nVM_WRITABLE=%q\n' \
    "$version" "$kernel/lib/modules/$version" "$writable" >"$run/control/env"
{
    for name in "${variables[@]}"; do
        [ -z "${!name+x}" ] || printf 'export %s=%q\n' "$name" "${!name}"
    done
    printf 'export PATH=$PATH:/run/vm/bin\ncd %q || exit 125\nexec' "$PWD"
    printf ' %q' "$@"
    echo
} >"$run/control/command"

mkfifo "$run/stdout" "$run/stderr"
cat "$run/stdout" & copies=($!)
cat "$run/stderr" >&2 & copies+=($!)

share() {        # <tag> <directory> [,options]: a directory of the host for the guest
    arguments+=(-fsdev "local,id=$1,path=${2//,/,,},security_model=none,multidevs=remap${3:-}"
                -device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}
arguments=(-nodefaults -no-user-config -display none -no-reboot
           -M q35 -accel "${FTP_ALG_VM_ACCEL:-tcg,thread=multi}" -smp "$cpus" -m "$memory"
           -kernel "$kernel/vmlinux" -initrd "$kernel/initrd" -serial "file:$run/console"
           -device virtio-serial-pci,max_ports=3
           -chardev "file,id=o,path=$run/stdout" -device virtserialport,nr=1,chardev=o
           -chardev "file,id=e,path=$run/stderr" -device virtserialport,nr=2,chardev=e)
share host / ,readonly=on
share control "$run/control"
[ -z "$writable" ] || share writable "$writable"
# A guest on a busy host measures the rate of the time stamp counter wrongly, so it is told, where
# the host is a virtual machine itself. There "cpu MHz" is that rate (without aperfmperf).
! grep -qw hypervisor /proc/cpuinfo || grep -qw aperfmperf /proc/cpuinfo ||
    FTP_ALG_VM_APPEND="tsc_early_khz=$(sed -n 's/^cpu MHz[^0-9]*\([0-9]*\)\.\(...\).*/\1\2/p' \
        /proc/cpuinfo | head -1) ${FTP_ALG_VM_APPEND:-}"
# Without self-tests of ciphers and delay calibration the guest is up half a second earlier.
# Removing a namespace and committing nft rules wait for RCU, so RCU is expedited. With several
# processors the kernel would not trust the time stamp counter, and would ask a device for each
# reading of the clock. On a busy host the guest's check of its timer fails, and without
# no_timer_check it would panic.
timeout -k 5 "$limit" qemu-system-x86_64 "${arguments[@]}" -append "console=ttyS0 quiet panic=-1 \
no_timer_check mitigations=off audit=0 apparmor=0 nowatchdog cryptomgr.notests lpj=4000000 \
tsc=reliable rcupdate.rcu_expedited=1 net.ifnames=0 ${FTP_ALG_VM_APPEND:-}" \
    </dev/null 2>"$run/qemu" &
qemu=$!
status=0
wait $qemu || status=$?
qemu=''
wait "${copies[@]}" || :

if [ -n "$verbose" ]; then
    sed 's/^/console: /' "$run/console" >&2
    up=$(stat -c %.9Y "$run/control/up" 2>/dev/null || echo "$began")
    awk -v began="$began" -v up="$up" -v ended="$(date +%s.%N)" \
        'BEGIN {
            printf "vm-run: the command started after %.2f s; ", up - began
            printf "%.2f s in all\n", ended - began
        }' >&2
fi
# The guest sets the rate of its clock while it boots, and a busy host can spoil that.
[ ! -s "$run/control/uptime" ] ||
    awk -v began="$began" -v ended="$(date +%s.%N)" '{
        if ($1 > 1.5 * (ended - began))
            printf "vm-run: the clock of the guest counted %d s in %d s, so its timeouts were too" \
                " short: run it again on an idle machine\n", $1, ended - began
    }' "$run/control/uptime" >&2
[ ! -s "$run/control/status" ] || exit "$(cat "$run/control/status")"
if [ $status = 124 ]; then
    echo "vm-run: not done after $limit s (-t)" >&2
    exit 124
fi
cat "$run/qemu" >&2
[ -n "$verbose" ] || tail -n 30 "$run/console" >&2 2>/dev/null || :
die "the machine ended without a status (QEMU: $status)"
