# Sourced by vm-run.sh: a stock kernel in the cache, ready to be booted with the host's root.
#
#   $cache/[SUITE/]PACKAGE/{vmlinux, initrd, lib/modules/VERSION}

. "$here/vm/archive.sh"

# The module directories that a network test can need: 50 MB of 360, and less for modprobe to
# search.
MODULES=(net lib crypto arch fs/9p fs/overlayfs fs/fscache fs/netfs drivers/virtio drivers/char
         'drivers/net/*.ko*')
# The modules that the initramfs loads before it can reach the host's root.
EARLY_MODULES=(virtio_pci virtio_console 9pnet_virtio 9p overlay)
# Debian packs the kernel with one of these. Each has its magic number and its program.
PACKINGS=('\xfd7zXZ\x00=xz' '\x28\xb5\x2f\xfd=zstd')

require_programs() {
    local missing=() pair
    for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static xz:xz-utils zstd:zstd \
        cpio:cpio dpkg-deb:dpkg apt-get:apt; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] ||
        die "missing packages: ${missing[*]} (scripts/install-deps.sh installs them)"
    ! ldd "$(command -v busybox)" >/dev/null 2>&1 ||
        die "busybox is not static: install busybox-static"
}

# Prints the directory of a bootable kernel. Several runs may begin at once.
prepare_kernel() {        # <-k's argument>
    local cache=${FTP_ALG_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ftp-alg-vm} suite='' package=''
    case $1 in linux-image-*) package=$1 ;; *) suite=$1 ;; esac
    [ -z "${FTP_ALG_VM_DEB:-}" ] || suite='' package=$(dpkg-deb -f "$FTP_ALG_VM_DEB" Package)
    mkdir -p "$cache${suite:+/$suite}"
    cache=$(realpath "$cache${suite:+/$suite}")
    exec 9>"$cache/lock"
    flock 9
    [ -n "$package" ] || package=$(newest_in_cache)
    [ -n "$package" ] && [ -e "$cache/$package/vmlinux" ] || package=$(unpack_kernel) || exit
    local kernel=$cache/$package
    [ "$kernel/initrd" -nt "$here/vm/stage1.sh" ] && [ "$kernel/initrd" -nt "$kernel/vmlinux" ] ||
        build_initrd "$kernel"
    exec 9>&-
    echo "$kernel"
}

newest_in_cache() {
    (cd "$cache" && ls -d linux-image-*/vmlinux 2>/dev/null) | sort -V | tail -1 | cut -d/ -f1
}

# Unpacks $package, else the suite's newest kernel, into the cache. Prints the package's name.
unpack_kernel() {
    local version image name keep=() deb
    # Not local, because the trap runs when this function is over.
    directory=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$directory"' EXIT
    if [ -n "${FTP_ALG_VM_DEB:-}" ]; then
        ln -s "$(realpath "$FTP_ALG_VM_DEB")" "$directory/given.deb"
    else
        package=$(download_kernel "$directory" "$suite" "$package") || exit
    fi
    for name in "${MODULES[@]}"; do keep+=("./lib/modules/*/kernel/$name"); done
    # Since 2026 the files are below /usr, and the image lies beside the modules. tar complains of
    # what a package does not have.
    for deb in "$directory"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" |
            tar -x -C "$directory" --transform 's,^\./usr/lib/,./lib/,' --wildcards \
            --no-wildcards-match-slash './boot/vmlinuz-*' './usr/lib/modules/*/vmlinuz' \
            './usr/lib/modules/*/modules.*' './lib/modules/*/modules.*' \
            "${keep[@]/.\/lib/./usr/lib}" "${keep[@]}" 2>/dev/null || :
    done
    version=$(ls "$directory/lib/modules" 2>/dev/null) &&
        image=$(find "$directory" -name 'vmlinuz*' | grep .) ||
        die "there is no kernel in $package"
    # Unpacked once here, and not at each boot by an emulated processor.
    find "$directory/lib/modules" -name '*.ko.xz' -exec xz -d {} +
    busybox depmod -b "$directory" "$version"
    extract_image "$image" "$directory/vmlinux"
    rm -rf "$image" "$directory"/{apt,boot,*.deb} "${cache:?}/$package"
    chmod 755 "$directory"
    mv -T "$directory" "$cache/$package"
    echo "$package"
}

# Writes the bare ELF image, which QEMU enters by PVH, because without KVM the guest takes seconds
# to unpack it. An image that is packed in an unknown way is booted as it is.
extract_image() {        # <bzImage> <destination>
    local packing begin
    for packing in "${PACKINGS[@]}"; do
        for begin in $(LC_ALL=C grep -abo -P "${packing%=*}" "$1" | cut -d: -f1); do
            tail -c "+$((begin + 1))" "$1" | "${packing#*=}" -dc >"$2" 2>/dev/null || :
            [ "$(head -c 4 "$2" | tr -d '\0' | tail -c 3)" != ELF ] || return 0
        done
    done
    mv "$1" "$2"
}

build_initrd() {        # <kernel's directory>
    local directory name line version
    version=$(ls "$1/lib/modules")
    directory=$(mktemp -d "$cache/new.XXXXXX")
    mkdir -p "$directory"/{bin,modules,dev,proc,sys,lower,upper,new}
    cp "$(command -v busybox)" "$directory/bin/busybox"
    for name in sh mount insmod mkdir ln cp switch_root poweroff; do
        ln -s busybox "$directory/bin/$name"
    done
    # modules.dep has "module: dependency...", and the last of these must be loaded first.
    for name in "${EARLY_MODULES[@]}"; do
        grep "/$name\.ko" "$1/lib/modules/$version/modules.dep" | tr -d : | tr ' ' '\n' |
            sed '/^$/d' | tac
    done | awk '!seen[$0]++' | while read -r line; do
        cp "$1/lib/modules/$version/$line" "$directory/modules/"
        basename "$line"
    done >"$directory/modules/order"
    cp "$here/vm/stage1.sh" "$directory/init"
    chmod +x "$directory/init"
    (cd "$directory" && find . | cpio -o -H newc --quiet) >"$1/initrd.new"
    mv "$1/initrd.new" "$1/initrd"
    rm -rf "$directory"
}
