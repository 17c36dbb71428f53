//! Announced data endpoints.

use std::{net::IpAddr, num::NonZeroU16, ops::Range};

use super::{endpoint::Endpoint, kind::AnnouncementKind};

/// A data endpoint that a line announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// The kind of line.
    pub kind: AnnouncementKind,
    /// The announced address; `None` where it is that of the control connection (229).
    pub address: Option<IpAddr>,
    /// The announced port.
    pub port: NonZeroU16,
    /// The part of the line that has the endpoint.
    pub(super) token: Span,
}

impl Announcement {
    /// The announcement of `endpoint`, with the part of the line that has it.
    pub(super) const fn read(
        kind: AnnouncementKind,
        endpoint: Endpoint,
        token: Range<usize>,
    ) -> Self {
        Self {
            kind,
            address: endpoint.address,
            port: endpoint.port,
            token: Span {
                start: token.start,
                end: token.end,
            },
        }
    }

    /// The part of the line that has the endpoint. It is the host-port without parentheses, or the
    /// fields of EPRT and 229 from the first delimiter to the last. In a reply it has the blanks
    /// between it and its parentheses too.
    #[must_use]
    pub const fn token_range(&self) -> Range<usize> {
        self.token.start..self.token.end
    }
}

/// A half-open range of bytes in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}
