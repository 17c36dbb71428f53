//! The one line that says what is wrong with a configuration, and where.

use std::{fmt, io};

use super::value::Problem;

/// Why a configuration was refused. Displays as one line: `FILE:LINE:COLUMN: reason`, or
/// `FILE: reason` for a file that could not be read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    position: Option<Position>,
    reason: String,
}

/// A place in a text as editors count it: both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    line: usize,
    column: usize,
}

impl ConfigError {
    pub(super) fn at(file: &str, text: &str, problem: &Problem) -> Self {
        Self {
            file: file.to_owned(),
            position: Some(Position::of(text, problem.span.start)),
            reason: one_line(&problem.reason),
        }
    }

    pub(super) fn unreadable(file: &str, source: &io::Error) -> Self {
        Self {
            file: file.to_owned(),
            position: None,
            reason: format!("cannot be read: {source}; name a file that this user may read"),
        }
    }

    pub(super) fn not_utf8(file: &str, bytes: &[u8], valid: usize) -> Self {
        let text = String::from_utf8_lossy(&bytes[..valid]);
        let problem = Problem::new(valid..valid, "not UTF-8, which TOML must be");
        Self::at(file, &text, &problem)
    }
}

impl Position {
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => {
                write!(f, "{}:{line}:{column}: {}", self.file, self.reason)
            }
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Joins the lines of a message of the TOML reader.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
