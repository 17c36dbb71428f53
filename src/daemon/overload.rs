//! Says in the log when the workers do not keep up with their queues.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use tracing::warn;

use crate::io::nfqueue::LossCounters;

/// How often the losses are looked at. So rarely at most does the log speak of them.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// Watches what the queues lose.
#[derive(Debug)]
pub(super) struct OverloadWatch {
    counters: Option<LossCounters>,
    queues: RangeInclusive<u16>,
    known: BTreeMap<u16, u32>,
}

impl OverloadWatch {
    /// Watches these queues. Only root may open the kernel's counters, and once a queue is bound; a
    /// machine that does not show them is worked on all the same.
    pub(super) fn open(queues: RangeInclusive<u16>) -> Self {
        let counters = LossCounters::open().inspect_err(|error| {
            warn!(%error, "packets that the queues lose are not counted");
        });
        Self {
            counters: counters.ok(),
            queues,
            known: BTreeMap::new(),
        }
    }

    /// Warns of what was lost since the last time.
    pub(super) fn report(&mut self) {
        let losses = self.counters.as_mut().map(LossCounters::read);
        let all = losses.and_then(Result::ok).unwrap_or_default();
        for found in all.iter().filter(|one| self.queues.contains(&one.queue)) {
            let known = self.known.insert(found.queue, found.packets).unwrap_or(0);
            let packets = found.packets.wrapping_sub(known);
            if packets > 0 {
                let queue = found.queue;
                warn!(
                    queue,
                    packets, "the worker did not keep up: packets were lost"
                );
            }
        }
    }
}
