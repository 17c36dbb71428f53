//! Packets of our own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader, TcpOptions};

use super::{
    PacketError, Segment, checksum,
    flags::Flags,
    options::{NOP, TIMESTAMPS, Timestamps},
};
use crate::proto::net::{SeqNumber, Tuple};

/// The hop limit of injected packets. It is the default of Linux, as in most other packets.
const HOP_LIMIT: u8 = 64;

/// A packet of our own, before it is encoded.
#[derive(Clone, Copy, Debug)]
pub struct Injected<'a> {
    /// The addresses and ports.
    pub tuple: Tuple,
    /// The position of its first byte.
    pub seq: SeqNumber,
    /// The acknowledgement number; `None` without the ACK flag.
    pub ack: Option<SeqNumber>,
    /// The control bits except ACK.
    pub flags: Flags,
    /// The window, unscaled.
    pub window: u16,
    /// The timestamps option, on a connection that has one.
    pub timestamps: Option<Timestamps>,
    /// The bytes of the stream.
    pub payload: &'a [u8],
}

impl Injected<'_> {
    /// The packet, from its IP header on.
    ///
    /// # Errors
    ///
    /// [`PacketError::MixedFamilies`] if the addresses are of two families, and
    /// [`PacketError::TooLong`] if the payload does not fit.
    pub fn encode(&self) -> Result<Vec<u8>, PacketError> {
        let tcp = self.tcp_header();
        let length = tcp.header_len().saturating_add(self.payload.len());
        let mut packet = network_header(self.tuple, length)?;
        let tcp_start = packet.len();
        packet.extend_from_slice(&tcp.to_bytes());
        packet.extend_from_slice(self.payload);
        checksum::write(&mut packet, tcp_start);
        Ok(packet)
    }

    fn tcp_header(&self) -> TcpHeader {
        let (source, destination) = (self.tuple.source.port(), self.tuple.destination.port());
        let mut header = TcpHeader::new(source, destination, self.seq.0, self.window);
        header.acknowledgment_number = self.ack.unwrap_or_default().0;
        header.ack = self.ack.is_some();
        header.fin = self.flags.is_fin();
        header.syn = self.flags.is_syn();
        header.rst = self.flags.is_rst();
        header.psh = self.flags.is_psh();
        if let Some(timestamps) = self.timestamps {
            header.options = TcpOptions::from(timestamps.encode());
        }
        header
    }
}

/// A reset in answer to `segment`, with the number that its sender accepts (RFC 9293 §3.10.7.1).
/// `None` for a reset, and for a segment without an acknowledgement.
#[must_use]
pub fn reset(segment: &Segment<'_>) -> Option<Vec<u8>> {
    let seq = segment.ack.filter(|_| !segment.flags.is_rst())?;
    let reset = Injected {
        tuple: segment.tuple.inverted(),
        seq,
        ack: None,
        flags: Flags::RST,
        window: 0,
        timestamps: None,
        payload: &[],
    };
    reset.encode().ok()
}

/// A reset towards the receiver of `segment`, in the name of its sender. `tuple` is the one of the
/// segment after NAT. `None` for a reset.
///
/// It has the number that the receiver expects. In a handshake it also acknowledges the receiver's
/// own number (RFC 9293 §3.10.7.3).
#[must_use]
pub fn reset_of_receiver(segment: &Segment<'_>, tuple: Tuple) -> Option<Vec<u8>> {
    let reset = Injected {
        tuple,
        seq: segment.seq,
        ack: segment.ack,
        flags: Flags::RST,
        window: 0,
        timestamps: None,
        payload: &[],
    };
    reset.encode().ok().filter(|_| !segment.flags.is_rst())
}

/// A keep-alive in the place of `segment`, in the name of its sender: without its bytes. The
/// receiver answers with a bare acknowledgement (RFC 9293 §3.8.4), because it has that position
/// already.
///
/// # Errors
///
/// As [`Injected::encode`].
pub fn keep_alive(segment: &Segment<'_>) -> Result<Vec<u8>, PacketError> {
    let before = Injected {
        tuple: segment.tuple,
        seq: segment.seq.shifted(-1),
        ack: segment.ack,
        flags: Flags::empty(),
        window: segment.window,
        timestamps: segment.timestamps(),
        payload: &[],
    };
    before.encode()
}

/// A keep-alive in answer to `segment`, in the name of its receiver. `None` for a segment without
/// an acknowledgement.
#[must_use]
pub fn keep_alive_to_sender(segment: &Segment<'_>) -> Option<Vec<u8>> {
    let timestamps = segment.timestamps();
    let before = Injected {
        tuple: segment.tuple.inverted(),
        seq: segment.ack?.shifted(-1),
        ack: Some(segment.seq),
        flags: Flags::empty(),
        // It is not believed, because the segment lies before the window (RFC 9293 §3.10.7.4).
        window: segment.window,
        timestamps: timestamps.map(|Timestamps { value, echo }| Timestamps {
            value: echo,
            echo: value,
        }),
        payload: &[],
    };
    before.encode().ok()
}

impl Timestamps {
    /// Two NOPs and the option, so that both of its words are aligned (RFC 7323 appendix A).
    const fn encode(self) -> [u8; 12] {
        let [a, b, c, d] = self.value.to_be_bytes();
        let [e, f, g, h] = self.echo.to_be_bytes();
        [NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h]
    }
}

fn network_header(tuple: Tuple, length: usize) -> Result<Vec<u8>, PacketError> {
    let length = u16::try_from(length).map_err(|_| PacketError::TooLong)?;
    match (tuple.source.ip(), tuple.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4_header(source, destination, length),
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Ok(ipv6_header(source, destination, length))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            Err(PacketError::MixedFamilies)
        }
    }
}

fn ipv4_header(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    length: u16,
) -> Result<Vec<u8>, PacketError> {
    let (source, destination) = (source.octets(), destination.octets());
    // A packet that must not be fragmented needs no identification (RFC 6864 §4.1).
    let header = Ipv4Header::new(length, HOP_LIMIT, IpNumber::TCP, source, destination);
    let mut header = header.map_err(|_| PacketError::TooLong)?;
    header.dont_fragment = true;
    Ok(header.to_bytes().to_vec())
}

fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr, length: u16) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: length,
        next_header: IpNumber::TCP,
        hop_limit: HOP_LIMIT,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    };
    header.to_bytes().to_vec()
}
