//! The one line that says what is wrong with a configuration, and where.

use std::io;

use thiserror::Error;

/// Why a configuration was refused, on one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// It is not there, or not readable.
    #[error("{file}: cannot be read: {reason}; name a file that this user may read")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// It does not say what a configuration may say.
    #[error("{file}:{line}:{column}: {reason}")]
    Wrong {
        /// Its name.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The character in the line, counted from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
}

impl ConfigError {
    pub(super) fn unreadable(file: &str, source: &io::Error) -> Self {
        Self::Unreadable {
            file: file.to_owned(),
            reason: source.to_string(),
        }
    }

    /// Something is wrong at a byte of the text.
    pub(super) fn wrong(file: &str, text: &str, at: usize, reason: &str) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self::Wrong {
            file: file.to_owned(),
            line: 1 + before.matches('\n').count(),
            column: 1 + line.chars().count(),
            // The TOML reader writes some messages on several lines.
            reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }
}
