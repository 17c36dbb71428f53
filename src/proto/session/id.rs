//! What a session is called.

/// Names one control connection for as long as the process lives; it is on each of its log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);
