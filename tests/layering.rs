//! The shape of the source: imports run one way, the core stays pure, nothing grows too long.
//!
//! Each check is a function from sources to complaints, and has a test of its own with a source
//! that breaks the rule, so that it is known to be able to fail.

mod source_text;

use std::collections::{BTreeMap, BTreeSet};

use source_text::{ModuleGraph, Source, sources};

/// Modules in the order in which they may know each other: a module may import what stands on its
/// own line or above. Only the roots `lib`, `main` and `proto` are not listed.
const LAYERS: [&[&str]; 10] = [
    &["proto::net"],
    &[
        "proto::packet",
        "proto::stream",
        "proto::ftp",
        "proto::budget",
    ],
    &[
        "proto::command_policy",
        "proto::session",
        "proto::expect",
        "proto::ftps",
        "proto::nat",
        "proto::saved_flow",
        "proto::shared",
        "proto::kernel",
    ],
    &["proto::event", "proto::egress"],
    &["proto::flow"],
    &["proto::alg"],
    &["ruleset"],
    &["io"],
    &["daemon"],
    &["cli"],
];

/// What the pure core may not reach: whatever opens, reads, waits or runs.
const IMPURE: [&str; 17] = [
    "std::fs",
    "std::env",
    "std::os",
    "std::thread",
    "std::process",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "tokio",
    "libc",
    "nfq",
    "nftnl",
    "nftnl_sys",
    "mnl",
    "pnet",
    "pcap_parser",
    "tracing",
];

/// Calls that the pure core may not make; all but the clock also with `proto`'s own errors in mind.
const IMPURE_CALLS: [&str; 8] = [
    "Instant::now",
    "SystemTime::now",
    ".unwrap()",
    ".expect(\"",
    "panic!(",
    "println!(",
    "eprintln!(",
    "dbg!(",
];

/// The only files with unsafe code: what libmnl, libnftnl and packet sockets cannot do without.
/// Each block says why it is sound, which clippy sees to (`undocumented_unsafe_blocks`).
const UNSAFE: [&str; 6] = [
    "src/io/ethernet.rs",
    "src/io/netlink/socket.rs",
    "src/io/nftables/expression.rs",
    "src/io/nftables/object.rs",
    "src/io/nftables/set.rs",
    "src/io/nftables/written.rs",
];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

#[test]
fn imports_run_one_way() {
    assert_no(wrong_way_imports(&sources()));
}

#[test]
fn every_module_has_its_layer() {
    assert_no(unplaced(&sources()));
    assert_eq!(
        unplaced(&[core_file("extra.rs", ""), core_file("net.rs", "")]).len(),
        1
    );
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    assert_no(circles(&sources()));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let circles = ModuleGraph::of(&sources).circles();
    assert_eq!(circles, BTreeSet::new());
}

#[test]
fn every_file_has_a_name_of_its_own() {
    assert_no(repeated(file_names(&sources())));
}

#[test]
fn every_type_has_a_name_of_its_own() {
    assert_no(repeated(type_names(&sources())));
}

#[test]
fn the_core_is_pure() {
    assert_no(impurities(&sources()));
}

#[test]
fn unsafe_code_is_in_the_named_files_only() {
    let sources = sources();
    assert_eq!(unsafe_files(&sources), UNSAFE);
    let core = sources.iter().find(|source| source.name == "src/proto.rs");
    assert!(core.is_some_and(|core| core.code.contains("#![forbid(unsafe_code)]")));
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_no(undocumented(&sources()));
}

#[test]
fn no_file_is_too_long() {
    assert_no(long_files(&sources()));
}

#[test]
fn no_function_is_too_long() {
    assert_no(long_functions(&sources()));
}

#[test]
fn there_are_sources_to_check() {
    let sources = sources();
    assert!(sources.iter().any(|source| source.unit() == "proto::net"));
    assert!(sources.iter().any(|source| source.unit() == "cli"));
    assert!(
        sources
            .iter()
            .map(|source| source.paths().len())
            .sum::<usize>()
            > 50
    );
}

fn assert_no(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn wrong_way_imports(sources: &[Source]) -> Vec<String> {
    let complain = |source: &Source, imported: &str| {
        let (own, other) = (layer(&source.unit())?, layer(imported)?);
        (other > own).then(|| format!("{} imports {imported}", source.name))
    };
    sources
        .iter()
        .flat_map(|source| {
            source
                .imported_units()
                .into_iter()
                .map(move |unit| (source, unit))
        })
        .filter_map(|(source, imported)| complain(source, &imported))
        .collect()
}

/// Modules that have no place in [`LAYERS`].
fn unplaced(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .map(Source::unit)
        .filter(|unit| layer(unit).is_none() && !["lib", "main", "proto"].contains(&&**unit))
        .map(|unit| format!("{unit} has no layer: give it one in tests/layering.rs"))
        .collect()
}

fn layer(unit: &str) -> Option<usize> {
    LAYERS.iter().position(|units| units.contains(&unit))
}

/// Units that reach themselves through what they import.
fn circles(sources: &[Source]) -> Vec<String> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| layer(&source.unit()).is_some())
    {
        imports
            .entry(source.unit())
            .or_default()
            .extend(source.imported_units());
    }
    imports
        .keys()
        .filter(|unit| reachable(unit, &imports).contains(*unit))
        .map(|unit| format!("{unit} imports itself through others"))
        .collect()
}

