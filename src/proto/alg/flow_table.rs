//! The connections that one helper follows, by tuple and by time.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use crate::proto::{
    flow::Flow,
    net::{Direction, Tuple},
};

/// How many connections one helper follows. Beyond it the one that will expire first and has no
/// sequence offset is forgotten; where all have one, new connections pass unread.
pub const FLOWS_MAX: usize = 131_072;

/// How many connections are looked at for one that may be forgotten, those first that will be
/// forgotten first: what never spoke, what is closed, what was silent for longest.
const EVICTION_TRIES: usize = 64;

/// What a connection takes beside itself: two places in a hash table that is at least seven
/// sixteenths full, one in a B-tree whose nodes are half full, one in a list.
const PLACES: usize = 2 * size_of::<(Tuple, (FlowKey, Direction))>() * 16 / 7
    + 2 * size_of::<(Instant, FlowKey)>()
    + 2 * size_of::<usize>();

/// Names a connection in the table. It may be given to another once the connection is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FlowKey(usize);

#[derive(Clone, Debug)]
struct Entry {
    flow: Flow,
    /// When `due` has it.
    scheduled: Instant,
    /// What `bytes` has of it.
    bytes: usize,
}

/// The table. Connections are found in constant time; iteration never happens in hash order.
#[derive(Clone, Debug, Default)]
pub(super) struct FlowTable {
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<FlowKey>,
    index: HashMap<Tuple, (FlowKey, Direction)>,
    due: BTreeSet<(Instant, FlowKey)>,
    /// What the connections take.
    bytes: usize,
}

impl FlowTable {
    pub(super) fn find(&self, tuple: Tuple) -> Option<(FlowKey, Direction)> {
        self.index.get(&tuple).copied()
    }

    pub(super) fn flow(&self, key: FlowKey) -> Option<&Flow> {
        self.entries.get(key.0)?.as_ref().map(|entry| &entry.flow)
    }

    pub(super) fn flow_mut(&mut self, key: FlowKey) -> Option<&mut Flow> {
        self.entries
            .get_mut(key.0)?
            .as_mut()
            .map(|entry| &mut entry.flow)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len().saturating_sub(self.free.len())
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= FLOWS_MAX
    }

    /// Adds a connection. No other has one of its tuples.
    pub(super) fn insert(&mut self, flow: Flow) -> FlowKey {
        let scheduled = flow.poll_timeout();
        let tuples = *flow.tuples();
        let bytes = 0;
        let entry = Entry {
            flow,
            scheduled,
            bytes,
        };
        let entry = Some(Box::new(entry));
        let key = self.free.pop().unwrap_or(FlowKey(self.entries.len()));
        match self.entries.get_mut(key.0) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        for direction in Direction::BOTH {
            self.index.insert(tuples.of(direction), (key, direction));
        }
        self.due.insert((scheduled, key));
        self.measure(key);
        key
    }

    pub(super) fn remove(&mut self, key: FlowKey) {
        let Some(entry) = self.entries.get_mut(key.0).and_then(Option::take) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.due.remove(&(entry.scheduled, key));
        for direction in Direction::BOTH {
            self.index.remove(&entry.flow.tuples().of(direction));
        }
        self.free.push(key);
    }

    /// Makes sure that the connection is due no later than it wants to be. A later wish is only
    /// noticed once the earlier time has come, so that a busy connection costs nothing here.
    pub(super) fn schedule(&mut self, key: FlowKey) {
        self.measure(key);
        let Some(entry) = self.entries.get_mut(key.0).and_then(Option::as_mut) else {
            return;
        };
        let wanted = entry.flow.poll_timeout();
        if wanted < entry.scheduled {
            self.due.remove(&(entry.scheduled, key));
            entry.scheduled = wanted;
            self.due.insert((wanted, key));
        }
    }

    /// Schedules a connection anew whose time has come.
    pub(super) fn reschedule(&mut self, key: FlowKey) {
        self.measure(key);
        let Some(entry) = self.entries.get_mut(key.0).and_then(Option::as_mut) else {
            return;
        };
        self.due.remove(&(entry.scheduled, key));
        entry.scheduled = entry.flow.poll_timeout();
        self.due.insert((entry.scheduled, key));
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    pub(super) fn first_due_by(&self, now: Instant) -> Option<FlowKey> {
        self.due
            .first()
            .filter(|&&(at, _)| at <= now)
            .map(|&(_, key)| key)
    }

    /// A connection that may be forgotten to make room, but for the one at hand: one that waits for
    /// nothing, if there is any.
    pub(super) fn first_evictable(&self, current: Option<FlowKey>) -> Option<FlowKey> {
        let first = |is_wanted: fn(&Flow) -> bool| {
            let mut candidates = self.due.iter().take(EVICTION_TRIES).map(|&(_, key)| key);
            candidates.find(|&key| Some(key) != current && self.flow(key).is_some_and(is_wanted))
        };
        first(|flow| flow.is_evictable() && !flow.is_busy()).or_else(|| first(Flow::is_evictable))
    }

    /// What all connections take, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Counts again what a connection takes.
    fn measure(&mut self, key: FlowKey) {
        let Some(entry) = self.entries.get_mut(key.0).and_then(Option::as_mut) else {
            return;
        };
        let beside = size_of::<Entry>().saturating_sub(size_of::<Flow>());
        let bytes = entry
            .flow
            .memory_bytes()
            .saturating_add(beside)
            .saturating_add(PLACES);
        self.bytes = self.bytes.saturating_sub(entry.bytes).saturating_add(bytes);
        entry.bytes = bytes;
    }
}
