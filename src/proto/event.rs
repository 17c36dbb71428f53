//! What the core reports: for logs, metrics and `replay`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    command_policy::PolicyAction,
    expect::Expectation,
    ftp::{AnnouncementKind, Role},
    ftps::TlsRefusal,
    kernel::WhenKernelHelps,
    net::{IfIndex, SeqNumber},
    session::{SessionId, Withdrawal, endpoint_check::Refusal},
};

/// Names one packet handed in, as its caller likes: a queue's packet id, a capture's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketId(pub u64);

/// Something that happened to a session.
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
    /// An expectation was withdrawn before anything used it, as far as the core knows.
    Withdrawn {
        /// Which one.
        expectation: Expectation,
        /// Why.
        reason: Withdrawal,
    },
    /// The command policy logged, refused or reset a command.
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
    /// The connection was reset towards both ends: the command policy says so, or a command that it
    /// refuses could have reached the server.
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
    /// The kernel's own FTP helper is attached to the connection.
    KernelHelper {
        /// What becomes of the connection.
        then: WhenKernelHelps,
    },
    /// The connection has a sequence offset that is saved nowhere: it was reset.
    UnknownOffset,
    /// A server's line began and did not end in time: its bytes passed unread.
    PartialLineExpired,
    /// Packets of the connection passed unseen; it is read again from the next line on.
    LostSync,
    /// Packets came in one end's name by the other end's interface, and are dropped.
    Forged {
        /// In whose name.
        name: Role,
        /// By which interface.
        iif: IfIndex,
    },
    /// The connection is over or forgotten.
    Ended,
}

/// What the command policy says of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandReport {
    /// The packet that completed the line.
    pub packet: PacketId,
    /// The command's verb; `?` where it might be something else than a verb.
    pub verb: String,
    /// The policy entry's name.
    pub entry: Arc<str>,
    /// The entry's action.
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
    /// The data connection may come.
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
