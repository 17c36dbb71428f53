//! The files that are made from the declarations of the configuration's keys. After a change of
//! those, `REGENERATE=1 cargo test --test generated_docs` writes them anew.

use std::{env, fmt::Write as _, fs, path::Path};

use ftp_alg::daemon::config::{Config, Key, TABLES, TakenBy};

#[test]
fn the_reference_of_keys_is_made_from_their_declarations() {
    let mut text = String::from(REFERENCE_HEAD);
    for table in TABLES {
        match table.name {
            "" => text += "\n## Keys that stand in no table\n",
            name => write!(text, "\n## `[{name}]`\n").unwrap(),
        }
        write!(text, "\n{}", lines(table.about, "")).unwrap();
        for key in table.keys {
            let meaning = lines(key.meaning, "");
            let (name, facts) = (key.name, facts(key));
            write!(text, "\n### `{name}`\n\n{meaning}\n{facts}\n").unwrap();
        }
    }
    assert_current("docs/configuration.md", &text);
}

#[test]
fn the_example_file_is_made_from_the_declarations_and_says_the_defaults() {
    let mut text = String::from(EXAMPLE_HEAD);
    for table in TABLES {
        write!(text, "\n{}", lines(table.about, "#")).unwrap();
        if !table.name.is_empty() {
            writeln!(text, "[{}]", table.name).unwrap();
        }
        for key in table.keys {
            let (sign, value) = match key.default {
                Some(default) => ("", default),
                None => ("#", key.example.unwrap()),
            };
            let meaning = lines(key.meaning, "#");
            let name = key.name.rsplit('.').next().unwrap();
            write!(text, "\n{meaning}{sign}{name} = {value}\n").unwrap();
        }
    }
    assert_eq!(Config::parse(&text, "example"), Ok(Config::default()));
    assert_current("packaging/ftp-alg.toml", &text);
}

#[test]
fn the_page_of_the_command_policy_names_each_key_of_an_entry() {
    let text = "[[command_policy]]\nunknown = 1";
    let error = Config::parse(text, "x").unwrap_err().to_string();
    let (_, keys) = error.split_once("expected one of ").expect(&error);
    let page = include_str!("../docs/command-policy.md");
    for key in keys.split(", ").chain(["`login_directory`"]) {
        let assigned = format!("{} = ", key.trim_matches('`'));
        assert!(page.contains(key) || page.contains(&assigned), "{key}");
    }
}

const REFERENCE_HEAD: &str = "\
# Configuration

<!-- Made from src/daemon/config/keys.rs by `REGENERATE=1 cargo test --test generated_docs`. -->

The configuration is one TOML file. Every setting is optional, so an empty file is a configuration.
An unknown key is an error. `ftp-alg check --config FILE` validates a file: it says file, line,
column and reason of an error, and warns of each key that weakens a default.

SIGHUP reloads the file. A faulty file changes nothing. A changed key that needs a restart keeps
its old value, and the log names it.

[packaging/ftp-alg.toml](../packaging/ftp-alg.toml) is the same list as a file to start from.
";

const EXAMPLE_HEAD: &str = "\
# Configuration of ftp-alg. Every value here is the default; a line left out means the same.
# An unknown key is an error. `ftp-alg check --config FILE` validates a file.
";

/// What else there is to say of a key.
fn facts(key: &Key) -> String {
    let value = key.default.map_or_else(
        || format!("No default, but for example `{}`.", key.example.unwrap()),
        |default| format!("Default: `{default}`."),
    );
    let change = match key.taken_by {
        TakenBy::Reload => "A reload takes a change.",
        TakenBy::Restart => "A change needs a restart.",
    };
    let warn = |why| format!("\n`ftp-alg check` warns of a weaker value, because it\n{why}.");
    let warning = key.warning.map(warn);
    format!("{value}\n{change}{}", warning.unwrap_or_default())
}

/// The lines of a doc comment, each with something in its place before it.
fn lines(comment: &str, prefix: &str) -> String {
    let lines = comment.lines().map(|line| match prefix {
        "" => line.trim_start(),
        _ => line,
    });
    lines.map(|line| format!("{prefix}{line}\n")).collect()
}

/// Fails unless the file has this text, or writes it where that is asked for.
fn assert_current(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("REGENERATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{file} is not current: run `REGENERATE=1 cargo test --test generated_docs`"
    );
}
