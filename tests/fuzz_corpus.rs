//! Replays the committed fuzz corpus through the fuzz targets, so that what fuzzing once found
//! stays found.

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "the same file is the library of the fuzz crate"
)]
mod targets;

fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&directory).expect("the target has a corpus") {
        let path = entry.expect("the corpus can be listed").path();
        let input = fs::read(&path).expect("an input can be read");
        // Where a target fails, the test's output names the input.
        eprintln!("{}", path.display());
        run(&input);
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", directory.display());
}

#[test]
fn commands_hold() {
    replay("command", targets::command);
}

#[test]
fn replies_hold() {
    replay("reply", targets::reply);
}

#[test]
fn lines_hold() {
    replay("line", targets::line);
}

#[test]
fn packets_hold() {
    replay("packet", targets::packet);
}

#[test]
fn streams_hold() {
    replay("stream", targets::stream);
}

#[test]
fn connections_stay_what_they_are() {
    replay("identity", targets::identity);
}

#[test]
fn streams_hold_under_rules() {
    replay("stream", targets::policy);
    replay("policy", targets::policy);
}
