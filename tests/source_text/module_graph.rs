//! Which file imports from which, and where that goes round in a circle.
//!
//! An import leads to the file that defines the name: a name that the named module only imports, or
//! re-exports, leads on to the file that it comes from. A re-export is no import of the module that
//! has it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, absolute, is_word, paths_in, tree};

/// The files, by the module that each one is.
pub(crate) struct ModuleGraph<'a> {
    files: BTreeMap<Vec<String>, File<'a>>,
}

struct File<'a> {
    source: &'a Source,
    /// The paths that its own code names, from the crate's root.
    imports: Vec<Vec<String>>,
    /// The paths that it imports or re-exports: under their last names it knows them.
    names: Vec<Vec<String>>,
}

impl<'a> ModuleGraph<'a> {
    pub(crate) fn of(sources: &'a [Source]) -> Self {
        let files = sources
            .iter()
            .filter(|source| !source.code.is_empty())
            .map(|source| (module_of(source), File::of(source)));
        Self {
            files: files.collect(),
        }
    }

    /// The groups of files of which each one reaches itself through the others.
    pub(crate) fn circles(&self) -> BTreeSet<BTreeSet<&'a str>> {
        let edges: BTreeMap<_, _> = self
            .files
            .iter()
            .map(|(module, file)| (&*file.source.name, self.imported_by(module)))
            .collect();
        let reached: BTreeMap<_, _> = edges
            .keys()
            .map(|name| (*name, reachable(name, &edges)))
            .collect();
        let circle = |name: &&'a str| -> BTreeSet<&'a str> {
            let comes_back = |other: &&&str| reached[**other].contains(name);
            reached[name].iter().filter(comes_back).copied().collect()
        };
        let circles = reached.keys().map(circle);
        circles.filter(|circle| !circle.is_empty()).collect()
    }

    /// The files that define what this module imports.
    fn imported_by(&self, module: &[String]) -> BTreeSet<&'a str> {
        let file = &self.files[module];
        let imports = file.imports.iter();
        imports
            .filter_map(|path| self.definer(path, 0))
            .filter(|name| *name != file.source.name)
            .collect()
    }

    /// The file that defines the last name of a path which is one.
    fn definer(&self, path: &[String], depth: usize) -> Option<&'a str> {
        let length = (1..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        let file = &self.files[&path[..length]];
        let leads_on = path.get(length).and_then(|name| {
            let known = file.names.iter().find(|known| known.last() == Some(name))?;
            // No chain of re-exports is longer, but in a circle.
            (depth < 8)
                .then(|| self.definer(known, depth + 1))
                .flatten()
        });
        leads_on.or(Some(&file.source.name))
    }
}

impl<'a> File<'a> {
    fn of(source: &'a Source) -> Self {
        let module = module_of(source);
        let (uses, rest) = use_statements(&source.code);
        let root = |path: &String| rooted(&module, &source.code, path);
        let mut file = Self {
            source,
            imports: paths_in(&rest).iter().map(root).collect(),
            names: Vec::new(),
        };
        for (is_export, text) in uses {
            let paths: Vec<_> = tree(&text).0.iter().map(root).collect();
            if !is_export {
                file.imports.extend(paths.clone());
            }
            file.names.extend(paths);
        }
        file
    }
}

/// The module that a file is; the crate's root has no name.
fn module_of(source: &Source) -> Vec<String> {
    let mut module = source.module();
    if module == ["lib"] {
        module.clear();
    }
    module
}

/// Each `use` of the code, without the keyword, and whether it is a re-export; and the other code.
fn use_statements(code: &str) -> (Vec<(bool, String)>, String) {
    let (mut uses, mut others) = (Vec::new(), String::new());
    for statement in code.split_inclusive(';') {
        let begin = statement.rfind("use ").filter(|at| {
            let before = statement[..*at].rsplit('\n').next().unwrap_or_default();
            before.is_empty() || before.starts_with("pub")
        });
        let Some(begin) = begin else {
            others.push_str(statement);
            continue;
        };
        let is_export = statement[..begin].ends_with(") ") || statement[..begin].ends_with("pub ");
        let (before, text) = (&statement[..begin], &statement[begin + 4..]);
        others.push_str(before);
        uses.push((is_export, without_aliases(text.trim_end_matches(';'))));
    }
    (uses, others)
}

/// `a::{b as c, d}` is `a::{b , d}`.
fn without_aliases(text: &str) -> String {
    let mut words = text.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "as" {
            let alias = words.next().unwrap_or_default();
            kept.push(alias.trim_start_matches(is_word));
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// A path as seen from the crate's root. One that names neither the crate nor a module above begins
/// in the file's own module, or is of another crate, which no file defines.
fn rooted(module: &[String], code: &str, path: &str) -> Vec<String> {
    let path = path.trim_end_matches("::self");
    let own = path.strip_prefix("self::").unwrap_or(path);
    absolute(module, own).unwrap_or_else(|| {
        let first = own.split("::").next().unwrap_or_default();
        let is_own = code.contains(&format!("mod {first};"));
        let parts = own.split("::").map(str::to_owned);
        if is_own {
            module.iter().cloned().chain(parts).collect()
        } else {
            vec!["another crate".to_owned()]
        }
    })
}

fn reachable<'a>(from: &str, edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        for next in edges.get(name).into_iter().flatten() {
            if found.insert(*next) {
                open.push(next);
            }
        }
    }
    found
}
