//! The working directory of a session, as far as the dialogue shows it.
//!
//! The directory is known from the first answer to PWD on, or from the first accepted CWD with a
//! path from the root. Before that, only paths from the root are known.
//!
//! Paths are resolved as text. Symbolic links of the server, and names other than `.` and `..` that
//! it treats specially, are not known here.

use std::collections::VecDeque;

use super::command_line::CommandLine;

/// The most commands that wait for their answers. Beyond it the directory is unknown.
const STEPS_MAX: usize = 32;

/// The longest directory, in bytes. A longer one is unknown.
const DIRECTORY_MAX: usize = 1024;

/// The working directory of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkingDirectory {
    /// The names from the root on, each behind a slash. The root is empty.
    known: Option<Vec<u8>>,
    /// The commands that the server has not answered yet.
    steps: VecDeque<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Change(Vec<u8>),
    Ask,
}

impl WorkingDirectory {
    /// Takes a command that goes to the server.
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

    /// Takes the answer to the oldest command that waits for one.
    pub(super) fn handle_answer(&mut self, code: u16, line: &[u8]) {
        match self.steps.pop_front() {
            Some(Step::Change(path)) if code / 100 == 2 => self.known = self.resolve(&path),
            Some(Step::Ask) if code == 257 => {
                self.known = quoted(line).and_then(|path| self.resolve(&path))
            }
            // A refused change leaves the directory as it was (RFC 959 §4.1.1).
            Some(_) => {}
            // The answer to a command that passed unseen, or that was one too many.
            None => self.known = None,
        }
    }

    /// The oldest command that waits for an answer gets none. Nobody knows whether the server has
    /// changed the directory.
    pub(super) fn handle_lost_answer(&mut self) {
        self.steps.pop_front();
        self.known = None;
    }

    /// Takes a login, with the directory in which it begins, where that is known.
    pub(super) fn enter(&mut self, login_directory: Option<&str>) {
        self.forget();
        self.known = login_directory.and_then(|directory| self.resolve(directory.as_bytes()));
    }

    /// Forgets the directory, and the commands that wait for their answers.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// A path as one from the root; `None` where it is unknown.
    pub(super) fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        // A pipelining client may use a path before the server has answered its CWD. Nobody knows
        // yet whether the server has changed the directory.
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
                // The parent of the root is the root.
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

/// Whether a byte separates names. Servers on Windows take a backslash for a slash.
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
