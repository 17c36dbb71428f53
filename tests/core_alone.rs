//! The core and the table build without the program's dependencies: no C library, no Linux.

use std::{path::Path, process::Command};

/// What Cargo prints when it succeeds, and its complaints otherwise. It asks no registry.
fn cargo(arguments: &[&str]) -> String {
    // A directory of its own, because the one of this test run may be locked.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("core-alone");
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--no-default-features", "--locked", "--offline", "--quiet"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", "--deny warnings")
        .output()
        .expect("Cargo runs this test");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}:\n{complaints}");
    String::from_utf8(output.stdout).expect("crates have names of ASCII")
}

#[test]
fn the_library_compiles_without_the_feature_daemon() {
    cargo(&["check", "--lib"]);
}

#[test]
fn the_core_depends_on_no_c_library_and_on_no_operating_system() {
    let tree = cargo(&["tree", "--edges", "normal,build", "--prefix", "none"]);
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let foreign: Vec<_> = names
        .filter(|name| name.ends_with("-sys") || ["libc", "nix", "rustix", "tokio"].contains(name))
        .collect();
    assert!(tree.contains("etherparse"), "{tree}");
    assert!(foreign.is_empty(), "{foreign:?}");
}
