# Sourced by the scripts beside it: where the repository is, and how to run cargo under sudo.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say_and_exit() { echo "$(basename "$0"): $*" >&2; exit 1; }

require_root() {
    [ "$(id -u)" = 0 ] ||
        say_and_exit "must be root to build network namespaces: run 'sudo scripts/$(basename "$0")'"
}

# Rust lives in the home of whoever typed sudo, and what they own must stay theirs.
builder=root
[ -z "${SUDO_USER:-}" ] || [ "$(stat -c %U "$repository")" != "$SUDO_USER" ] || builder=$SUDO_USER
builder_home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)

run_cargo() {
    local path=$builder_home/.cargo/bin:$PATH
    if [ "$builder" = root ]; then
        (cd "$repository" && CARGO_HOME=${CARGO_HOME:-$builder_home/.cargo} \
            RUSTUP_HOME=${RUSTUP_HOME:-$builder_home/.rustup} PATH=$path cargo "$@")
    else
        (cd "$repository" && sudo -u "$builder" -H env PATH="$path" cargo "$@")
    fi
}

require_cargo() {
    run_cargo --version >/dev/null 2>&1 ||
        say_and_exit "cargo is not there: install Rust from https://rustup.rs"
}
