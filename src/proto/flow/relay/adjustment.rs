//! Whether a connection has a sequence offset that a later process would need.

/// Whether the connection has a sequence offset, and whether a later process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adjustment {
    /// It has none: a later process can pick it up.
    None,
    /// It has one, or may have, and what is saved of it is out of date.
    Unsaved,
    /// It has one, and it is saved.
    Saved,
    /// It has one, and it is saved nowhere, because it holds a secret.
    Hidden,
}

impl Adjustment {
    /// Something has changed that a later process has to know.
    pub(super) fn handle_change(&mut self) {
        if *self == Self::Saved {
            *self = Self::Unsaved;
        }
    }
}
