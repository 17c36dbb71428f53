//! The blocks of both formats as frames: bytes of some link type, captured at some time.
//!
//! A classic pcap file has one interface, which its header describes. A pcapng file has sections of
//! either byte order, each with interfaces of its own (draft-ietf-opsawg-pcapng).

use std::time::Duration;

use pcap_parser::{
    Block, InterfaceDescriptionBlock, LegacyPcapBlock, PcapBlockOwned, PcapHeader, UnknownBlock,
    traits::PcapNGPacketBlock,
};

/// The Packet Block that older programs wrote; obsolete, but its frames count.
const PACKET_BLOCK: u32 = 2;

/// Octets of its header: interface, drop count, time, captured and original length.
const PACKET_BLOCK_HEADER: usize = 20;

/// The obsolete packet block has 16 bits for an interface.
const MAX_INTERFACES: usize = 1 << 16;

/// The link type's field has the length of a frame check sequence in its upper bits
/// (draft-ietf-opsawg-pcap).
const LINK_TYPE_BITS: u32 = 0x0000_ffff;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A frame as both formats know it.
pub(super) struct CapturedFrame<'a> {
    pub(super) link_type: u32,
    pub(super) timestamp: Duration,
    pub(super) data: &'a [u8],
}

/// What must be remembered between blocks.
#[derive(Default)]
pub(super) struct Section {
    /// Whether the numbers of this section are big-endian.
    pub(super) is_big_endian: bool,
    interfaces: Vec<Interface>,
    /// A simple packet block has no time: it is taken to be as late as the frame before it.
    latest: Duration,
}

/// What a packet block's interface number stands for.
struct Interface {
    link_type: u32,
    snapshot_length: u32,
    ticks_per_second: u64,
    offset_seconds: i64,
}

/// A packet of either format, before its interface is looked up.
struct Packet<'a> {
    interface: usize,
    ticks: Option<u64>,
    data: &'a [u8],
}

