//! Replays the captures of the project's own lab and compares each decision with what is written
//! beside them.
//!
//! `UPDATE_FIXTURES=1 cargo test --test fixtures` writes the expected output anew, after a new
//! recording (`tests/lab/record.py`) or a wanted change; read the difference before committing it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The lab's servers listen on these.
const CONFIG: &str = "control_ports = [21, 2121]\n";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcap-fixtures")
}

fn captures() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).expect("pcap-fixtures/ is part of the repository");
    let mut captures: Vec<_> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "pcap")
        })
        .collect();
    captures.sort();
    captures
}

fn replay(capture: &Path, config: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ftp-alg"))
        .args(["replay", "--json", "--config"])
        .arg(config)
        .arg(capture.file_name().expect("a capture has a name"))
        .current_dir(directory())
        .output()
        .expect("ftp-alg runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {errors}", capture.display());
    String::from_utf8(output.stdout).expect("JSON is UTF-8")
}

#[test]
fn every_recorded_session_is_decided_as_written() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let config = scratch.path().join("ftp-alg.toml");
    fs::write(&config, CONFIG).expect("a writable directory");
    let mut differing = Vec::new();
    for capture in captures() {
        let found = replay(&capture, &config);
        let written = capture.with_extension("jsonl");
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            fs::write(&written, &found).expect("a writable checkout");
        } else if fs::read_to_string(&written).ok().as_ref() != Some(&found) {
            differing.push(capture);
        }
    }
    assert!(
        differing.is_empty(),
        "decided otherwise than written: {differing:?}"
    );
}

#[test]
fn recorded_sessions_announce_and_nothing_of_them_is_refused() {
    for capture in captures() {
        let text = fs::read_to_string(capture.with_extension("jsonl")).unwrap_or_default();
        let expected = text.matches(r#""decision":"expect""#).count();
        assert!(expected > 0, "{} announces nothing", capture.display());
        assert!(
            !text.contains(r#""decision":"refuse""#),
            "{}",
            capture.display()
        );
    }
}

#[test]
fn there_are_captures_to_replay() {
    assert!(captures().len() >= 40);
}
