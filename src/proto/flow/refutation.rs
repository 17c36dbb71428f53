//! How far a connection that is no FTP has been dealt with.

/// What was done about a connection that is no FTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Refutation {
    /// Nothing: it is FTP, as far as is known.
    #[default]
    None,
    /// It stays in the queue, and is kept.
    Kept,
    /// It has left the queue.
    LeftAlone,
}
