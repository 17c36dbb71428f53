//! The documentation: links lead somewhere, paths that are named exist, lines are short (those of
//! sources, too).
//!
//! Each check is a function from a page to complaints, and has a test with a page that breaks the
//! rule, so that it is known to be able to fail.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The longest line of a page or a source, in characters.
const COLUMNS_MAX: usize = 100;

/// The longest README, in lines: a reader has to find the commands on the first screens.
const README_LINES_MAX: usize = 160;

/// Directories of the repository whose paths the pages name in code spans.
const NAMED: [&str; 9] = [
    "benches/",
    "docs/",
    "fuzz/",
    "packaging/",
    "pcap-fixtures/",
    "rules/",
    "scripts/",
    "src/",
    "tests/",
];

/// One page: where it lies below the root, and what it says.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.to_owned(),
        }
    }

    /// The lines that are prose, with their numbers: without indented and fenced code.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_fenced = false;
        let lines = self.text.lines().enumerate();
        lines.filter_map(move |(index, line)| {
            let is_fence = line.trim_start().starts_with("```");
            is_fenced ^= is_fence;
            let is_code = is_fenced || is_fence || line.starts_with("    ");
            (!is_code).then_some((index + 1, line))
        })
    }

    /// The targets of inline links (`[text](target)`) and of definitions (`[text]: target`).
    fn links(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose().flat_map(|(number, line)| {
            let inline = line.split("](").skip(1);
            let inline = inline.filter_map(|rest| rest.split(')').next());
            let definition = line
                .strip_prefix('[')
                .and_then(|rest| rest.split_once("]: "));
            let definition = definition.map(|(_, target)| target);
            inline.chain(definition).map(move |target| (number, target))
        })
    }

    /// The first word of each code span of one line.
    fn code_words(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose().flat_map(|(number, line)| {
            let spans = line.split('`').skip(1).step_by(2);
            let words = spans.filter_map(|span| span.split_whitespace().next());
            words.map(move |word| (number, word))
        })
    }

    fn complaint(&self, number: usize, what: &str) -> String {
        format!("{}:{number}: {what}", self.path.display())
    }
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    assert_no(pages().iter().flat_map(broken_links));
    let page = Page::new(
        "docs/x.md",
        "[a](../README.md) [b](no.md)\n[c]: ha.md#nothing",
    );
    assert_eq!(broken_links(&page).len(), 2);
}

#[test]
fn every_path_that_is_named_exists() {
    assert_no(pages().iter().flat_map(missing_paths));
    let page = Page::new("x.md", "`src/lib.rs`, `scripts/no.sh --all`, `tests/*.rs`");
    assert_eq!(missing_paths(&page).len(), 1);
}

#[test]
fn no_line_is_too_long() {
    assert_no(pages().iter().flat_map(long_lines));
    let long = "é".repeat(COLUMNS_MAX + 1);
    assert_eq!(long_lines(&Page::new("x.md", &long)).len(), 1);
    assert!(long_lines(&Page::new("x.md", &long[2..])).is_empty());
}

#[test]
fn no_line_of_a_source_is_too_long() {
    assert_no(files(".rs").iter().flat_map(long_lines));
}

#[test]
fn the_readme_is_short() {
    let lines = page(Path::new("README.md")).text.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
}

#[test]
fn every_decision_stands_in_the_index() {
    let index = page(Path::new("docs/decisions/README.md")).text;
    let missing = pages().into_iter().filter(|page| {
        let name = page.path.file_name().unwrap_or_default().to_string_lossy();
        page.path.starts_with("docs/decisions") && name != "README.md" && !index.contains(&*name)
    });
    assert_no(missing.map(|page| page.path.display().to_string()));
}

fn broken_links(page: &Page) -> Vec<String> {
    let directory = page.path.parent().unwrap_or(Path::new(""));
    let relative = page
        .links()
        .filter(|(_, target)| !target.contains("://") && !target.starts_with("mailto:"));
    let broken = relative.filter(|(_, target)| {
        let (path, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = match path {
            "" => page.path.clone(),
            path => directory.join(path),
        };
        !root().join(&path).exists() || !has_heading(&path, heading)
    });
    broken
        .map(|(number, target)| page.complaint(number, &format!("broken link {target}")))
        .collect()
}

/// Whether a page has a heading of this anchor; no anchor is the page itself.
fn has_heading(path: &Path, anchor: &str) -> bool {
    anchor.is_empty()
        || page(path)
            .prose()
            .filter(|(_, line)| line.starts_with('#'))
            .any(|(_, line)| anchor_of(line) == anchor)
}

/// A heading's anchor: lower case, without punctuation, a hyphen for each blank.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|&letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

fn missing_paths(page: &Page) -> Vec<String> {
    let named = page.code_words().filter(|(_, word)| {
        NAMED.iter().any(|directory| word.starts_with(directory)) && !word.contains(['*', '…'])
    });
    let missing = named.filter(|(_, word)| !root().join(word).exists());
    missing
        .map(|(number, word)| page.complaint(number, &format!("{word} does not exist")))
        .collect()
}

fn long_lines(page: &Page) -> Vec<String> {
    let lines = (1..).zip(page.text.lines());
    let long = lines.filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
    long.map(|(number, _)| page.complaint(number, "the line is too long"))
        .collect()
}

fn assert_no(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &Path) -> Page {
    let text = fs::read_to_string(root().join(path));
    Page {
        path: path.to_owned(),
        text: text.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    }
}

/// All pages of the repository.
fn pages() -> Vec<Page> {
    files(".md")
}

/// All files of the repository whose names end so.
fn files(ending: &str) -> Vec<Page> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(root().join(&directory)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = directory.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let is_ours = !name.starts_with('.') && name != "target" && name != "lab-out";
                waiting.extend(is_ours.then_some(path));
            } else if name.ends_with(ending) {
                found.push(page(&path));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 20, "the files were not found");
    found
}
