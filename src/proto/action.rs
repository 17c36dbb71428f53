//! Everything the core can cause: the complete list of its effects.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

pub use super::session::SessionId;
use super::{
    command_policy::PolicyAction,
    expect::{ExpectError, Expectation, ExpectationId, Stage},
    ftp::{AnnouncementKind, Role},
    net::{ConntrackTuples, SeqNumber, Tuple},
    saved_flow::SavedFlow,
    session::{Withdrawal, endpoint_check::Refusal},
    tls::{HostPair, TlsRefusal},
};

/// Names one packet handed in, as its caller likes: a queue's packet id, a capture's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketId(pub u64);

/// What becomes of a packet. Each packet handed in gets exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Accept,
    /// It does not pass; its sender will repeat what matters.
    Drop,
    /// This packet passes in its place, checksums valid.
    Replace(Vec<u8>),
}

/// An effect. The caller carries actions out in the order in which they are polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look the conntrack entry up by the tuple of one of its directions and answer with
    /// [`Alg::handle_resolved`](super::alg::Alg::handle_resolved), where it is marked `adjust` with
    /// [`Alg::handle_recalled`](super::alg::Alg::handle_recalled) or
    /// [`Alg::handle_forgotten`](super::alg::Alg::handle_forgotten), where it is marked `opaque` with
    /// [`Alg::handle_encrypted`](super::alg::Alg::handle_encrypted), before anything else.
    Resolve {
        /// The tuple as the packet showed it.
        tuple: Tuple,
    },
    /// Make conntrack accept sequence numbers it did not see on this connection, in both
    /// directions, and mark the connection `adjust`, so that all its packets are queued. Answer
    /// with [`Alg::handle_relaxed`](super::alg::Alg::handle_relaxed) once the kernel acknowledged.
    RelaxWindow {
        /// The control connection.
        tuples: ConntrackTuples,
    },
    /// Set the endpoint of a data connection aside, or let the connection in. Answer with
    /// [`Alg::handle_expected`](super::alg::Alg::handle_expected) once the kernel acknowledged.
    Expect {
        /// Its name from now on.
        id: ExpectationId,
        /// What to let in, and how to translate it.
        expectation: Expectation,
        /// What it is to become. One that was reserved keeps its name when it opens.
        stage: Stage,
        /// The control connection it belongs to.
        master: ConntrackTuples,
    },
    /// Withdraw an expectation, used or not, whose time is not yet up. No answer.
    Unexpect {
        /// The name it was given.
        id: ExpectationId,
        /// What it was.
        expectation: Expectation,
        /// How far it had come.
        stage: Stage,
        /// The control connection it belongs to.
        master: ConntrackTuples,
        /// Why. One that was superseded may wait for the one that follows it, one whose transfer
        /// is finished for a quiet moment; any other may still be used, and goes at once.
        reason: Withdrawal,
    },
    /// Mark the connection `opaque`, so that nothing of it is queued any more. No answer.
    MarkOpaque {
        /// The control connection.
        tuples: ConntrackTuples,
    },
    /// The connection can be read again: clear its mark `opaque`. No answer.
    MarkReadable {
        /// The control connection.
        tuples: ConntrackTuples,
    },
    /// Let first packets from this client to this server, within the granted ports, be queued
    /// before conntrack sees them. It may be so already. No answer.
    Grant {
        /// Whose.
        pair: HostPair,
    },
    /// Let them be queued no more. No answer.
    Revoke {
        /// Whose.
        pair: HostPair,
    },
    /// Look which of these connections conntrack still knows, by their original tuples, and has not
    /// seen end. Answer with [`Alg::handle_live`](super::alg::Alg::handle_live), with those.
    FindLive {
        /// Each connection's original tuple.
        tuples: Vec<Tuple>,
    },
    /// Give a packet its verdict.
    Verdict {
        /// Which packet.
        packet: PacketId,
        /// What becomes of it.
        verdict: Verdict,
    },
    /// Send a complete IP packet past conntrack and NAT. No answer.
    Inject {
        /// The packet, addressed as its receiver expects it, checksums valid.
        packet: Vec<u8>,
    },
    /// Keep this outside the process, before the next action is carried out; it replaces what was
    /// kept of the same connection. A new process hands it to
    /// [`Alg::handle_recalled`](super::alg::Alg::handle_recalled). No answer.
    Remember(SavedFlow),
    /// Nothing needs to be kept of this connection any more. No answer.
    Forget {
        /// The control connection.
        tuples: ConntrackTuples,
    },
    /// Tell whoever listens: logs, metrics, `replay`. No answer.
    Report(Event),
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which session it belongs to.
    pub session: SessionId,
    /// The client, as its packets show it at the gateway.
    pub client: SocketAddr,
    /// The server, as the client knows it.
    pub server: SocketAddr,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A control connection is followed from now on.
    Started {
        /// Seen from its first packet, and not picked up in its middle.
        is_from_start: bool,
    },
    /// A line announced a data endpoint, or tried to.
    Announcement(AnnouncementReport),
    /// The server takes long to answer what its client has announced: it may be one that connects
    /// first.
    Unanswered {
        /// Which one waits.
        expectation: Expectation,
    },
    /// The server accepted what its client had announced: the data connection may come.
    Opened {
        /// Which one.
        expectation: Expectation,
    },
    /// The server accepted what its client had announced, and the kernel did not let it in.
    NotOpened {
        /// Which one.
        expectation: Expectation,
        /// Why.
        error: ExpectError,
    },
    /// An expectation was withdrawn before anything used it, as far as the core knows.
    Withdrawn {
        /// Which one.
        expectation: Expectation,
        /// Why.
        reason: Withdrawal,
    },
    /// A rule of the operator spoke of a command.
    Command(CommandReport),
    /// A line was replaced by one of the same length: a refused command, or a line of its answer.
    Replaced {
        /// Who said it.
        from: Role,
        /// Where the line starts, as its sender counts.
        start: SeqNumber,
        /// What its reader gets, without the line's end.
        line: Vec<u8>,
    },
    /// The connection was reset towards both ends: a rule says so, or a command that it refuses could
    /// have reached the server.
    Aborted,
    /// The client sends more commands than it may: from now on some wait. Told once.
    Slowed,
    /// Its client's host has as many sessions as it may have: it was reset.
    TooManySessions,
    /// The connection is encrypted from now on and left alone.
    Opaque,
    /// What was encrypted is clear text again (CCC), and read from here on.
    Readable,
    /// A data connection of an encrypted session was let in, as `tls_data` allows.
    TlsOpened {
        /// Which one.
        expectation: Expectation,
    },
    /// A data connection of an encrypted session was not let in.
    TlsRefused {
        /// To which port of the server.
        port: u16,
        /// Why.
        reason: TlsRefusal,
    },
    /// Bytes were withheld longer than the bound and passed on unread.
    PartialLineExpired,
    /// Packets of the connection passed unseen; it is read again from the next line on.
    LostSync,
    /// Packets came in one end's name by the other end's link, and are dropped.
    Forged {
        /// In whose name.
        name: Role,
    },
    /// The connection is over or forgotten.
    Ended,
}

