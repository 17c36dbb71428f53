# Sourced by vm-run.sh: a stock kernel in the cache, ready to be booted with the host's root.
#
#   $cache/PACKAGE/{vmlinux, initrd, lib/modules/VERSION}

# The module directories that a network test can need: 50 MB of 360, and less for modprobe to
# search.
MODULES=(net lib crypto arch fs/9p fs/overlayfs fs/fscache fs/netfs drivers/virtio drivers/char
         'drivers/net/*.ko*')
# The modules that the initramfs loads before it can reach the host's root.
EARLY_MODULES=(virtio_pci virtio_console 9pnet_virtio 9p overlay)
NO_DOWNLOAD='run apt-get update, or name a file in FTP_ALG_VM_DEB'

require_programs() {
    local missing=() pair
    for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static xz:xz-utils cpio:cpio \
        dpkg-deb:dpkg apt-get:apt; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] ||
        die "missing packages: ${missing[*]} (scripts/install-deps.sh installs them)"
    ! ldd "$(command -v busybox)" >/dev/null 2>&1 ||
        die "busybox is not static: install busybox-static"
}

# Prints the directory of a bootable kernel. Several runs may begin at once.
prepare_kernel() {
    cache=${FTP_ALG_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ftp-alg-vm}
    mkdir -p "$cache"
    cache=$(realpath "$cache")
    exec 9>"$cache/lock"
    flock 9
    local package kernel
    package=$(choose_package) || exit
    kernel=$cache/$package
    [ -e "$kernel/vmlinux" ] || unpack_kernel "$package" "$kernel"
    [ "$kernel/initrd" -nt "$here/vm/stage1.sh" ] && [ "$kernel/initrd" -nt "$kernel/vmlinux" ] ||
        build_initrd "$kernel"
    exec 9>&-
    echo "$kernel"
}

# Prints the kernel's package: the named one, else the newest in the cache, else the archive's.
choose_package() {
    local package
    if [ -n "${FTP_ALG_VM_DEB:-}" ]; then
        dpkg-deb -f "$FTP_ALG_VM_DEB" Package
        return
    fi
    package=${FTP_ALG_VM_KERNEL:-}
    [ -n "$package" ] || package=$(cd "$cache" && ls -d linux-image-*/vmlinux 2>/dev/null |
        sort -V | tail -1 | cut -d/ -f1) || :
    [ -n "$package" ] || package=$(apt-cache depends linux-image-amd64 2>/dev/null |
        sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -1)
    [ -n "$package" ] || die "apt knows no linux-image-amd64: $NO_DOWNLOAD"
    echo "$package"
}

unpack_kernel() {        # <package> <destination>
    local deb=${FTP_ALG_VM_DEB:-} directory version name keep=()
    directory=$(mktemp -d "$cache/new.XXXXXX")
    if [ -z "$deb" ]; then
        echo "vm-run: downloading $1" >&2
        (cd "$directory" && apt-get -qq -o APT::Sandbox::User=root download "$1" >&2) ||
            { rm -rf "$directory"; die "cannot download $1: $NO_DOWNLOAD"; }
        deb=$(echo "$directory"/*.deb)
    fi
    for name in "${MODULES[@]}"; do keep+=("./lib/modules/*/kernel/$name"); done
    # tar complains of directories that this kernel does not have.
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$directory" --wildcards --no-wildcards-match-slash \
        './boot/vmlinuz-*' './lib/modules/*/modules.*' "${keep[@]}" 2>/dev/null ||
        [ -d "$directory/lib/modules" ] || die "cannot unpack $deb"
    version=$(ls "$directory/lib/modules")
    busybox depmod -b "$directory" "$version"
    extract_image "$directory/boot/vmlinuz-$version" "$directory/vmlinux"
    rm -rf "$directory"/*.deb "$directory/boot" "$2"
    chmod 755 "$directory"
    mv -T "$directory" "$2"
}

# Writes the bare ELF image, which QEMU enters by PVH, because without KVM the guest takes seconds
# to unpack it. Debian packs it with xz; any other image is booted as it is.
extract_image() {        # <bzImage> <destination>
    local begin
    begin=$(LC_ALL=C grep -abo -P '\xfd7zXZ\x00' "$1" | head -1 | cut -d: -f1)
    tail -c "+$((${begin:-0} + 1))" "$1" | xz -dc >"$2" 2>/dev/null || :
    [ "$(head -c 4 "$2" | tr -d '\0' | tail -c 3)" = ELF ] || mv "$1" "$2"
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