impl Section {
    /// The frame in a block, if the block is one that has a frame.
    ///
    /// # Errors
    /// Says what is wrong with the block.
    pub(super) fn frame<'a>(
        &mut self,
        block: &PcapBlockOwned<'a>,
    ) -> Result<Option<CapturedFrame<'a>>, &'static str> {
        let packet = match block {
            PcapBlockOwned::LegacyHeader(header) => return self.begin_classic(header),
            PcapBlockOwned::Legacy(record) => Some(self.record(record)),
            PcapBlockOwned::NG(block) => self.packet(block)?,
        };
        packet.map(|packet| self.timed(packet)).transpose()
    }

    fn begin_classic<T>(&mut self, header: &PcapHeader) -> Result<Option<T>, &'static str> {
        self.is_big_endian = header.is_bigendian();
        let is_nanoseconds = header.is_nanosecond_precision();
        self.interfaces.push(Interface {
            link_type: header.network.0.cast_unsigned() & LINK_TYPE_BITS,
            snapshot_length: header.snaplen,
            ticks_per_second: if is_nanoseconds {
                NANOS_PER_SEC
            } else {
                1_000_000
            },
            offset_seconds: 0,
        });
        Ok(None)
    }

    fn record<'a>(&self, record: &LegacyPcapBlock<'a>) -> Packet<'a> {
        let second = self
            .interfaces
            .first()
            .map_or(0, |one| one.ticks_per_second);
        let ticks = u64::from(record.ts_sec) * second + u64::from(record.ts_usec);
        Packet {
            interface: 0,
            ticks: Some(ticks),
            data: record.data,
        }
    }

    fn packet<'a>(&mut self, block: &Block<'a>) -> Result<Option<Packet<'a>>, &'static str> {
        match block {
            Block::SectionHeader(header) => {
                self.interfaces.clear();
                self.is_big_endian = header.big_endian();
                Ok(None)
            }
            Block::InterfaceDescription(interface) => self.describe(interface).map(|()| None),
            Block::EnhancedPacket(packet) => {
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let data = packet.data.get(..packet.caplen as usize);
                let data = data.ok_or("is shorter than its frame")?;
                Ok(Some(Packet {
                    interface: packet.if_id as usize,
                    ticks: Some(ticks),
                    data,
                }))
            }
            Block::SimplePacket(packet) => {
                let data = packet.data.get(..self.simple_length(packet.orig_len()));
                Ok(Some(Packet {
                    interface: 0,
                    ticks: None,
                    data: data.ok_or("is shorter than its frame")?,
                }))
            }
            Block::Unknown(block) if self.native(block.block_type) == PACKET_BLOCK => {
                self.obsolete_packet(block).map(Some)
            }
            Block::NameResolution(_)
            | Block::InterfaceStatistics(_)
            | Block::SystemdJournalExport(_)
            | Block::DecryptionSecrets(_)
            | Block::ProcessInformation(_)
            | Block::Custom(_)
            | Block::Unknown(_) => Ok(None),
        }
    }

    fn describe(&mut self, block: &InterfaceDescriptionBlock<'_>) -> Result<(), &'static str> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err("is one interface too many");
        }
        self.interfaces.push(Interface {
            link_type: block.linktype.0.cast_unsigned(),
            snapshot_length: block.snaplen,
            ticks_per_second: ticks_per_second(block.if_tsresol)
                .ok_or("has an impossible clock")?,
            // pcap-parser 0.17 reads this option as little-endian whatever the section is.
            offset_seconds: if self.is_big_endian {
                block.if_tsoffset.swap_bytes()
            } else {
                block.if_tsoffset
            },
        });
        Ok(())
    }

    /// A simple packet block is of the section's first interface and as long as that one captures.
    fn simple_length(&self, original_length: u32) -> usize {
        let limit = self.interfaces.first().map_or(0, |one| one.snapshot_length);
        let limit = if limit == 0 { u32::MAX } else { limit };
        original_length.min(limit) as usize
    }

    fn obsolete_packet<'a>(&self, block: &UnknownBlock<'a>) -> Result<Packet<'a>, &'static str> {
        let Some((header, data)) = block.data.split_first_chunk::<PACKET_BLOCK_HEADER>() else {
            return Err("is too short for a packet");
        };
        let number = |at: usize| self.number(std::array::from_fn(|index| header[at + index]));
        let interface = self.number([header[0], header[1], header[0], header[1]]) & 0xffff;
        let ticks = u64::from(number(4)) << 32 | u64::from(number(8));
        let data = data.get(..number(12) as usize);
        let data = data.ok_or("is shorter than its frame")?;
        Ok(Packet {
            interface: interface as usize,
            ticks: Some(ticks),
            data,
        })
    }

    fn timed<'a>(&mut self, packet: Packet<'a>) -> Result<CapturedFrame<'a>, &'static str> {
        let Some(interface) = self.interfaces.get(packet.interface) else {
            return Err("is of an interface that was not described");
        };
        let time = packet.ticks.map(|ticks| interface.time(ticks));
        self.latest = time.unwrap_or(self.latest);
        Ok(CapturedFrame {
            link_type: interface.link_type,
            timestamp: self.latest,
            data: packet.data,
        })
    }

    /// Four octets of this section as a number.
    pub(super) fn number(&self, octets: [u8; 4]) -> u32 {
        if self.is_big_endian {
            u32::from_be_bytes(octets)
        } else {
            u32::from_le_bytes(octets)
        }
    }

    /// The parser reads a block's type as little-endian in either byte order.
    fn native(&self, block_type: u32) -> u32 {
        self.number(block_type.to_le_bytes())
    }
}

impl Interface {
    /// The time since 1970; what lies before it counts as its beginning.
    fn time(&self, ticks: u64) -> Duration {
        let seconds = (ticks / self.ticks_per_second).saturating_add_signed(self.offset_seconds);
        let fraction = u128::from(ticks % self.ticks_per_second) * u128::from(NANOS_PER_SEC);
        let nanoseconds = u64::try_from(fraction / u128::from(self.ticks_per_second));
        let nanoseconds = Duration::from_nanos(nanoseconds.unwrap_or(0));
        Duration::from_secs(seconds).saturating_add(nanoseconds)
    }
}

/// `if_tsresol`: a negative power of 2 where the top bit is set, else of 10. pcap-parser 0.17 takes
/// no power of 2.
fn ticks_per_second(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent)
}
