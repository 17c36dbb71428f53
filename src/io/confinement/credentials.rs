//! The credentials of this process, read back from the kernel.

use rustix::{
    process::{getgid, getuid},
    thread::{SecureComputingMode, capabilities, no_new_privs, secure_computing_mode},
};

use super::capabilities::{bounding_set, names};

/// The credentials of the calling thread, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessCredentials {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Capabilities that are permitted, separated by commas.
    pub capabilities: String,
    /// Capabilities that a program it started could have at most.
    pub bounding: String,
    /// Whether a program it started could get more than it has.
    pub has_no_new_privs: bool,
    /// Whether system calls are filtered.
    pub is_filtered: bool,
}

impl ProcessCredentials {
    /// Asks the kernel.
    #[must_use]
    pub fn current() -> Self {
        let unknown = |_| "unknown".to_owned();
        let mode = secure_computing_mode();
        Self {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            capabilities: capabilities(None).map_or_else(unknown, |sets| names(sets.permitted)),
            bounding: names(bounding_set()),
            has_no_new_privs: no_new_privs().unwrap_or(false),
            is_filtered: mode.is_ok_and(|mode| mode == SecureComputingMode::Filter),
        }
    }
}
