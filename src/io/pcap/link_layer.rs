//! Link layers: what precedes the IP packet in a frame, and where the packet ends.
//!
//! Link types are the LINKTYPE_ numbers of tcpdump.org, protocols the EtherTypes of IEEE 802.

/// Why a frame gives no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSkip {
    /// It carries something else, such as ARP.
    NotIp,
    /// It was captured with a snapshot length shorter than the packet.
    Truncated,
    /// Its link type (a LINKTYPE_ number of tcpdump.org) is not one that can be read.
    UnknownLinkType(u32),
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const PPPOE_SESSION: u16 = 0x8864;

/// 802.1Q, 802.1ad, and what was used for stacked tags before it.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// `AF_INET` everywhere, and `AF_INET6` of Linux, NetBSD, FreeBSD and macOS.
const IP_FAMILIES: [u32; 5] = [2, 10, 24, 28, 30];

/// The IP packet in a frame of this link type, without what follows it (Ethernet pads to 60 bytes).
pub(super) fn ip_packet(link_type: u32, frame: &[u8]) -> Result<&[u8], FrameSkip> {
    match link_type {
        // Loopback of BSD and macOS: an address family in the byte order of the capturing machine.
        0 | 108 => loopback(frame),
        // Ethernet.
        1 => ether_type(field(frame, 12)?, after(frame, 14)?),
        // PPP, PPP in HDLC framing, PPPoE.
        9 | 50 => ppp(frame),
        51 => ppp_over_ethernet(frame),
        // Raw IP: as tcpdump.org numbers it, as BSDs wrote it, IPv4 only, IPv6 only.
        101 | 12 | 14 | 228 | 229 => trimmed(frame),
        // Linux cooked, version 1 and 2 (the "any" device).
        113 => ether_type(field(frame, 14)?, after(frame, 16)?),
        276 => ether_type(field(frame, 0)?, after(frame, 20)?),
        other => Err(FrameSkip::UnknownLinkType(other)),
    }
}

fn ether_type(mut protocol: u16, mut rest: &[u8]) -> Result<&[u8], FrameSkip> {
    while VLAN_TAGS.contains(&protocol) {
        protocol = field(rest, 2)?;
        rest = after(rest, 4)?;
    }
    match protocol {
        IPV4 | IPV6 => trimmed(rest),
        PPPOE_SESSION => ppp_over_ethernet(rest),
        _ => Err(FrameSkip::NotIp),
    }
}

fn loopback(frame: &[u8]) -> Result<&[u8], FrameSkip> {
    let family = frame.first_chunk().ok_or(FrameSkip::Truncated)?;
    let orders = [u32::from_le_bytes(*family), u32::from_be_bytes(*family)];
    if orders.iter().any(|family| IP_FAMILIES.contains(family)) {
        trimmed(after(frame, 4)?)
    } else {
        Err(FrameSkip::NotIp)
    }
}

/// Version and type, code, session and length precede the PPP frame (RFC 2516 §4).
fn ppp_over_ethernet(frame: &[u8]) -> Result<&[u8], FrameSkip> {
    ppp(after(frame, 6)?)
}

/// Address and control (0xff 0x03) may have been negotiated away (RFC 1661 §6.6).
fn ppp(frame: &[u8]) -> Result<&[u8], FrameSkip> {
    let frame = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
    match field(frame, 0)? {
        0x0021 | 0x0057 => trimmed(after(frame, 2)?),
        _ => Err(FrameSkip::NotIp),
    }
}

/// The packet as long as its header says. A length of zero means a super-segment that was captured
/// before the network card cut it up, or a jumbogram: then it is as long as the frame.
fn trimmed(packet: &[u8]) -> Result<&[u8], FrameSkip> {
    let length = match packet.first().map(|byte| byte >> 4) {
        Some(4) => usize::from(field(with_header(packet, 20)?, 2)?),
        Some(6) => match field(with_header(packet, 40)?, 4)? {
            0 => 0,
            payload => usize::from(payload) + 40,
        },
        Some(_) => return Err(FrameSkip::NotIp),
        None => return Err(FrameSkip::Truncated),
    };
    if length == 0 {
        return Ok(packet);
    }
    packet.get(..length).ok_or(FrameSkip::Truncated)
}

/// The packet itself, if its header is whole.
fn with_header(packet: &[u8], header: usize) -> Result<&[u8], FrameSkip> {
    after(packet, header).map(|_| packet)
}

fn after(bytes: &[u8], length: usize) -> Result<&[u8], FrameSkip> {
    bytes.get(length..).ok_or(FrameSkip::Truncated)
}

fn field(bytes: &[u8], at: usize) -> Result<u16, FrameSkip> {
    after(bytes, at)?
        .first_chunk()
        .map(|bytes| u16::from_be_bytes(*bytes))
        .ok_or(FrameSkip::Truncated)
}
