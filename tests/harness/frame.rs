//! Packets as values, and their bytes, without the code of `proto::packet`, which is under test.

use std::net::{IpAddr, SocketAddr};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;

/// A TCP segment in an IP packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Frame {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamps: Option<(u32, u32)>,
    pub(crate) sack: Vec<(u32, u32)>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source,
            destination,
            seq: 0,
            ack: 0,
            flags: ACK,
            window: 0xffff,
            urgent: 0,
            mss: None,
            scale: None,
            sack_permitted: false,
            timestamps: None,
            sack: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The length of its part of the sequence space.
    pub(crate) fn sequence_len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let tcp = self.encode_tcp();
        let mut packet = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, 0];
                header.extend(((tcp.len() + 20) as u16).to_be_bytes());
                header.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = !fold(words(&header));
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0x60, 0, 0, 0];
                header.extend((tcp.len() as u16).to_be_bytes());
                header.extend([6, 64]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            mixed => panic!("addresses of two families: {mixed:?}"),
        };
        packet.extend(tcp);
        packet
    }

    /// Reads a packet. A fault of it, also of its checksums, fails the test.
    pub(crate) fn decode(packet: &[u8]) -> Self {
        let (source, destination, tcp) = match packet[0] >> 4 {
            4 => {
                assert_eq!(fold(words(&packet[..20])), 0xffff, "IPv4 checksum");
                let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
                assert_eq!(length, packet.len(), "IPv4 length");
                let source: [u8; 4] = packet[12..16].try_into().unwrap();
                let destination: [u8; 4] = packet[16..20].try_into().unwrap();
                (
                    IpAddr::from(source),
                    IpAddr::from(destination),
                    &packet[20..],
                )
            }
            6 => {
                let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
                assert_eq!(length + 40, packet.len(), "IPv6 length");
                let source: [u8; 16] = packet[8..24].try_into().unwrap();
                let destination: [u8; 16] = packet[24..40].try_into().unwrap();
                (
                    IpAddr::from(source),
                    IpAddr::from(destination),
                    &packet[40..],
                )
            }
            version => panic!("IP version {version}"),
        };
        let sum = pseudo_header(source, destination, tcp.len()) + words(tcp);
        assert_eq!(fold(sum), 0xffff, "TCP checksum");
        let mut frame = Self::new(
            SocketAddr::new(source, u16::from_be_bytes([tcp[0], tcp[1]])),
            SocketAddr::new(destination, u16::from_be_bytes([tcp[2], tcp[3]])),
        );
        frame.decode_tcp(tcp);
        frame
    }

    fn encode_tcp(&self) -> Vec<u8> {
        let options = self.encode_options();
        let mut tcp = Vec::with_capacity(20 + options.len() + self.payload.len());
        tcp.extend(self.source.port().to_be_bytes());
        tcp.extend(self.destination.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.push((((20 + options.len()) / 4) as u8) << 4);
        tcp.push(self.flags);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(options);
        tcp.extend(&self.payload);
        let sum = pseudo_header(self.source.ip(), self.destination.ip(), tcp.len()) + words(&tcp);
        tcp[16..18].copy_from_slice(&(!fold(sum)).to_be_bytes());
        tcp
    }

    fn encode_options(&self) -> Vec<u8> {
        let mut options = Vec::new();
        if let Some(mss) = self.mss {
            options.extend([2, 4]);
            options.extend(mss.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            options.extend([1, 3, 3, scale]);
        }
        if self.sack_permitted {
            options.extend([1, 1, 4, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(value.to_be_bytes());
            options.extend(echo.to_be_bytes());
        }
        if !self.sack.is_empty() {
            options.extend([1, 1, 5, 2 + 8 * self.sack.len() as u8]);
            for (left, right) in &self.sack {
                options.extend(left.to_be_bytes());
                options.extend(right.to_be_bytes());
            }
        }
        options
    }

    fn decode_tcp(&mut self, tcp: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        self.seq = word(4);
        self.ack = word(8);
        self.flags = tcp[13];
        self.window = u16::from_be_bytes([tcp[14], tcp[15]]);
        self.urgent = u16::from_be_bytes([tcp[18], tcp[19]]);
        let header = usize::from(tcp[12] >> 4) * 4;
        self.payload = tcp[header..].to_vec();
        let mut at = 20;
        while at < header {
            let length = match tcp[at] {
                0 => break,
                1 => 1,
                _ => usize::from(tcp[at + 1]),
            };
            // A damaged option ends the list.
            if length == 0 || at + length > header {
                break;
            }
            match tcp[at] {
                2 => self.mss = Some(u16::from_be_bytes([tcp[at + 2], tcp[at + 3]])),
                3 => self.scale = Some(tcp[at + 2]),
                4 => self.sack_permitted = true,
                5 => {
                    let blocks = (at + 2..at + length).step_by(8);
                    self.sack = blocks.map(|at| (word(at), word(at + 4))).collect();
                }
                8 => self.timestamps = Some((word(at + 2), word(at + 6))),
                _ => {}
            }
            at += length;
        }
    }
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} > {} flags {:02x} seq {} ack {} win {} sack {:?} ts {:?} {:?}",
            self.source,
            self.destination,
            self.flags,
            self.seq,
            self.ack,
            self.window,
            self.sack,
            self.timestamps,
            String::from_utf8_lossy(&self.payload)
        )
    }
}

fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> u64 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            words(&source.octets()) + words(&destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            words(&source.octets()) + words(&destination.octets())
        }
        mixed => panic!("addresses of two families: {mixed:?}"),
    };
    addresses + 6 + length as u64
}

fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
