//! Copies of packets with other sequence numbers and another payload.

use super::{
    PacketError, checksum,
    checksum::put,
    flags::Flags,
    options::{MOST_OPTION_BYTES, NOP, PREAMBLE, SACK, SackBlock, TcpOption},
    segment::Segment,
};
use crate::proto::net::SeqNumber;

/// The offset of the total length in an IPv4 header.
const IPV4_LENGTH: usize = 2;
/// The offset of the payload length in an IPv6 header.
const IPV6_LENGTH: usize = 4;
/// The offsets of the fields of a TCP header that change.
const TCP_SEQ: usize = 4;
const TCP_ACK: usize = 8;
const TCP_FLAGS: usize = 13;
const TCP_URGENT: usize = 18;

/// The fields of a copy that differ from the packet.
#[derive(Clone, Copy)]
pub struct Change<'b> {
    /// The position of its first byte.
    pub seq: SeqNumber,
    /// The acknowledgement number; `None` without the ACK flag.
    pub ack: Option<SeqNumber>,
    /// The bytes of the stream.
    pub payload: &'b [u8],
    /// The control bits except ACK.
    pub flags: Flags,
    /// The urgent pointer.
    pub urgent_pointer: u16,
    /// Maps each SACK block. A block that becomes `None` is removed, and NOPs fill its place.
    pub sack: &'b dyn Fn(SackBlock) -> Option<SackBlock>,
}

impl<'b> Change<'b> {
    /// A copy that does not differ from `segment`, as the base for a struct update.
    #[must_use]
    pub fn none(segment: &Segment<'b>) -> Self {
        Self {
            seq: segment.seq,
            ack: segment.ack,
            payload: segment.payload,
            flags: segment.flags,
            urgent_pointer: segment.urgent_pointer,
            sack: &Some,
        }
    }
}

/// A copy of the segment's packet with `change`, and with correct lengths and checksums. All other
/// fields of its headers stay, also the IPv4 identification.
///
/// # Errors
///
/// [`PacketError::TooLong`] where the copy is longer than the longest IP packet.
pub fn rebuild(segment: &Segment<'_>, change: &Change<'_>) -> Result<Vec<u8>, PacketError> {
    let headers = segment.packet().get(..segment.headers_len());
    let mut packet = [headers.unwrap_or_default(), change.payload].concat();
    write_length(&mut packet, segment)?;
    write_tcp_fields(&mut packet, segment.network_header_len(), change);
    write_sack(&mut packet, segment, change.sack);
    checksum::write(&mut packet, segment.network_header_len());
    Ok(packet)
}

fn write_length(packet: &mut [u8], segment: &Segment<'_>) -> Result<(), PacketError> {
    let (field, counted) = if segment.tuple.source.is_ipv4() {
        (IPV4_LENGTH, packet.len())
    } else {
        let header = etherparse::Ipv6Header::LEN;
        (IPV6_LENGTH, packet.len().saturating_sub(header))
    };
    let length = u16::try_from(counted).map_err(|_| PacketError::TooLong)?;
    put(packet, field, length.to_be_bytes());
    Ok(())
}

fn write_tcp_fields(packet: &mut [u8], tcp_start: usize, change: &Change<'_>) {
    let tcp = packet.get_mut(tcp_start..).unwrap_or_default();
    let flags = match change.ack {
        Some(_) => change.flags | Flags::ACK,
        None => change.flags.difference(Flags::ACK),
    };
    put(tcp, TCP_SEQ, change.seq.0.to_be_bytes());
    put(tcp, TCP_ACK, change.ack.unwrap_or_default().0.to_be_bytes());
    put(tcp, TCP_FLAGS, [flags.bits()]);
    put(tcp, TCP_URGENT, change.urgent_pointer.to_be_bytes());
}

fn write_sack(
    packet: &mut [u8],
    segment: &Segment<'_>,
    map: &dyn Fn(SackBlock) -> Option<SackBlock>,
) {
    let options = packet
        .get_mut(segment.options_start()..)
        .unwrap_or_default();
    for option in segment.options().sacks() {
        write_sack_option(options, option, map);
    }
}

/// Maps the blocks of an option. The remaining blocks move to the front of its place. Without any,
/// the whole option becomes NOPs.
fn write_sack_option(
    options: &mut [u8],
    option: TcpOption<'_>,
    map: &dyn Fn(SackBlock) -> Option<SackBlock>,
) {
    let mut mapped = [0; MOST_OPTION_BYTES];
    let mut kept = 0_usize;
    for (block, slot) in option
        .sack_blocks()
        .filter_map(map)
        .zip(mapped.chunks_mut(8))
    {
        put(slot, 0, block.encode());
        kept = kept.saturating_add(8);
    }
    let start = option.body_start.saturating_sub(PREAMBLE);
    let rest = options.get_mut(start..).unwrap_or_default();
    let length = option.body.len().saturating_add(PREAMBLE);
    let slot = rest.get_mut(..length).unwrap_or_default();
    slot.fill(NOP);
    if kept == 0 {
        return;
    }
    let shorter = u8::try_from(kept.saturating_add(PREAMBLE)).unwrap_or(u8::MAX);
    let spelled = [SACK, shorter]
        .into_iter()
        .chain(mapped)
        .take(usize::from(shorter));
    for (target, byte) in slot.iter_mut().zip(spelled) {
        *target = byte;
    }
}
