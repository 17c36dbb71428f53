//! The segment of a packet.

use std::net::SocketAddr;

use etherparse::{IpNumber, IpSlice, Ipv6ExtensionSlice, TcpSlice};

use super::{
    PacketError, checksum,
    flags::Flags,
    options::{Options, SackBlock, TcpOption, Timestamps},
};
use crate::proto::net::{SeqNumber, Tuple, Zone};

/// The number of bytes of a TCP header before its options.
pub(super) const TCP_HEADER: usize = 20;

/// A whole TCP segment, which borrows its packet.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The addresses and ports of this packet.
    pub tuple: Tuple,
    /// The position of the first byte of the payload, or of SYN.
    pub seq: SeqNumber,
    /// The acknowledgement number; `None` without the ACK flag.
    pub ack: Option<SeqNumber>,
    /// The control bits.
    pub flags: Flags,
    /// The window, unscaled.
    pub window: u16,
    /// The urgent pointer. It has a meaning with the URG flag only.
    pub urgent_pointer: u16,
    /// The bytes of the stream.
    pub payload: &'a [u8],
    packet: &'a [u8],
    tcp_start: usize,
}

impl<'a> Segment<'a> {
    /// Parses a packet from its IP header on. Bytes behind the length in that header, such as the
    /// padding of Ethernet, are left out.
    ///
    /// # Errors
    ///
    /// [`PacketError`] where it is not a whole TCP segment.
    pub fn parse(packet: &'a [u8]) -> Result<Self, PacketError> {
        let ip = IpSlice::from_slice(packet)?;
        refuse_unreadable(&ip)?;
        let transport = ip.payload();
        if transport.fragmented {
            return Err(PacketError::Fragment);
        }
        if transport.ip_number != IpNumber::TCP {
            return Err(PacketError::NotTcp);
        }
        let (packet, tcp_start) = extent(packet, &ip)?;
        let tcp_bytes = packet.get(tcp_start..).unwrap_or_default();
        let tcp = TcpSlice::from_slice(tcp_bytes)?;
        // etherparse gives one method for each flag, and not the octet.
        let flags = Flags::from_bits_retain(tcp_bytes.get(13).copied().unwrap_or_default());
        Ok(Self {
            tuple: Tuple::new(
                SocketAddr::new(ip.source_addr(), tcp.source_port()),
                SocketAddr::new(ip.destination_addr(), tcp.destination_port()),
            ),
            seq: SeqNumber(tcp.sequence_number()),
            ack: flags
                .is_ack()
                .then(|| SeqNumber(tcp.acknowledgment_number())),
            flags,
            window: tcp.window_size(),
            urgent_pointer: tcp.urgent_pointer(),
            payload: tcp_bytes.get(tcp.header_len()..).unwrap_or_default(),
            packet,
            tcp_start,
        })
    }

    /// The same segment in this conntrack zone.
    #[must_use]
    pub const fn in_zone(self, zone: Zone) -> Self {
        Self {
            tuple: self.tuple.in_zone(zone),
            ..self
        }
    }

    /// The whole packet, without the bytes behind its length.
    #[must_use]
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// The length of the IP header with its options or extension headers, in bytes.
    #[must_use]
    pub const fn network_header_len(&self) -> usize {
        self.tcp_start
    }

    /// The length of all headers, in bytes. The payload begins there.
    #[must_use]
    pub const fn headers_len(&self) -> usize {
        self.packet.len().saturating_sub(self.payload.len())
    }

    /// The timestamps option.
    #[must_use]
    pub fn timestamps(&self) -> Option<Timestamps> {
        self.options().timestamps()
    }

    /// The blocks of the SACK options.
    pub fn sack_blocks(&self) -> impl Iterator<Item = SackBlock> + use<'a> {
        self.options().sacks().flat_map(TcpOption::sack_blocks)
    }

    /// The maximum segment size in a SYN, in bytes.
    #[must_use]
    pub fn mss(&self) -> Option<u16> {
        self.options().mss()
    }

    /// The shift of the window in a SYN, in bits.
    #[must_use]
    pub fn window_scale(&self) -> Option<u8> {
        self.options().window_scale()
    }

    /// Whether a SYN permits SACK.
    #[must_use]
    pub fn has_sack_permitted(&self) -> bool {
        self.options().has_sack_permitted()
    }

    /// Whether the checksums of IPv4 and TCP are correct. It decides nothing, because the packets
    /// of a capture on the sending machine often have no checksums yet.
    #[must_use]
    pub fn has_valid_checksums(&self) -> bool {
        checksum::are_valid(self.packet, self.tcp_start)
    }

    /// The TCP options.
    pub(super) fn options(&self) -> Options<'a> {
        let range = self.options_start()..self.headers_len();
        Options::new(self.packet.get(range).unwrap_or_default())
    }

    pub(super) const fn options_start(&self) -> usize {
        self.tcp_start.saturating_add(TCP_HEADER)
    }
}

/// Refuses packets that etherparse accepts and that cannot be handled here.
fn refuse_unreadable(ip: &IpSlice<'_>) -> Result<(), PacketError> {
    let Some(ipv6) = ip.ipv6() else {
        return Ok(());
    };
    // A jumbogram has its length in an option (RFC 2675). No interface with an MTU above 64 KiB is
    // expected.
    if ipv6.header().payload_length() == 0 {
        return Err(PacketError::WrongLength);
    }
    for extension in ipv6.extensions().clone() {
        // With segments left, conntrack and the receiver know the connection by another address.
        if let Ipv6ExtensionSlice::Routing(routing) = extension
            && routing.payload().get(1) != Some(&0)
        {
            return Err(PacketError::SourceRouted);
        }
    }
    Ok(())
}

/// The packet up to the length in its IP header, and the offset of the TCP header.
fn extent<'a>(packet: &'a [u8], ip: &IpSlice<'_>) -> Result<(&'a [u8], usize), PacketError> {
    let total = match ip {
        IpSlice::Ipv4(ipv4) => usize::from(ipv4.header().total_len()),
        IpSlice::Ipv6(ipv6) => {
            usize::from(ipv6.header().payload_length()).saturating_add(etherparse::Ipv6Header::LEN)
        }
    };
    let packet = packet.get(..total).ok_or(PacketError::Truncated)?;
    let tcp_start = total
        .checked_sub(ip.payload().payload.len())
        .ok_or(PacketError::WrongLength)?;
    Ok((packet, tcp_start))
}