fn reachable(from: &str, imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(unit) = open.pop() {
        for next in imports.get(&unit).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    found
}

/// Names that stand in several files, with those files.
fn repeated(names: Vec<(String, &str)>) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, place) in names {
        places.entry(name).or_default().push(place);
    }
    places.retain(|_, places| places.len() > 1);
    places
        .into_iter()
        .map(|(name, places)| format!("{name} is the name of several: {}", places.join(", ")))
        .collect()
}

/// The base names of the files that are shipped.
fn file_names(sources: &[Source]) -> Vec<(String, &str)> {
    let shipped = sources.iter().filter(|source| !source.code.is_empty());
    let base = |source: &Source| {
        source
            .name
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    shipped
        .map(|source| (base(source), &*source.name))
        .collect()
}

/// The types that others can see, whatever their kind.
fn type_names(sources: &[Source]) -> Vec<(String, &str)> {
    const KINDS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];
    let of_line = |line: &str| -> Option<String> {
        let words: Vec<_> = line
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        let is_type = |pair: &&[&str]| KINDS.contains(&pair[0]);
        let name = words.windows(2).find(is_type)?[1];
        // A macro's `$name` is none.
        (line.trim_start().starts_with("pub") && !name.is_empty()).then(|| name.to_owned())
    };
    sources
        .iter()
        .flat_map(|source| {
            let names = source.code.lines().filter_map(of_line);
            names.map(|name| (name, &*source.name)).collect::<Vec<_>>()
        })
        .collect()
}

fn impurities(sources: &[Source]) -> Vec<String> {
    let core = sources
        .iter()
        .filter(|source| source.name.starts_with("src/proto"));
    core.flat_map(|source| {
        let reached = source.paths().into_iter().filter(|path| is_impure(path));
        let called = IMPURE_CALLS
            .iter()
            .filter(|call| source.code.contains(**call));
        reached
            .chain(called.map(|&call| call.to_owned()))
            .map(|what| format!("{} has {what}", source.name))
            .collect::<Vec<_>>()
    })
    .collect()
}

