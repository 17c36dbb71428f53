//! Where in the server's tree a session is, as far as its dialogue tells.
//!
//! A path is resolved by its text alone: links, and what a server makes of names besides (`.` and
//! `..` apart), are its own business. A session's directory is known from the first answer to PWD, or the
//! first accepted CWD with a path from the root; before that no path is known that does not begin there.

use std::collections::VecDeque;

use super::command_line::CommandLine;

/// How many changes may wait for their answers, and how long a directory may be, in bytes; beyond
/// either it is not known any more.
const STEPS_MAX: usize = 32;
const DIRECTORY_MAX: usize = 1024;

/// The directory of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkingDirectory {
    /// From the root, each behind a slash; the root is empty.
    known: Option<Vec<u8>>,
    /// What was asked for and not answered yet.
    steps: VecDeque<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Change(Vec<u8>),
    Ask,
}

impl WorkingDirectory {
    /// Takes a command that goes to the server, if it is one of directories.
    pub(super) fn handle_command(&mut self, command: &CommandLine<'_>) {
        let step = match command {
            command if command.is("CWD") => Step::Change(command.argument.to_vec()),
            command if command.is("CDUP") => Step::Change(b"..".to_vec()),
            command if command.is("PWD") => Step::Ask,
            _ => return,
        };
        self.steps.push_back(step);
        if self.steps.len() > STEPS_MAX {
            self.forget();
        }
    }

    /// Takes the answer to the oldest of them.
    pub(super) fn handle_answer(&mut self, code: u16, line: &[u8]) {
        match self.steps.pop_front() {
            Some(Step::Change(path)) if code / 100 == 2 => self.known = self.resolve(&path),
            Some(Step::Ask) if code == 257 => {
                self.known = quoted(line).and_then(|path| self.resolve(&path))
            }
            Some(_) => {}
            None => self.known = None,
        }
    }

    /// A login begins here, if that is known.
    pub(super) fn enter(&mut self, login_directory: Option<&str>) {
        self.forget();
        self.known = login_directory.and_then(|directory| self.resolve(directory.as_bytes()));
    }

    /// It is not known any more where the session is.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// A path from the root, or `None` where that is not known. While a change is unanswered, nothing is
    /// known but what begins at the root.
    pub(super) fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let is_settled = self.steps.iter().all(|step| matches!(step, Step::Ask));
        if !is_settled && !is_separator(path.first()) {
            return None;
        }
        let whole = self.resolve(path)?;
        Some(if whole.is_empty() {
            b"/".to_vec()
        } else {
            whole
        })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let of_step = |step: &Step| match step {
            Step::Change(path) => path.capacity(),
            Step::Ask => 0,
        };
        let steps: usize = self.steps.iter().map(of_step).sum();
        let places = self.steps.capacity().saturating_mul(size_of::<Step>());
        let known = self.known.as_ref().map_or(0, Vec::capacity);
        steps.saturating_add(places).saturating_add(known)
    }

    fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut directory = if is_separator(path.first()) {
            Vec::new()
        } else {
            self.known.clone()?
        };
        for name in path.split(|byte| is_separator(Some(byte))) {
            match name {
                b"" | b"." => {}
                b".." => {
                    let end = directory
                        .iter()
                        .rposition(|byte| *byte == b'/')
                        .unwrap_or(0);
                    directory.truncate(end);
                }
                name => {
                    directory.push(b'/');
                    directory.extend_from_slice(name);
                }
            }
        }
        (directory.len() <= DIRECTORY_MAX).then_some(directory)
    }
}

/// Servers on Windows take a backslash for a slash.
fn is_separator(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'/' | b'\\'))
}

/// The path in `257 "/a ""b"""  is the current directory` (RFC 959 appendix II doubles the quotes).
fn quoted(line: &[u8]) -> Option<Vec<u8>> {
    let start = line.iter().position(|byte| *byte == b'"')?.checked_add(1)?;
    let mut rest = line.get(start..)?;
    let mut path = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        path.extend_from_slice(rest.get(..end)?);
        match rest.get(end..)? {
            [b'"', b'"', tail @ ..] => {
                path.push(b'"');
                rest = tail;
            }
            _ => return Some(path),
        }
    }
}
