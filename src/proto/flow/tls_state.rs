//! How far the encryption of a connection has come, as far as it is seen.
//!
//! An encrypted connection without an offset leaves the queue, but for its FIN and RST and for
//! segments that begin as text does. Its FIN or RST ends its grant. Text shows that it has gone
//! back to clear text (CCC, RFC 4217 §12): the client's segment has to be whole lines that begin
//! with a known command. No TLS record is, and a piece of one is once in four thousand million
//! times.
//!
//! The owner of a server knows the keys of the connections to it, and could choose what its client
//! sends (a browser's request, a mirrored directory's long names) so that it *encrypts* to "PORT …"
//! at a segment's beginning. So implicit FTPS, which a browser can speak, never becomes readable
//! again. And where AUTH TLS was said in the clear, nothing that the client announces afterwards is
//! opened. What the server announces is: only its client, by itself, can make use of that.

use crate::proto::egress::Verdict;

/// The encryption of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TlsState {
    /// There is none.
    #[default]
    Clear,
    /// The client began with a TLS record, on a port of implicit FTPS. The server answers.
    ImplicitHello,
    /// The server has accepted AUTH in words of its own. The client's next words tell.
    AuthOffered,
    /// The server has accepted AUTH. The client begins.
    AuthAccepted,
    /// It is encrypted.
    Encrypted {
        /// Whether it may become readable again.
        since: Handshake,
        /// Whether its client may open data connections that are not announced.
        has_grant: bool,
    },
    /// It was encrypted, and is in the clear again.
    ClearAgain {
        /// The client has said something in the clear, and the server not yet.
        awaits_server: bool,
    },
}

/// How the encryption began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// With a TLS record of the client, after an accepted AUTH.
    AfterAuth,
    /// With the connection (implicit FTPS), or by another mechanism than TLS: for good.
    ForGood,
}

/// How a segment is to be read.
#[derive(Debug)]
pub(super) enum Classified {
    /// It holds lines, or bytes of a stream whose offsets have to be followed.
    Readable,
    /// It repeats bytes that left before, and leaves as it did.
    Repeated,
    /// It is not read; this is its verdict.
    Unread(Verdict),
}

impl TlsState {
    /// Whether nothing of the connection can be read.
    pub(super) const fn is_opaque(self) -> bool {
        match self {
            Self::AuthAccepted | Self::Encrypted { .. } => true,
            Self::Clear | Self::ImplicitHello | Self::AuthOffered | Self::ClearAgain { .. } => {
                false
            }
        }
    }

    /// The server may have accepted AUTH. After an earlier encryption that is not believed.
    pub(super) fn offer(&mut self) {
        if *self == Self::Clear {
            *self = Self::AuthOffered;
        }
    }

    pub(super) const fn was_encrypted(self) -> bool {
        matches!(self, Self::ClearAgain { .. })
    }

    pub(super) const fn has_grant(self) -> bool {
        matches!(
            self,
            Self::Encrypted {
                has_grant: true,
                ..
            }
        )
    }

    /// Takes the grant back. `true` where there was one.
    pub(super) fn take_grant(&mut self) -> bool {
        match self {
            Self::Encrypted { has_grant, .. } => std::mem::take(has_grant),
            Self::Clear
            | Self::ImplicitHello
            | Self::AuthOffered
            | Self::AuthAccepted
            | Self::ClearAgain { .. } => false,
        }
    }

    /// Whether the connection may become readable again.
    pub(super) const fn may_clear(self) -> bool {
        matches!(
            self,
            Self::Encrypted {
                since: Handshake::AfterAuth,
                ..
            }
        )
    }
}
