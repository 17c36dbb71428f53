//! An expectation together with its control connection.

use crate::proto::{
    expect::Expectation,
    net::{Layer, Tuple},
};

/// A control connection, as far as its expectations need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Master {
    /// Its original tuple.
    pub original: Tuple,
    /// Its conntrack mark, which its data connections get.
    pub mark: u32,
    /// Where its packets are seen, and so those of its data connections.
    pub layer: Layer,
}

/// An expectation of a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasteredExpectation {
    /// The control connection.
    pub master: Master,
    /// The expectation, with the time that it has left.
    pub expectation: Expectation,
    /// Whether the same connection was expected a short time before. Conntrack may still know the
    /// one that came then.
    pub is_repeated: bool,
}

impl From<Tuple> for Master {
    /// A routed control connection without a mark.
    fn from(original: Tuple) -> Self {
        Self {
            original,
            mark: 0,
            layer: Layer::Routed,
        }
    }
}
