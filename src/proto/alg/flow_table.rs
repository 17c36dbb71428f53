//! The connections that one helper follows, by tuple and by time.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    time::Instant,
};

use hashbrown::HashTable;

use crate::proto::{
    flow::Flow,
    net::{Direction, Tuple},
};

/// How many connections one helper follows. Beyond it one that is closed is forgotten, else the one
/// that will expire first and has no sequence offset. Where all are open and have one, new
/// connections pass unread.
pub const FLOWS_MAX: usize = 131_072;

/// What a connection takes beside itself: two places in a hash table that is at least seven
/// sixteenths full, one in each of two B-trees whose nodes are half full, one in a list.
const PLACES: usize = 2 * size_of::<(FlowKey, Direction)>() * 16 / 7
    + 2 * size_of::<(Instant, FlowKey)>()
    + 2 * size_of::<(Eviction, Instant, FlowKey)>()
    + 2 * size_of::<usize>();

/// Names a connection in the table, in few bytes, because three indices hold it. It may be given
/// to another once the connection is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FlowKey(u32);

/// How much is lost with a connection that is forgotten, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Eviction {
    /// It is over. Its last segments may come again.
    Closed,
    /// It waits for nothing, and is picked up again if it goes on.
    Idle,
    /// Something is under way.
    Busy,
}

#[derive(Clone, Debug)]
struct Entry {
    flow: Flow,
    /// When `due` has it.
    scheduled: Instant,
    /// How `evictable` has it: `None` if it does not.
    eviction: Option<Eviction>,
    /// What `bytes` has of it.
    bytes: usize,
}

/// The table. Connections are found in constant time; iteration never happens in hash order.
#[derive(Clone, Debug, Default)]
pub(super) struct FlowTable {
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<FlowKey>,
    /// By the hash of the tuple of each direction. The tuples themselves are in the flows.
    index: HashTable<(FlowKey, Direction)>,
    hasher: RandomState,
    due: BTreeSet<(Instant, FlowKey)>,
    /// What may be forgotten to make room, what is to go first at the front. A connection is moved
    /// where its own state changes, so that nobody has to look for one among those that must stay.
    evictable: BTreeSet<(Eviction, Instant, FlowKey)>,
    /// What the connections take.
    bytes: usize,
}

impl FlowTable {
    pub(super) fn find(&self, tuple: Tuple) -> Option<(FlowKey, Direction)> {
        let hash = self.hasher.hash_one(tuple);
        let is_its = |place: &_| tuple_of(&self.entries, *place) == Some(tuple);
        self.index.find(hash, is_its).copied()
    }

    pub(super) fn flow(&self, key: FlowKey) -> Option<&Flow> {
        self.entries
            .get(key.0 as usize)?
            .as_ref()
            .map(|entry| &entry.flow)
    }

    pub(super) fn flow_mut(&mut self, key: FlowKey) -> Option<&mut Flow> {
        self.entries
            .get_mut(key.0 as usize)?
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
        let bytes = 0;
        let entry = Entry {
            flow,
            scheduled,
            eviction: None,
            bytes,
        };
        let entry = Some(Box::new(entry));
        let key = self
            .free
            .pop()
            .unwrap_or(FlowKey(self.entries.len() as u32));
        match self.entries.get_mut(key.0 as usize) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash_of = |place: &_| {
            let tuple = tuple_of(entries, *place);
            tuple.map_or(0, |tuple| hasher.hash_one(tuple))
        };
        for direction in Direction::BOTH {
            let place = (key, direction);
            self.index.insert_unique(hash_of(&place), place, hash_of);
        }
        self.due.insert((scheduled, key));
        self.measure(key);
        self.place(key, scheduled);
        key
    }

    pub(super) fn remove(&mut self, key: FlowKey) {
        let Some(entry) = self.entries.get_mut(key.0 as usize).and_then(Option::take) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.due.remove(&(entry.scheduled, key));
        if let Some(eviction) = entry.eviction {
            self.evictable.remove(&(eviction, entry.scheduled, key));
        }
        for direction in Direction::BOTH {
            let hash = self.hasher.hash_one(entry.flow.tuples().of(direction));
            let is_its = |place: &_| *place == (key, direction);
            if let Ok(found) = self.index.find_entry(hash, is_its) {
                found.remove();
            }
        }
        self.free.push(key);
    }

    /// Makes sure that the connection is due no later than it wants to be. A later wish is only
    /// noticed once the earlier time has come, so that a busy connection costs nothing here.
    pub(super) fn schedule(&mut self, key: FlowKey) {
        self.measure(key);
        if let Some(entry) = self.entry(key) {
            let at = entry.flow.poll_timeout().min(entry.scheduled);
            self.place(key, at);
        }
    }

    /// Changes each connection, and schedules it anew.
    pub(super) fn for_each(&mut self, change: impl Fn(&mut Flow)) {
        for key in (0..self.entries.len() as u32).map(FlowKey) {
            if let Some(flow) = self.flow_mut(key) {
                change(flow);
                self.schedule(key);
            }
        }
    }

    /// Schedules a connection anew whose time has come.
    pub(super) fn reschedule(&mut self, key: FlowKey) {
        self.measure(key);
        if let Some(entry) = self.entry(key) {
            let at = entry.flow.poll_timeout();
            self.place(key, at);
        }
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

    /// The connection that is to be forgotten first to make room, but for the one at hand.
    pub(super) fn first_evictable(&self, current: Option<FlowKey>) -> Option<FlowKey> {
        let mut keys = self.evictable.iter().map(|&(_, _, key)| key);
        keys.find(|&key| Some(key) != current)
    }

    /// What all connections take, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    fn entry(&self, key: FlowKey) -> Option<&Entry> {
        self.entries.get(key.0 as usize)?.as_deref()
    }

    /// Puts a connection where it belongs in `due` and `evictable`. Most packets change neither.
    fn place(&mut self, key: FlowKey, at: Instant) {
        let Some(entry) = self
            .entries
            .get_mut(key.0 as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let eviction = eviction_of(&entry.flow);
        let (was_at, was) = (entry.scheduled, entry.eviction);
        if at == was_at && eviction == was {
            return;
        }
        (entry.scheduled, entry.eviction) = (at, eviction);
        if at != was_at {
            self.due.remove(&(was_at, key));
            self.due.insert((at, key));
        }
        if let Some(was) = was {
            self.evictable.remove(&(was, was_at, key));
        }
        if let Some(eviction) = eviction {
            self.evictable.insert((eviction, at, key));
        }
    }

    /// Counts again what a connection takes.
    fn measure(&mut self, key: FlowKey) {
        let Some(entry) = self
            .entries
            .get_mut(key.0 as usize)
            .and_then(Option::as_mut)
        else {
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

fn tuple_of(
    entries: &[Option<Box<Entry>>],
    (key, direction): (FlowKey, Direction),
) -> Option<Tuple> {
    let entry = entries.get(key.0 as usize)?.as_ref()?;
    Some(entry.flow.tuples().of(direction))
}

/// `None` where an end would lose bytes, or hear others than were sent.
fn eviction_of(flow: &Flow) -> Option<Eviction> {
    if !flow.is_evictable() {
        None
    } else if flow.is_closed() {
        Some(Eviction::Closed)
    } else if flow.is_busy() {
        Some(Eviction::Busy)
    } else {
        Some(Eviction::Idle)
    }
}
