# Sourced by kernel.sh: kernels from Debian's archive, of this machine's release and of others.
#
# Another release is read with lists of its own, so the machine's apt never hears of it. The mirror
# is the one that the machine's apt has, and Debian's keyring must vouch for every package.

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Fetches the packages of one kernel and prints the name of its linux-image-*. Without a suite they
# come from the machine's own lists, and without a package the one that linux-image-amd64 names is
# taken.
download_kernel() {        # <directory> <suite or ''> <package or ''>
    local options=(-qq -o APT::Sandbox::User=root -o APT::Get::AllowUnauthenticated=false
                   -o Acquire::Retries=3)
    local advice='run apt-get update, or name a file in FTP_ALG_VM_DEB' package=$3 packages
    [ -z "$2" ] || { read_suite "$1" "$2" || exit; advice='see the lines above'; }
    [ -n "$package" ] || package=$(kernels_of linux-image-amd64 image | head -1)
    [ -n "$package" ] || die "apt knows no linux-image-amd64${2:+ in $2}: $advice"
    # Since 2026 linux-image-VERSION is empty, and names the packages with the files.
    mapfile -t packages < <(kernels_of "$package" 'base|binary|modules')
    echo "vm-run: downloading $package${2:+ of $2}" >&2
    (cd "$1" && apt-get "${options[@]}" download "$package" "${packages[@]}" >&2) ||
        die "cannot download $package: $advice"
    echo "$package"
}

# Prints those dependencies of a package that are parts of a kernel.
kernels_of() {        # <package> <part|part...>
    apt-cache "${options[@]}" depends "$1" 2>/dev/null |
        sed -nE "s/^ *Depends: (linux-($2)-[0-9][^ ]*)\$/\1/p"
}

# Reads a suite's lists into the directory, and adds to $options what makes apt work with them.
read_suite() {        # <directory> <suite>
    local apt=$1/apt archive security
    [ -r "$KEYRING" ] || die "$KEYRING is missing: install debian-archive-keyring"
    archive=$(mirror Debian) security=$(mirror Debian-Security)
    [ -n "$archive" ] ||
        die "apt knows no mirror of Debian here: run apt-get update, or set FTP_ALG_VM_DEB"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    local entry="deb [arch=amd64 target=Packages signed-by=$KEYRING]"
    echo "$entry $archive $2 main" >"$apt/sources.list"
    case $2 in
        sid|unstable|experimental) ;;
        *) [ -z "$security" ] || echo "$entry $security $2-security main" >>"$apt/sources.list" ;;
    esac
    options+=(-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
              -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
              -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache"
              -o Dir::State::Status=/dev/null -o Acquire::AllowInsecureRepositories=false)
    echo "vm-run: reading the package lists of $2" >&2
    apt-get "${options[@]}" update --error-on=any >&2 ||
        die "cannot read the package lists of $2: see the lines above"
}

# Prints the first mirror of this label that the machine's apt uses.
mirror() {        # <label>
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        sed -n "s/^$1 //p" | head -1
}
