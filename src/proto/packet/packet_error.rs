//! The faults of packets.

use etherparse::{LenSource, err};

/// Why a packet cannot be read or made. A packet that cannot be read passes, and nothing is opened
/// for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum PacketError {
    /// It is shorter than its headers say.
    #[error("the packet is cut off")]
    Truncated,
    /// It is neither IPv4 nor IPv6.
    #[error("the packet is not IP")]
    NotIp,
    /// A length in a header is impossible: shorter than the header itself, or an IPv6 payload of 0
    /// (a jumbogram, RFC 2675).
    #[error("a header has an impossible length")]
    WrongLength,
    /// An extension header is out of order, or has impossible content.
    #[error("an extension header is wrong")]
    WrongExtension,
    /// It is a fragment of a datagram. None is expected, because conntrack defragments before each
    /// hook that queues.
    #[error("the packet is a fragment")]
    Fragment,
    /// An IPv6 routing header has segments left. So the address in the header is not the
    /// connection's, and the checksum is for another address (RFC 8200 §8.1).
    #[error("the packet is routed by its source")]
    SourceRouted,
    /// It has another protocol than TCP.
    #[error("the packet is not TCP")]
    NotTcp,
    /// A packet to be made would be longer than the longest IP packet.
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
            // The packet is as long as IP says. So the data offset of TCP is wrong.
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
