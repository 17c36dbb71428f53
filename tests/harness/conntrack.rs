//! What the kernel's conntrack makes of a packet's flags (`nf_conntrack_proto_tcp.c`).
//!
//! Windows are not checked, as with `nf_conntrack_tcp_be_liberal`: the core meets more than the
//! kernel lets through by default. What the kernel calls invalid belongs to no connection. So it is
//! not queued and not translated, and passes unless the operator's rules drop it.

use std::collections::HashMap;

use ftp_alg::proto::net::{ConntrackTuples, Direction, Tuple};

use super::frame::{ACK, FIN, Frame, PSH, RST, SYN, URG};

/// `enum tcp_conntrack`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    None,
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    SynSent2,
}

/// A place in the table of transitions.
#[derive(Clone, Copy, Debug)]
enum Next {
    To(State),
    /// Passed as it is, and changes nothing (`sIG`).
    Ignore,
    /// Invalid (`sIV`).
    Invalid,
}

/// What the kernel takes a packet for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It belongs to its connection.
    Tracked,
    /// It begins a connection: an older one with its tuple is forgotten.
    New,
    /// It belongs to none.
    Invalid,
}

/// `enum tcp_bit_set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    None,
}

const IG: Next = Next::Ignore;
const IV: Next = Next::Invalid;
const SS: Next = Next::To(State::SynSent);
const SR: Next = Next::To(State::SynRecv);
const ES: Next = Next::To(State::Established);
const FW: Next = Next::To(State::FinWait);
const CW: Next = Next::To(State::CloseWait);
const LA: Next = Next::To(State::LastAck);
const TW: Next = Next::To(State::TimeWait);
const CL: Next = Next::To(State::Close);
const S2: Next = Next::To(State::SynSent2);

/// `tcp_conntracks`: by direction, index and state.
const TABLE: [[[Next; 10]; 6]; 2] = [
    [
        [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
        [IV, IV, IG, IG, IG, IG, IG, IG, IG, SR],
        [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
        [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
        [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        [IV; 10],
    ],
    [
        [IV, S2, IV, IV, IV, IV, IV, IV, IV, S2],
        [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
        [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
        [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
        [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        [IV; 10],
    ],
];

/// `tcp_valid_flags`, without PSH, ECE and CWR, which may always be there.
const VALID: [u8; 9] = [
    SYN,
    SYN | URG,
    SYN | ACK,
    RST,
    RST | ACK,
    FIN | ACK,
    FIN | ACK | URG,
    ACK,
    ACK | URG,
];

/// One connection.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u32,
    state: State,
    /// What the last SYN of the original direction that was ignored asks to be acknowledged.
    asked: Option<u32>,
}

/// The connections, by original tuple.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conntrack {
    entries: HashMap<Tuple, Entry>,
    last_id: u32,
    /// A new entry has the id of the old one with its tuple: it has its place in memory.
    pub(crate) keeps_ids: bool,
}

impl Conntrack {
    /// Takes a packet.
    pub(crate) fn handle_frame(&mut self, frame: &Frame, tuples: &ConntrackTuples) -> Judgement {
        let original = tuples.of(Direction::Original);
        let is_original = frame.source == original.source;
        if !VALID.contains(&(frame.flags & (SYN | ACK | FIN | RST | URG))) {
            return Judgement::Invalid;
        }
        let index = index_of(frame);
        let known = self
            .entries
            .get(&original)
            .map_or(State::None, |one| one.state);
        // Whoever sends first is the original end.
        if known == State::None && !is_original {
            return Judgement::Invalid;
        }
        match TABLE[usize::from(!is_original)][index as usize][known as usize] {
            Next::Invalid => Judgement::Invalid,
            Next::Ignore => {
                self.handle_ignored(original, is_original, index, frame);
                Judgement::Tracked
            }
            Next::To(State::SynSent) if known != State::SynSent => {
                self.begin(original, State::SynSent);
                Judgement::New
            }
            Next::To(state) if known == State::None => {
                self.begin(original, state);
                Judgement::New
            }
            Next::To(state) => {
                let entry = self.entries.get_mut(&original).expect("it is known");
                (entry.state, entry.asked) = (state, None);
                Judgement::Tracked
            }
        }
    }

    /// Makes an established entry in the place of a lost one.
    pub(crate) fn put_back(&mut self, tuples: &ConntrackTuples) {
        self.begin(tuples.of(Direction::Original), State::Established);
    }

    /// Forgets the connection.
    pub(crate) fn forget(&mut self, tuples: &ConntrackTuples) {
        self.entries.remove(&tuples.of(Direction::Original));
    }

    pub(crate) fn forget_all(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn id(&self, tuples: &ConntrackTuples) -> u32 {
        self.entry(tuples).map_or(0, |entry| entry.id)
    }

    pub(crate) fn is_beginning(&self, tuples: &ConntrackTuples) -> bool {
        let beginning = [State::SynSent, State::SynRecv, State::SynSent2];
        self.entry(tuples)
            .is_some_and(|entry| beginning.contains(&entry.state))
    }

    pub(crate) fn is_established(&self, tuples: &ConntrackTuples) -> bool {
        let state = self.entry(tuples).map(|entry| entry.state);
        state == Some(State::Established)
    }

    pub(crate) fn is_over(&self, tuples: &ConntrackTuples) -> bool {
        let over = [State::TimeWait, State::Close];
        self.entry(tuples)
            .is_some_and(|entry| over.contains(&entry.state))
    }

    fn entry(&self, tuples: &ConntrackTuples) -> Option<&Entry> {
        self.entries.get(&tuples.of(Direction::Original))
    }

    fn begin(&mut self, original: Tuple, state: State) {
        let old = self.entries.get(&original).map(|entry| entry.id);
        self.last_id += 1;
        let id = old.filter(|_| self.keeps_ids).unwrap_or(self.last_id);
        let asked = None;
        self.entries.insert(original, Entry { id, state, asked });
    }

    /// A SYN/ACK that answers an ignored SYN shows that both ends have begun anew.
    fn handle_ignored(&mut self, original: Tuple, is_original: bool, index: Index, frame: &Frame) {
        let entry = self.entries.get_mut(&original).expect("it is known");
        if index == Index::SynAck && !is_original && entry.asked == Some(frame.ack) {
            (entry.state, entry.asked) = (State::SynRecv, None);
            return;
        }
        let is_syn = index == Index::Syn && is_original;
        entry.asked = is_syn.then(|| frame.seq.wrapping_add(frame.sequence_len()));
    }
}

fn index_of(frame: &Frame) -> Index {
    match frame.flags & !(PSH | URG) {
        flags if flags & RST != 0 => Index::Rst,
        flags if flags & SYN != 0 && flags & ACK != 0 => Index::SynAck,
        flags if flags & SYN != 0 => Index::Syn,
        flags if flags & FIN != 0 => Index::Fin,
        flags if flags & ACK != 0 => Index::Ack,
        _ => Index::None,
    }
}
