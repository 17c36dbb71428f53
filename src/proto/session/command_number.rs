//! The numbers of commands.

/// The number of a command in its session. The greeting, which answers none, has the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandNumber(u64);

impl CommandNumber {
    /// The number of the command behind this one.
    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
