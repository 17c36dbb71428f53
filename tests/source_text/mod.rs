//! The source files as text: what is shipped, which paths they name, how long their functions are.
//!
//! This reads lines, not Rust: it relies on rustfmt's layout, which CI checks.

mod module_graph;

use std::{collections::BTreeSet, fs, path::Path};

pub(super) use module_graph::ModuleGraph;

/// One file of `src`.
pub(super) struct Source {
    /// Its path from the repository's root.
    pub(super) name: String,
    /// All of it.
    pub(super) text: String,
    /// Its lines without tests and comments.
    pub(super) code: String,
}

/// All files of `src`.
pub(super) fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(&root.join("src"), root, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn collect(directory: &Path, root: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.push(Source::new(name, fs::read_to_string(&path).unwrap()));
        }
    }
}

impl Source {
    pub(super) fn new(name: String, text: String) -> Self {
        let mut source = Self {
            name,
            text,
            code: String::new(),
        };
        source.code = source
            .shipped_lines()
            .iter()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n");
        source
    }

    /// The lines that are not tests.
    pub(super) fn shipped_lines(&self) -> Vec<&str> {
        if self.name.ends_with("tests.rs") || self.name.contains("/tests/") {
            return Vec::new();
        }
        let mut lines = self.text.lines();
        let mut shipped = Vec::new();
        while let Some(line) = lines.next() {
            if line.trim() != "#[cfg(test)]" {
                shipped.push(line);
                continue;
            }
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let mut is_first = true;
            for skipped in lines.by_ref() {
                let is_whole = is_first && skipped.ends_with(';');
                is_first = skipped.trim_start().starts_with("#[");
                if is_whole || skipped == end {
                    break;
                }
            }
        }
        shipped
    }

    /// The part of the program this file belongs to: `proto::ftp`, `io`, …
    pub(super) fn unit(&self) -> String {
        unit_of(&self.module())
    }

    /// The units that this file names, its own left out.
    pub(super) fn imported_units(&self) -> BTreeSet<String> {
        let module = self.module();
        let paths = self.paths();
        let mut units: BTreeSet<_> = paths
            .iter()
            .filter_map(|path| absolute(&module, path))
            .map(|path| unit_of(&path))
            .collect();
        units.remove(&self.unit());
        units
    }

    /// Every `a::b::c` of the file, the braces of imports spread out.
    pub(super) fn paths(&self) -> Vec<String> {
        paths_in(&self.code)
    }

    /// First line and number of lines of each function.
    pub(super) fn functions(&self) -> Vec<(&str, usize)> {
        let lines = self.shipped_lines();
        let length = |start: usize, end: &str| {
            // What a trait declares ends with a semicolon, and has no body.
            let first = lines[start..]
                .iter()
                .position(|line| line.ends_with(['{', ';']));
            let is_declared = first.is_some_and(|at| lines[start + at].ends_with(';'));
            let last = lines[start..]
                .iter()
                .position(|line| *line == end || (is_declared && line.ends_with(';')));
            last.map_or(1, |last| last + 1)
        };
        lines
            .iter()
            .enumerate()
            .filter(|(_, line)| begins_function(line))
            .map(|(start, line)| {
                let indent = &line[..line.len() - line.trim_start().len()];
                (line.trim(), length(start, &format!("{indent}}}")))
            })
            .collect()
    }

    /// `src/proto/ftp/command.rs` is `["proto", "ftp", "command"]`.
    fn module(&self) -> Vec<String> {
        let name = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        name.split('/').map(str::to_owned).collect()
    }
}

/// Every `a::b::c` of some code, the braces of imports spread out.
fn paths_in(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut read_to = 0;
    for (at, _) in code.match_indices("::") {
        if at < read_to {
            continue;
        }
        let start = code[..at]
            .rfind(|c: char| !is_word(c))
            .map_or(0, |before| before + 1);
        let (found, length) = tree(&code[start..]);
        read_to = start + length;
        paths.extend(found);
    }
    paths
}

fn unit_of(module: &[String]) -> String {
    let depth = if module.first().is_some_and(|first| first == "proto") {
        2
    } else {
        1
    };
    module[..module.len().min(depth)].join("::")
}

/// A path as seen from the crate's root, if it is one of this crate.
fn absolute(module: &[String], path: &str) -> Option<Vec<String>> {
    let mut parts: Vec<String> = path.split("::").map(str::to_owned).collect();
    match parts.first()?.as_str() {
        "crate" => Some(parts.split_off(1)),
        "super" => {
            let ups = parts.iter().take_while(|part| *part == "super").count();
            let base = module.len().checked_sub(ups)?;
            Some([&module[..base], &parts[ups..]].concat())
        }
        _ => None,
    }
}

/// The paths of `a::{b, c::{d, e}}` and how much of the text they take.
fn tree(text: &str) -> (Vec<String>, usize) {
    let word = text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    let (head, rest) = text.split_at(word);
    let Some(rest) = rest.strip_prefix("::") else {
        return (vec![head.to_owned()], word);
    };
    let (tails, length) = if rest.starts_with('{') {
        group(rest)
    } else {
        tree(rest)
    };
    let joined = tails.iter().map(|tail| format!("{head}::{tail}"));
    (joined.collect(), word + 2 + length)
}

/// The paths between braces, and how much of the text they take.
fn group(text: &str) -> (Vec<String>, usize) {
    let mut paths = Vec::new();
    let mut at = 1;
    loop {
        at += text[at..]
            .find(|c: char| is_word(c) || c == '}')
            .unwrap_or(text.len() - at);
        if !text[at..].starts_with(is_word) {
            return (paths, text.len().min(at + 1));
        }
        let (found, length) = tree(&text[at..]);
        paths.extend(found);
        at += length;
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn begins_function(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    let is_qualifier = |word: &str| {
        word.starts_with("pub") || ["const", "async", "unsafe", "extern", "\"C\""].contains(&word)
    };
    let at = words.iter().position(|word| *word == "fn");
    at.is_some_and(|at| {
        words[..at]
            .iter()
            .all(|word| is_qualifier(word) || word.ends_with(')'))
    })
}
