//! The program as an operator meets it: its help, its exit status, its one-line errors.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn ftp_alg(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftp-alg"));
    command.args(arguments).env_remove("RUST_LOG");
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

/// Fails with `status` and one line on stderr, which it gives.
fn refused(arguments: &[&str], status: i32) -> String {
    let output = ftp_alg(arguments);
    let message = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {message}"
    );
    assert_eq!(message.lines().count(), 1, "{arguments:?}: {message}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    message.trim_end().to_owned()
}

/// The subcommands, as the program's own help lists them.
fn subcommands() -> Vec<String> {
    let output = ftp_alg(&["--help"]);
    let help = text(&output.stdout).to_owned();
    let list = help
        .split("Commands:\n")
        .nth(1)
        .expect("help lists commands");
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn help_of_each_subcommand_has_an_example_and_the_exit_status() {
    let subcommands = subcommands();
    assert!(subcommands.contains(&"check".to_owned()), "{subcommands:?}");
    for name in subcommands {
        let output = ftp_alg(&[&name, "--help"]);
        let help = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(
            help.contains(&format!("Example:\n  ftp-alg {name} ")),
            "{name}: {help}"
        );
        assert!(help.contains("Exit status: 0 success"), "{name}: {help}");
    }
}

#[test]
fn a_valid_configuration_is_confirmed() {
    for file in ["packaging/ftp-alg.toml", "packaging/ha/ftp-alg.toml"] {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let path = example.to_str().expect("the path is UTF-8");
        let output = ftp_alg(&["check", "--config", path]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), format!("{path}: valid\n"));
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_column_and_reason() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("wrong.toml");
    let path = path.to_str().expect("the path is UTF-8");
    fs::write(path, "control_ports = [21]\n[nat]\nports = \"0-0\"\n").expect("the file is written");
    let message = refused(&["check", "--config", path], 2);
    assert!(
        message.starts_with(&format!("{path}:3:9: port 0 ")),
        "{message}"
    );
}

#[test]
fn a_missing_configuration_is_refused_with_its_name() {
    let message = refused(&["check", "--config", "no/such/file.toml"], 2);
    assert!(
        message.starts_with("no/such/file.toml: cannot be read: "),
        "{message}"
    );
}

#[test]
fn the_daemon_does_not_start_on_a_wrong_configuration() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("wrong.toml");
    let path = path.to_str().expect("the path is UTF-8");
    fs::write(path, "when_absent = \"maybe\"\n").expect("the file is written");
    for subcommand in ["run", "rules"] {
        let message = refused(&[subcommand, "--config", path], 2);
        assert!(
            message.starts_with(&format!("{path}:1:15: unknown variant `maybe`, ")),
            "{message}"
        );
    }
    let message = refused(&["replay", "--config", path, "x.pcap"], 2);
    assert!(
        message.starts_with(&format!("{path}:1:15: unknown variant `maybe`, ")),
        "{message}"
    );
}

#[test]
fn the_printed_rules_are_those_of_the_configuration() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("c.toml");
    let path = path.to_str().expect("the path is UTF-8");
    let config = "control_ports = [5021]\nqueue = \"7\"\nmark.data = 0x40\n";
    fs::write(path, config).expect("the file is written");
    let output = ftp_alg(&["rules", "--config", path]);
    let rules = text(&output.stdout);
    for part in ["table inet ftp_alg", "5021", "0x40", "queue"] {
        assert!(rules.contains(part), "{part}: {rules}");
    }
    let output = ftp_alg(&["rules", "--config", path, "--remove"]);
    assert!(text(&output.stdout).contains("delete table inet ftp_alg"));
}

#[test]
fn printed_rules_say_which_backend_they_are_for_where_the_configuration_does_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("c.toml");
    let path = path.to_str().expect("the path is UTF-8");
    for (config, says, has_helper) in [
        ("", true, false),
        ("backend = \"nftables\"\n", false, false),
        ("backend = \"conntrack\"\n", false, true),
    ] {
        fs::write(path, config).expect("the file is written");
        for frontend in ["nft", "iptables"] {
            let output = ftp_alg(&["rules", "--config", path, "--frontend", frontend]);
            let rules = text(&output.stdout);
            let first = "# backend = \"auto\": the table for \"nftables\"";
            assert_eq!(rules.contains(first), says, "{config}{rules}");
            assert_eq!(rules.starts_with("#!/bin/sh\n"), frontend == "iptables");
            assert_eq!(rules.contains("ct helper"), has_helper, "{config}{rules}");
        }
    }
}

#[test]
fn bad_usage_is_one_line_that_says_where_to_look() {
    let cases = [
        (&["check"][..], "--config <FILE>"),
        (&["chekc"], "unrecognized subcommand 'chekc'"),
        (&["check", "--frob"], "unexpected argument '--frob'"),
        (&["completions", "pish"], "invalid value 'pish'"),
    ];
    for (arguments, part) in cases {
        let message = refused(arguments, 2);
        assert!(message.starts_with("ftp-alg: "), "{message}");
        assert!(
            message.contains(part) && message.contains("--help"),
            "{message}"
        );
    }
}

#[test]
fn without_a_subcommand_the_help_comes_and_the_usage_is_bad() {
    let output = ftp_alg(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Commands:"));
}

#[test]
fn the_version_is_the_package_s() {
    let output = ftp_alg(&["--version"]);
    let expected = concat!("ftp-alg ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn each_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = ftp_alg(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        assert!(text(&output.stdout).contains("ftp-alg"), "{shell}");
    }
}

#[test]
fn there_is_a_manual_page_for_each_subcommand() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pages = directory.path().join("man1");
    let output = ftp_alg(&["man", pages.to_str().expect("the path is UTF-8")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for name in subcommands() {
        let page = fs::read_to_string(pages.join(format!("ftp-alg-{name}.1")));
        assert!(page.expect(&name).contains("Exit status"), "{name}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_is_a_failure_while_running() {
    let message = refused(&["man", "/proc/no-such-directory"], 1);
    assert!(
        message.starts_with("ftp-alg: /proc/no-such-directory: cannot write"),
        "{message}"
    );
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let program = env!("CARGO_BIN_EXE_ftp-alg");
    let script = format!("'{program}' completions bash | head -n 1; echo ${{PIPESTATUS[0]}}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .output()
        .expect("bash starts");
    assert!(
        text(&output.stdout).ends_with("\n0\n"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(text(&output.stderr), "");
}
