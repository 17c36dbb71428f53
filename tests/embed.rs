//! The example of a host does what its documentation says.

#[path = "../examples/embed.rs"]
mod embed;

use std::process::Command;

#[test]
fn the_example_rewrites_the_announcement_and_leaves_the_rest_as_it_is() {
    if std::env::var_os("FTP_ALG_EMBED").is_some() {
        return embed::main();
    }
    // The example prints, so it runs in a process of its own: this test again.
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me)
        .args(["--nocapture", "--exact"])
        .arg("the_example_rewrites_the_announcement_and_leaves_the_rest_as_it_is")
        .env("FTP_ALG_EMBED", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let line = |said: &str, sent: &str| format!("\"{said}\\r\\n\" leaves as {sent}\\r\\n\n");
    assert!(text.contains(&line("220 hello", "220 hello")), "{text}");
    let rewritten = line("PORT 10,0,0,2,19,137", "PORT 203,0,113,1,19,137");
    assert!(text.contains(&rewritten), "{text}");
}

#[test]
fn the_example_is_short() {
    let lines = include_str!("../examples/embed.rs").lines().count();
    assert!(lines < 60, "{lines} lines");
}
