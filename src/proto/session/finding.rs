//! What a line of the dialogue means.

use super::endpoint_check::Refusal;
use crate::proto::ftp::{Announcement, AnnouncementKind, Malformed, Reason};

/// The meaning of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing that concerns data connections.
    Nothing,
    /// A line announced a data endpoint, or tried to.
    Announcement(FoundAnnouncement),
    /// The announcements up to the [current command](Session::current_command) are over.
    Withdraw(Withdrawal),
    /// The server says that it is at work on a transfer (1yz).
    Preliminary,
    /// A transfer has ended, and its data connection too.
    TransferDone,
    /// From here on the connection is encrypted.
    Opaque,
    /// From here on the connection is encrypted if the client begins with TLS. The server has
    /// accepted AUTH in words of its own.
    MayBecomeOpaque,
    /// A line, but not the last, of the answer to the substitute of a refused command. It gets the
    /// code of a refusal.
    RefusalBegins,
    /// The last line of such an answer. The user reads in it why the command was refused.
    Refusal(Reason),
    /// The final answer to CWD, CDUP or PWD, with its code. `Dialogue::handle_reply` tells the
    /// command policy of it.
    Directory(u16),
}

/// An announcement in the dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAnnouncement {
    /// The kind of the line.
    pub kind: AnnouncementKind,
    /// The endpoint, or the reason why the line cannot be read.
    pub announcement: Result<Announcement, Malformed>,
    /// Why no endpoint may be announced at this place in the dialogue.
    pub refusal: Option<Refusal>,
}

/// Why a pinhole is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// The server rejected the announcement or the transfer (4yz, 5yz).
    Rejected,
    /// The client sent ABOR, REIN or QUIT.
    Abandoned,
    /// A newer announcement took its place.
    Superseded,
    /// The control connection is closing or gone.
    Closed,
    /// The timeout of the expectation has passed.
    Expired,
    /// Its transfer is over.
    Finished,
    /// The connection is encrypted from here on.
    Opaque,
}

impl Withdrawal {
    /// The stable lower-case identifier for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
            Self::Superseded => "superseded",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Finished => "finished",
            Self::Opaque => "opaque",
        }
    }
}
