//! The directions of a tracked connection.

use std::ops;

/// A direction of a tracked connection, as conntrack names it.
///
/// On a control connection the original direction is from the client to the server. But a data
/// connection may be opened by the server. So the roles of FTP are never used for directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The direction of the connection's first packet (`IP_CT_DIR_ORIGINAL`).
    Original,
    /// The opposite direction (`IP_CT_DIR_REPLY`).
    Reply,
}

impl Direction {
    /// Both directions, the original one first.
    pub const BOTH: [Self; 2] = [Self::Original, Self::Reply];
}

impl ops::Not for Direction {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// One value for each direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PerDirection<T> {
    /// The value of the original direction.
    pub original: T,
    /// The value of the reply direction.
    pub reply: T,
}

impl<T> ops::Index<Direction> for PerDirection<T> {
    type Output = T;

    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }
}

impl<T> ops::IndexMut<Direction> for PerDirection<T> {
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Original => &mut self.original,
            Direction::Reply => &mut self.reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_direction_of_the_other_direction_is_the_first() {
        for direction in Direction::BOTH {
            assert_ne!(!direction, direction);
            assert_eq!(!!direction, direction);
        }
    }

    #[test]
    fn each_direction_has_its_own_value() {
        let mut values = PerDirection {
            original: 1,
            reply: 2,
        };
        values[Direction::Reply] = 3;
        assert_eq!(
            (values[Direction::Original], values[Direction::Reply]),
            (1, 3)
        );
    }
}