/// What a rule of the operator says of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandReport {
    /// The packet that completed the line.
    pub packet: PacketId,
    /// The command's verb; `?` where it might be something else than a verb.
    pub verb: String,
    /// The rule's name.
    pub rule: Arc<str>,
    /// What the rule does.
    pub action: PolicyAction,
}

/// What was decided on one announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncementReport {
    /// The packet that completed the line.
    pub packet: PacketId,
    /// Who announced.
    pub from: Role,
    /// By which line.
    pub kind: AnnouncementKind,
    /// The announced address (for EPSV without one, the announcer's) and port; `None` where the
    /// line cannot be read.
    pub endpoint: Option<(IpAddr, u16)>,
    /// What was decided.
    pub decision: Decision,
}

/// The decision on one announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The data connection may come: one that the client announced once the server accepts it
    /// ([`EventKind::Opened`]).
    Expect {
        /// What was let in.
        expectation: Expectation,
        /// The line that went out instead, if it was changed.
        rewritten: Option<RewriteReport>,
    },
    /// It may not.
    Refuse(Refusal),
}

/// A rewritten line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteReport {
    /// The endpoint it names now.
    pub endpoint: SocketAddr,
    /// The whole line without its end.
    pub line: String,
    /// How many bytes longer it became.
    pub delta: i32,
}
