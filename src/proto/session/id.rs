//! The name of a session.

/// Names one control connection for as long as the process lives. Each of its log lines has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);
