//! A line, and the direction in which it goes.

use crate::proto::{net::Direction, stream::Line};

/// A line of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineAt {
    pub(super) direction: Direction,
    pub(super) line: Line,
}
