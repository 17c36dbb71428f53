//! Why a packet is not one we can read or make.

use etherparse::{LenSource, err};

/// What is wrong with a packet. It passes unread; nothing is opened for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum PacketError {
    /// Shorter than its headers say.
    #[error("the packet is cut off")]
    Truncated,
    /// Neither IPv4 nor IPv6.
    #[error("the packet is not IP")]
    NotIp,
    /// A length in a header that cannot be: shorter than the header itself, or an IPv6 payload
    /// of 0 (a jumbogram, RFC 2675).
    #[error("a header has an impossible length")]
    WrongLength,
    /// An extension header out of order or with impossible content.
    #[error("an extension header is wrong")]
    WrongExtension,
    /// A part of a datagram (more fragments, or an offset). Conntrack defragments before any
    /// hook that queues, so none is expected.
    #[error("the packet is a fragment")]
    Fragment,
    /// An IPv6 routing header with segments left: the address in the header is not the
    /// connection's, and the checksum is for another one (RFC 8200 §8.1).
    #[error("the packet is routed by its source")]
    SourceRouted,
    /// Another protocol.
    #[error("the packet is not TCP")]
    NotTcp,
    /// A packet to be made would be longer than an IP packet can be.
    #[error("the packet would be longer than 65535 bytes")]
    TooLong,
    /// A packet to be made has an IPv4 and an IPv6 address.
    #[error("the packet's addresses are of two families")]
    MixedFamilies,
}

impl From<err::ip::SliceError> for PacketError {
    fn from(error: err::ip::SliceError) -> Self {
        use err::ip::{HeaderError, HeadersError, SliceError};
        match error {
            SliceError::Len(error) => error.into(),
            SliceError::IpHeaders(HeadersError::Ip(HeaderError::UnsupportedIpVersion {
                ..
            })) => Self::NotIp,
            SliceError::IpHeaders(HeadersError::Ip(
                HeaderError::Ipv4HeaderLengthSmallerThanHeader { .. },
            )) => Self::WrongLength,
            SliceError::IpHeaders(HeadersError::Ipv4Ext(_) | HeadersError::Ipv6Ext(_)) => {
                Self::WrongExtension
            }
        }
    }
}

impl From<err::tcp::HeaderSliceError> for PacketError {
    fn from(error: err::tcp::HeaderSliceError) -> Self {
        match error {
            // The packet is as long as IP says, so it is TCP's data offset that is too large.
            err::tcp::HeaderSliceError::Len(_) | err::tcp::HeaderSliceError::Content(_) => {
                Self::WrongLength
            }
        }
    }
}

impl From<err::LenError> for PacketError {
    fn from(error: err::LenError) -> Self {
        if error.len_source == LenSource::Slice {
            Self::Truncated
        } else {
            Self::WrongLength
        }
    }
}
