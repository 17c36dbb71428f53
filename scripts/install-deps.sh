#!/bin/bash
# install-deps.sh - everything the build, the demo and the tests need, on Debian or Ubuntu.
#
#   sudo scripts/install-deps.sh
#
# It may run again: it does not touch what is there already, and takes well under a second then.
#
# The FTP servers are not installed but unpacked into a cache directory
# (${XDG_CACHE_HOME:-$HOME/.cache}/ftp-alg-lab), because their Debian packages conflict, and because
# an installed one would start a public FTP server on this machine. The same holds for keepalived,
# conntrackd and ipvsadm: installed, they would start to work on this machine's own network.
set -euo pipefail

die() { echo "install-deps: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "must be root to install packages: run 'sudo scripts/install-deps.sh'"
command -v apt-get >/dev/null ||
    die "needs apt-get (Debian or Ubuntu); elsewhere install the packages named in $0 by hand"

export DEBIAN_FRONTEND=noninteractive
cache=${FTP_ALG_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ftp-alg-lab}
root=$cache/root

build=(gcc libc6-dev pkg-config libmnl-dev libnftnl-dev)
gateway=(nftables iptables iproute2 conntrack tcpdump ethtool procps kmod)
clients=(curl lftp wget tnftp ncftp openssl python3)
# For scripts/vm-run.sh. It downloads its kernel itself, and needs the package lists for that.
machine=(qemu-system-x86 busybox-static xz-utils zstd cpio)
servers=(vsftpd proftpd-core proftpd-mod-crypto pure-ftpd pure-ftpd-common python3-pyftpdlib)
# conntrackd replicates state, and its FTP helper is one to compare with.
failover=(keepalived conntrackd nfct)
# For a gateway with virtual services (IPVS).
balancing=(ipvsadm)

apt_get() { apt-get -o DPkg::Lock::Timeout=300 -qq "$@"; }

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

exists_in_archive() { apt-cache show "$1" >/dev/null 2>&1; }

# Package lists are fetched only when something is missing, and only once a run.
refreshed=''
refresh_lists() {
    [ -z "$refreshed" ] || return 0
    apt_get update || die "apt-get update failed: is the network up?"
    refreshed=yes
}

install_missing() {
    local missing=() p
    for p in "$@"; do is_installed "$p" || missing+=("$p"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    refresh_lists
    echo "install-deps: installing ${missing[*]}" >&2
    apt_get install -y --no-install-recommends "${missing[@]}" >&2 ||
        die "apt-get install ${missing[*]} failed"
}

unpack() {        # <package> into $root, leaving a stamp so that it happens once
    local p=$1 tmp
    [ ! -e "$cache/stamps/$p" ] || return 0
    refresh_lists
    echo "install-deps: unpacking $p" >&2
    tmp=$(mktemp -d "$cache/tmp.XXXXXX")
    (cd "$tmp" && apt_get download "$p" 2>/dev/null) || { rm -r "$tmp"; die "cannot download $p"; }
    dpkg-deb -x "$tmp"/*.deb "$root"
    rm -r "$tmp"
    touch "$cache/stamps/$p"
}

library_dependencies() {        # <package>: the lib* packages it names itself
    apt-cache depends --important "$1" | sed -n 's/^ *|\?Depends: \(lib[^ ]*\)$/\1/p' |
        grep -v '^libpam-runtime$' || true
}

unpack_with_libraries() {        # the packages, and beside them the libraries this machine lacks
    local queue=("$@") p d seen=' '
    while [ ${#queue[@]} -gt 0 ]; do
        p=${queue[0]}; queue=("${queue[@]:1}")
        case $seen in *" $p "*) continue ;; esac
        seen+="$p "
        unpack "$p"
        for d in $(library_dependencies "$p"); do is_installed "$d" || queue+=("$d"); done
    done
}

# The virtual machines' kernels are downloaded at their first boot, which fails without lists.
know_kernels() {
    local kernels=${FTP_ALG_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ftp-alg-vm} suite
    for suite in '' trixie/ sid/; do
        compgen -G "$kernels/${suite}linux-image-*/vmlinux" >/dev/null ||
            [ -n "${FTP_ALG_VM_DEB:-}" ] || refresh_lists
    done
}

unpack_daemons() {
    local p missing=() wanted=("${servers[@]}" "${failover[@]}" "${balancing[@]}")
    mkdir -p "$root" "$cache/stamps"
    # Python 3.12 dropped two modules that pyftpdlib needs; newer releases have packages for them.
    if ! python3 -c 'import asyncore, asynchat' 2>/dev/null; then
        refresh_lists
        for p in python3-pyasyncore python3-pyasynchat; do
            exists_in_archive "$p" && wanted+=("$p")
        done
    fi
    for p in "${wanted[@]}"; do [ -e "$cache/stamps/$p" ] || missing+=("$p"); done
    [ ${#missing[@]} -eq 0 ] || { refresh_lists; unpack_with_libraries "${missing[@]}"; }
}

verify_daemons() {        # without this a missing library shows as a server that never listens
    local b libs
    libs=$(find "$root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
    for b in usr/sbin/{vsftpd,proftpd,pure-ftpd,keepalived,conntrackd,nfct} sbin/ipvsadm; do
        ! LD_LIBRARY_PATH=$libs ldd "$root/$b" | grep 'not found' >&2 \
            || die "$b lacks the libraries above: remove $cache and run this again"
    done
}

install_missing "${build[@]}" "${gateway[@]}" "${clients[@]}" "${machine[@]}"
know_kernels
unpack_daemons
verify_daemons