fn is_impure(path: &str) -> bool {
    IMPURE.iter().any(|impure| {
        path.strip_prefix(impure)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

/// Files with an unsafe block, function or implementation.
fn unsafe_files(sources: &[Source]) -> Vec<&str> {
    let spelled = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    sources
        .iter()
        .filter(|source| {
            spelled
                .iter()
                .any(|unsafely| source.code.contains(unsafely))
        })
        .map(|source| &*source.name)
        .collect()
}

fn undocumented(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{} does not begin with //!", source.name))
        .collect()
}

fn long_files(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .map(|source| (source, source.shipped_lines().len()))
        .filter(|&(_, lines)| lines > MAX_FILE_LINES)
        .map(|(source, lines)| format!("{} has {lines} lines", source.name))
        .collect()
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .flat_map(|source| {
            source
                .functions()
                .into_iter()
                .map(move |found| (source, found))
        })
        .filter(|(_, (_, lines))| *lines > MAX_FUNCTION_LINES)
        .map(|(source, (first, lines))| format!("{}: {lines} lines: {first}", source.name))
        .collect()
}

/// A file of the core with this text.
fn core_file(name: &str, text: &str) -> Source {
    Source::new(format!("src/proto/{name}"), text.to_owned())
}

#[test]
fn an_import_of_a_later_layer_is_found_however_it_is_spelled() {
    let spellings = [
        "use crate::proto::flow::Flow;",
        "use crate::{proto::{net::Tuple, flow}, ruleset};",
        "use super::super::flow::{self, Flow};",
        "use super::super::{\n    net,\n    flow::Flow,\n};",
        "fn f() { crate::proto::flow::f() }",
        "use crate::cli::main;",
    ];
    for spelling in spellings {
        let file = core_file("ftp/command.rs", &format!("//! x\n{spelling}\n"));
        assert!(!wrong_way_imports(&[file]).is_empty(), "{spelling}");
    }
}

#[test]
fn an_import_of_an_earlier_layer_a_comment_and_a_test_are_not_complained_of() {
    let text = "//! [`crate::cli`]\nuse super::super::net::Tuple;\nuse super::endpoint;\n\
                // crate::daemon\n#[cfg(test)]\nmod tests {\n    use crate::proto::flow;\n}\n";
    let file = core_file("ftp/command.rs", text);
    assert_eq!(
        file.imported_units(),
        BTreeSet::from(["proto::net".to_owned()])
    );
    assert_no(wrong_way_imports(&[file]));
}

#[test]
fn a_circle_within_one_layer_is_found() {
    let files = [
        core_file("stream.rs", "use super::packet::Segment;"),
        core_file("packet.rs", "use super::ftp::Role;"),
        core_file("ftp/reply.rs", "use crate::proto::stream::Lines;"),
        core_file("net.rs", ""),
    ];
    assert_eq!(circles(&files).len(), 3);
    assert_no(circles(&files[..2]));
}

#[test]
fn a_circle_of_files_is_found_through_what_a_module_re_exports() {
    let circles = |texts: [&str; 3]| {
        let names = ["net.rs", "net/left.rs", "net/right.rs"];
        let files = names.iter().zip(texts);
        let files: Vec<_> = files.map(|(name, text)| core_file(name, text)).collect();
        ModuleGraph::of(&files).circles().len()
    };
    let parent =
        "mod left;\nmod right;\npub use left::Left;\npub use self::right::{Right, Both};\n";
    let right = "pub struct Right;\nfn f() -> super::Left { todo() }";
    assert_eq!(circles([parent, "use super::Right;\n", right]), 1);
    assert_eq!(
        circles([parent, "use super::{\n    Right as R,\n};\n", ""]),
        0
    );
    assert_eq!(circles([parent, "use super::Other;\n", right]), 0);
    let uses_child = format!("{parent}pub struct Other;\nfn f() {{ left::f() }}");
    assert_eq!(circles([&uses_child, "use super::Other;\n", ""]), 1);
    let imports_child = format!("{parent}use left::f;\npub struct Other;");
    assert_eq!(circles([&imports_child, "use super::Other;\n", ""]), 1);
}

#[test]
fn a_name_that_stands_twice_is_found() {
    let files = [
        core_file("net/flags.rs", "pub struct Flags;\nstruct Own;"),
        core_file("ftp/flags.rs", "pub(super) enum Flags {}\nstruct Own;"),
        core_file("ftp/tests/flags.rs", "pub struct Flags;"),
    ];
    assert_eq!(repeated(file_names(&files)).len(), 1);
    assert_eq!(repeated(type_names(&files)).len(), 1);
    assert_no(repeated(file_names(&files[1..])));
}

#[test]
fn a_clock_a_file_and_a_panic_in_the_core_are_found() {
    let texts = [
        "use std::{fmt, fs};",
        "use std::net::{IpAddr, TcpStream};",
        "fn f() { std::thread::yield_now() }",
        "use tokio::time;",
        "fn f() { Instant::now(); }",
        "fn f() { g().unwrap(); }",
        "fn f() { g().expect(\"it is there\"); }",
    ];
    for text in texts {
        assert_eq!(impurities(&[core_file("net.rs", text)]).len(), 1, "{text}");
    }
    let pure = "use std::{fmt, net::IpAddr};\nfn f() { cursor.expect(b' ', Malformed::NoSpace) }\n\
                #[cfg(test)]\nmod tests;\nfn g() {}\n";
    assert_no(impurities(&[core_file("net.rs", pure)]));
}

#[test]
fn unsafe_code_is_found() {
    let file = core_file("net.rs", "//! unsafe {\nfn f() { unsafe { g() } }");
    assert_eq!(unsafe_files(&[file]).len(), 1);
    assert!(unsafe_files(&[core_file("net.rs", "//! unsafe {\n// unsafe fn")]).is_empty());
}

#[test]
fn a_missing_doc_a_long_file_and_a_long_function_are_found() {
    let body = "    x();\n".repeat(MAX_FUNCTION_LINES);
    let long = core_file("net.rs", &format!("pub fn f() {{\n{body}}}\n"));
    assert_eq!(long_functions(std::slice::from_ref(&long)).len(), 1);
    assert_eq!(undocumented(&[long]).len(), 1);
    let lines = "const X: u8 = 0;\n".repeat(MAX_FILE_LINES);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{lines}}}\n");
    assert_eq!(
        long_files(&[core_file("net.rs", &format!("//! x\n{lines}"))]).len(),
        1
    );
    assert_no(long_files(&[core_file(
        "net.rs",
        &format!("//! x\n{tests}"),
    )]));
    assert_no(long_files(&[core_file(
        "net/tests.rs",
        &format!("//! x\n{lines}"),
    )]));
}
