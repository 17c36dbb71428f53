//! The checksums of IPv4 and TCP, over a whole packet.

use etherparse::{IpNumber, checksum::Sum16BitWords};

/// The offset of the checksum in an IPv4 header.
const IPV4_CHECKSUM: usize = 10;
/// The offsets of the addresses in an IPv4 header.
const IPV4_ADDRESSES: std::ops::Range<usize> = 12..20;
/// The offsets of the addresses in an IPv6 header.
const IPV6_ADDRESSES: std::ops::Range<usize> = 8..40;
/// The offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;

/// Whether both checksums are correct.
pub(super) fn are_valid(packet: &[u8], tcp_start: usize) -> bool {
    let network = packet.get(..tcp_start).unwrap_or_default();
    let ip_is_valid = !is_ipv4(packet) || ipv4_sum(network).ones_complement() == 0;
    ip_is_valid && tcp_sum(packet, tcp_start).ones_complement() == 0
}

/// Writes both checksums into a packet whose other fields are final.
pub(super) fn write(packet: &mut [u8], tcp_start: usize) {
    // etherparse sums words in the byte order of this machine, so the sum is stored in it too.
    if is_ipv4(packet) {
        put(packet, IPV4_CHECKSUM, [0; 2]);
        let header = packet.get(..tcp_start).unwrap_or_default();
        let sum = ipv4_sum(header).ones_complement().to_ne_bytes();
        put(packet, IPV4_CHECKSUM, sum);
    }
    let place = tcp_start.saturating_add(TCP_CHECKSUM);
    put(packet, place, [0; 2]);
    let sum = tcp_sum(packet, tcp_start).ones_complement().to_ne_bytes();
    put(packet, place, sum);
}

/// Writes `bytes` at `position`, if the packet is long enough.
pub(super) fn put<const N: usize>(packet: &mut [u8], position: usize, bytes: [u8; N]) {
    let rest = packet.get_mut(position..).unwrap_or_default();
    if let Some(slot) = rest.first_chunk_mut::<N>() {
        *slot = bytes;
    }
}

fn is_ipv4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|byte| byte >> 4 == 4)
}

fn ipv4_sum(header: &[u8]) -> Sum16BitWords {
    // The sum ends with the header's own length. An authentication header may follow before TCP.
    let words = header.first().map_or(0, |byte| usize::from(byte & 0xf));
    let length = words.saturating_mul(4);
    Sum16BitWords::new().add_slice(header.get(..length).unwrap_or_default())
}

/// The sum over the pseudo-header and the segment (RFC 9293 §3.1, RFC 8200 §8.1).
fn tcp_sum(packet: &[u8], tcp_start: usize) -> Sum16BitWords {
    let addresses = if is_ipv4(packet) {
        IPV4_ADDRESSES
    } else {
        IPV6_ADDRESSES
    };
    let segment = packet.get(tcp_start..).unwrap_or_default();
    let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    Sum16BitWords::new()
        .add_slice(packet.get(addresses).unwrap_or_default())
        .add_4bytes(length.to_be_bytes())
        .add_2bytes([0, IpNumber::TCP.0])
        .add_slice(segment)
}
