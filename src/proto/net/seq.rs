//! Positions in TCP's 32-bit sequence space.

use std::fmt;

/// A TCP sequence number: a position on a ring of 2³² (RFC 9293 §3.4).
///
/// It has no `Ord`, because "before" is not transitive on a ring. [`is_before`](Self::is_before)
/// and [`offset_from`](Self::offset_from) are correct for positions less than 2³¹ apart.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// The position `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// The position `bytes` further on; back where negative.
    #[must_use]
    pub const fn shifted(self, bytes: i32) -> Self {
        Self(self.0.wrapping_add_signed(bytes))
    }

    /// How many bytes this position is behind `other`; negative where it is before.
    #[must_use]
    pub const fn offset_from(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// Whether this position is before `other` on the ring (`before()` of the kernel).
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        self.offset_from(other) < 0
    }

    /// The earlier of the two.
    #[must_use]
    pub const fn earlier(self, other: Self) -> Self {
        if other.is_before(self) { other } else { self }
    }

    /// The later of the two.
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }
}

impl fmt::Debug for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap_of_the_ring() {
        let (before, after) = (SeqNumber(u32::MAX - 1), SeqNumber(3));
        assert!(before.is_before(after));
        assert!(!after.is_before(before));
        assert_eq!(after.offset_from(before), 5);
        assert_eq!(before.plus(5), after);
        assert_eq!(after.shifted(-5), before);
    }

    #[test]
    fn earlier_and_later_pick_by_ring_order() {
        let (first, second) = (SeqNumber(u32::MAX), SeqNumber(0));
        assert_eq!(first.earlier(second), first);
        assert_eq!(second.later(first), second);
        assert_eq!(first.later(first), first);
    }
}
