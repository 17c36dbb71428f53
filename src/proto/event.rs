//! The events that the core reports, for the log and for `replay`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    command_policy::PolicyAction,
    expect::Expectation,
    ftp::{AnnouncementKind, Role},
    ftps::TlsRefusal,
    kernel::{Outcome, WhenKernelHelps},
    net::{IfIndex, SeqNumber},
    session::{SessionId, Withdrawal, endpoint_check::Refusal},
};

/// The name of a packet. The caller chooses it: the packet id of a queue, or the frame of a
/// capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketId(pub u64);

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The session.
    pub session: SessionId,
    /// The client's own address and port.
    pub client: SocketAddr,
    /// The server's address and port as the client knows them.
    pub server: SocketAddr,
    /// The kind of the event.
    pub kind: EventKind,
}

/// The kind of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The core begins to follow a control connection.
    Started {
        /// Whether its first packet was seen. Else it was picked up in its middle.
        is_from_start: bool,
    },
    /// A line has an announcing verb or code.
    Announcement(AnnouncementReport),
    /// An expectation was withdrawn.
    Withdrawn {
        /// The expectation.
        expectation: Expectation,
        /// The reason.
        reason: Withdrawal,
        /// What has become of it.
        outcome: Outcome,
    },
    /// The command policy logged, refused or reset a command.
    Command(CommandReport),
    /// A line was replaced by one of the same length: a refused command, or a line of its answer.
    Replaced {
        /// The sender of the line.
        from: Role,
        /// The start of the line, as its sender counts.
        start: SeqNumber,
        /// The new line, without its end.
        line: Vec<u8>,
    },
    /// The connection was reset towards both ends. The command policy asks for that, or a refused
    /// command could have reached the server.
    Aborted,
    /// The client sends more than it may, and some of its packets wait. It is reported once.
    Slowed,
    /// The connection was reset, because the host of its client has as many sessions as it may
    /// have.
    TooManySessions,
    /// The connection is encrypted from now on, and not read.
    Opaque,
    /// The connection is no FTP. Nothing is opened for it, for as long as conntrack knows it.
    NotFtp {
        /// Whether it has left the queue. Else it is still read, because a command policy applies
        /// to it or its sequence numbers differ.
        is_left_alone: bool,
    },
    /// The connection is clear text again (CCC), and read from now on.
    Readable,
    /// A data connection of an encrypted session was admitted.
    TlsOpened {
        /// Its expectation.
        expectation: Expectation,
    },
    /// A data connection of an encrypted session was refused.
    TlsRefused {
        /// The port of the server.
        port: u16,
        /// The reason.
        reason: TlsRefusal,
    },
    /// The kernel's own FTP helper is attached to the connection.
    KernelHelper {
        /// The consequence for the connection.
        then: WhenKernelHelps,
    },
    /// The connection was reset, because it has a sequence offset that is saved nowhere.
    UnknownOffset,
    /// A partial line of the server did not end in time, and its bytes passed unread.
    PartialLineExpired,
    /// A reply of several lines has begun with this code and does not end. What the server
    /// announces within it is text.
    EndlessReply {
        /// The code with which it began.
        code: u16,
    },
    /// Packets of the connection passed unseen. It is read again from the next line on.
    LostSync {
        /// The cause, where conntrack shows it.
        cause: LossCause,
        /// Whether it is the first time that this connection is concerned.
        is_first: bool,
    },
    /// Packets with the address of one end came by the interface of the other, and are dropped.
    Forged {
        /// The end whose address they bear.
        name: Role,
        /// The interface by which they came.
        iif: IfIndex,
    },
    /// The connection is over or forgotten.
    Ended,
}

/// Why packets of a connection pass unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// It does not show.
    Unknown,
    /// A flowtable has taken the connection away from all hooks.
    Offloaded,
    /// They were seen. The kernel changes the numbers of their acknowledgements behind our hook
    /// (SYNPROXY).
    Renumbered,
}

/// The decision of the command policy on a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandReport {
    /// The packet that completed the line.
    pub packet: PacketId,
    /// The verb of the command; `?` where the word may be no verb.
    pub verb: String,
    /// The name of the policy entry.
    pub entry: Arc<str>,
    /// The action of the entry.
    pub action: PolicyAction,
}

/// An announcement and the decision on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncementReport {
    /// The packet that completed the line.
    pub packet: PacketId,
    /// The announcer.
    pub from: Role,
    /// The kind of the line.
    pub kind: AnnouncementKind,
    /// The announced address and port; `None` where the line cannot be read. For a 229 without an
    /// address it is the announcer's.
    pub endpoint: Option<(IpAddr, u16)>,
    /// The decision.
    pub decision: Decision,
    /// Whether a server has named another host's address, and its own was taken instead.
    pub is_misnamed: bool,
    /// Whether this machine itself is an end of the control connection, as far as is known.
    pub is_of_this_machine: bool,
}

/// The decision on one announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The data connection is expected.
    Expect {
        /// The expectation.
        expectation: Expectation,
        /// The line that left in its place; `None` where it did not change.
        rewritten: Option<RewriteReport>,
    },
    /// The announcement is refused.
    Refuse(Refusal),
}

/// A rewritten line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteReport {
    /// The new endpoint.
    pub endpoint: SocketAddr,
    /// The new line, without its end.
    pub line: String,
    /// How many bytes longer it is than the old one.
    pub delta: i32,
}
