//! Saved flows of an earlier process that no worker has taken over yet.
//!
//! A worker takes one over with the first packet of its connection. A connection may have ended
//! while no daemon ran, or say nothing more: then no worker ever hears of it, and its saved flow
//! is deleted here.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Context;
use tracing::info;

use super::flow_store::FlowStore;
use crate::{
    io::ctnetlink::Conntrack,
    proto::{
        flow::IDLE_MAX,
        net::{ConntrackTuples, Direction},
    },
    ruleset::LabelBit,
};

/// How long a saved flow waits for a packet if its connection is over, or if conntrack has lost it
/// while no daemon ran. Linux sends what is not acknowledged again after two minutes at the latest
/// (`TCP_RTO_MAX`).
const OVER_MAX: Duration = Duration::from_secs(120);

/// How many are looked at each time, so that nothing else waits: 15 µs each.
const SLICE: usize = 1024;

/// Those that are left, next to look at first.
pub(super) struct UnclaimedFlows {
    conntrack: Conntrack,
    /// The label's bit of a connection with a sequence offset.
    adjust: LabelBit,
    flows: VecDeque<Unclaimed>,
}

struct Unclaimed {
    tuples: ConntrackTuples,
    /// An earlier process has seen its end.
    is_closed: bool,
    /// Since when its connection is over, or conntrack does not know it.
    gone_since: Option<Instant>,
    /// How long it waits from then on.
    patience: Duration,
}

/// Which connection conntrack has under the tuples of a saved flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Its,
    /// Its own, which both ends have closed, or one has reset.
    Over,
    /// Another connection has begun under them.
    Another,
    Nothing,
}

impl UnclaimedFlows {
    /// Reads the saved flows, and deletes those whose connection is another one now. `adjust` is
    /// the label's bit of connections with a sequence offset.
    ///
    /// # Errors
    /// The directory cannot be read, or conntrack cannot be asked.
    pub(super) fn read(
        flow_store: &FlowStore,
        adjust: LabelBit,
        now: Instant,
    ) -> anyhow::Result<Self> {
        let conntrack = Conntrack::open().context("cannot open a socket to conntrack")?;
        let saved = flow_store.read_all().context("cannot read saved flows")?;
        let mut unclaimed = Self {
            conntrack,
            adjust,
            flows: VecDeque::new(),
        };
        let (mut ended, mut unknown) = (0, 0);
        for (tuples, is_closed) in saved.iter().map(|saved| (saved.tuples(), saved.is_closed)) {
            let found = unclaimed.find(&tuples, is_closed);
            if found == Found::Another {
                ended += 1;
                flow_store.delete(&tuples);
                continue;
            }
            let is_gone = found != Found::Its;
            unknown += usize::from(found == Found::Nothing);
            unclaimed.flows.push_back(Unclaimed {
                tuples,
                is_closed,
                gone_since: is_gone.then_some(now),
                patience: OVER_MAX,
            });
        }
        if !saved.is_empty() {
            info!(
                go_on = unclaimed.flows.len() - unknown,
                ended,
                forgotten_by_conntrack = unknown,
                "connections with a sequence offset of an earlier process"
            );
        }
        Ok(unclaimed)
    }

    /// Deletes those that have waited long enough. Wanted now and then.
    pub(super) fn sweep(&mut self, flow_store: &FlowStore, now: Instant) {
        for _ in 0..self.flows.len().min(SLICE) {
            let Some(mut flow) = self.flows.pop_front() else {
                return;
            };
            if !flow_store.is_unclaimed(&flow.tuples) {
                continue;
            }
            let found = self.find(&flow.tuples, flow.is_closed);
            if found == Found::Its {
                flow.gone_since = None;
                // An idle session that conntrack loses from now on may go on much later.
                flow.patience = IDLE_MAX;
            } else {
                if found == Found::Over {
                    flow.patience = OVER_MAX;
                }
                let since = *flow.gone_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= flow.patience {
                    flow_store.delete(&flow.tuples);
                    continue;
                }
            }
            self.flows.push_back(flow);
        }
    }

    /// Where conntrack cannot be asked, nothing is given up.
    fn find(&mut self, tuples: &ConntrackTuples, is_closed: bool) -> Found {
        match self.conntrack.resolve(&tuples.of(Direction::Original)) {
            Err(_) if !is_closed => Found::Its,
            Err(_) => Found::Over,
            Ok(None) => Found::Nothing,
            Ok(Some(entry)) if entry.tuples == *tuples && entry.label.has(self.adjust) => {
                let is_over = entry.is_over();
                let is_over = is_over || is_closed;
                if is_over { Found::Over } else { Found::Its }
            }
            Ok(Some(_)) => Found::Another,
        }
    }
}
