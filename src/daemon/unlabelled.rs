//! Connections without room for a label, of which the log tells once.
//!
//! The kernel gives room for a label only while a rule that sets labels is loaded. A connection
//! that began before our table was loaded has none, and gets none. Each of its packets may bring
//! the same refusal again.

use std::collections::BTreeSet;

use tracing::warn;

use crate::proto::net::{ConntrackTuples, Direction, Tuple};

/// Of how many connections it is remembered that the log has told.
const REMEMBERED_MAX: usize = 4096;

/// What the log has told.
#[derive(Debug, Default)]
pub(super) struct Unlabelled(BTreeSet<(Tuple, &'static str)>);

impl Unlabelled {
    /// Tells the log that a connection has no room for a label, and what follows from that, unless
    /// it was told.
    pub(super) fn warn(&mut self, tuples: &ConntrackTuples, consequence: &'static str) {
        let original = tuples.of(Direction::Original);
        if self.is_first(original, consequence) {
            let (client, server) = (original.source, original.destination);
            warn!(
                %client,
                %server,
                "{consequence}: the connection began before our table was loaded, and this changes \
                 once it is opened anew"
            );
        }
    }

    fn is_first(&mut self, original: Tuple, consequence: &'static str) -> bool {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert((original, consequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_consequence_is_told_once_of_a_connection_and_the_memory_is_bounded() {
        let of = |port| Tuple::new(([10, 0, 0, 2], port).into(), ([203, 0, 113, 2], 21).into());
        let mut unlabelled = Unlabelled::default();
        assert!(unlabelled.is_first(of(1), "one"));
        assert!(!unlabelled.is_first(of(1), "one"));
        assert!(unlabelled.is_first(of(1), "two"));
        assert!(unlabelled.is_first(of(2), "one"));
        for port in 0..u16::MAX {
            unlabelled.is_first(of(port), "one");
            assert!(unlabelled.0.len() <= REMEMBERED_MAX);
        }
    }
}
