//! pcapng: sections of either byte order, each with its interfaces, which have a link type and a
//! clock of their own (draft-ietf-opsawg-pcapng).

use std::time::Duration;

use pcap_parser::{
    Block, EnhancedPacketBlock, InterfaceDescriptionBlock, SHB_MAGIC, SimplePacketBlock,
    UnknownBlock, parse_block_be, parse_block_le,
};

use super::{CaptureError, Fill, Input, Record};

/// A block's type and length.
const BLOCK_HEADER: u32 = 8;

/// A block ends with its length once more.
const BLOCK_TRAILER: usize = 4;

/// The byte-order magic that follows a section header's type and length.
const BYTE_ORDER_MAGIC: u32 = 4;

/// The same number read in the wrong byte order is 0x4d3c2b1a.
const BIG_ENDIAN_MAGIC: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];

/// The Packet Block that older programs wrote; obsolete, but its frames count.
const PACKET_BLOCK: u32 = 2;

/// Where an enhanced (and an obsolete) packet block has its frame.
const PACKET_DATA_AT: usize = 28;

/// Where a simple packet block has its frame.
const SIMPLE_PACKET_DATA_AT: usize = 12;

/// The obsolete packet block has 16 bits for an interface.
const MAX_INTERFACES: usize = 1 << 16;

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// What must be remembered between blocks.
#[derive(Default)]
pub(super) struct Ng {
    is_big_endian: bool,
    interfaces: Vec<Interface>,
    /// A simple packet block has no time: it is taken to be as late as the frame before it.
    latest: Duration,
}

/// What a packet block's interface number stands for.
struct Interface {
    link_type: u32,
    snapshot_length: u32,
    clock: Clock,
}

/// How an interface counts time.
#[derive(Clone, Copy)]
struct Clock {
    ticks_per_second: u64,
    offset_seconds: i64,
}

/// A packet block of any of the three kinds, as far as they agree.
struct Packet {
    interface: usize,
    ticks: Option<u64>,
    data_at: usize,
    captured: u32,
}

impl Ng {
    pub(super) fn next_record(
        &mut self,
        input: &mut Input<'_>,
        frame: u64,
    ) -> Result<Option<Record>, CaptureError> {
        while self.read_block(input, frame)? {
            let damaged = |what| input.malformed(frame, what);
            let packet = match self
                .parse(input.buffer())
                .ok_or("is not a block")
                .map_err(damaged)?
            {
                Block::SectionHeader(_) => {
                    self.interfaces.clear();
                    continue;
                }
                Block::InterfaceDescription(block) => {
                    self.record_interface(&block).map_err(damaged)?;
                    continue;
                }
                Block::EnhancedPacket(block) => Packet::from(&block),
                Block::SimplePacket(block) => self.simple_packet(&block),
                Block::Unknown(block) if self.native(block.block_type) == PACKET_BLOCK => {
                    let packet = self.obsolete_packet(&block);
                    packet.ok_or("is too short for a packet").map_err(damaged)?
                }
                Block::NameResolution(_)
                | Block::InterfaceStatistics(_)
                | Block::SystemdJournalExport(_)
                | Block::DecryptionSecrets(_)
                | Block::ProcessInformation(_)
                | Block::Custom(_)
                | Block::Unknown(_) => continue,
            };
            return self
                .frame_of(&packet, input.buffer().len())
                .map(Some)
                .map_err(damaged);
        }
        Ok(None)
    }

    /// Reads the next block whole; `false` at the end of the file.
    fn read_block(&mut self, input: &mut Input<'_>, frame: u64) -> Result<bool, CaptureError> {
        match input.begin_block(BLOCK_HEADER)? {
            Fill::Nothing => return Ok(false),
            Fill::Cut => return Err(input.cut(frame)),
            Fill::Whole => {}
        }
        if word(input.buffer(), 0) == SHB_MAGIC.to_le_bytes() {
            input.extend_block(BYTE_ORDER_MAGIC, frame)?;
            self.is_big_endian = word(input.buffer(), 8) == BIG_ENDIAN_MAGIC;
        }
        let length = self.number(word(input.buffer(), 4));
        let read = u32::try_from(input.buffer().len()).unwrap_or(u32::MAX);
        let Some(rest) = length.checked_sub(read) else {
            return Err(input.malformed(frame, "is shorter than its own header"));
        };
        input.extend_block(rest, frame)?;
        Ok(true)
    }

    /// The block is whole, so anything the parser still asks for is a length that is wrong.
    fn parse<'a>(&self, block: &'a [u8]) -> Option<Block<'a>> {
        let parse = if self.is_big_endian {
            parse_block_be
        } else {
            parse_block_le
        };
        parse(block).ok().map(|(_, block)| block)
    }

    fn record_interface(
        &mut self,
        block: &InterfaceDescriptionBlock<'_>,
    ) -> Result<(), &'static str> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err("is one interface too many");
        }
        let ticks_per_second = ticks_per_second(block.if_tsresol);
        self.interfaces.push(Interface {
            link_type: block.linktype.0.cast_unsigned(),
            snapshot_length: block.snaplen,
            clock: Clock {
                ticks_per_second: ticks_per_second.ok_or("has an impossible clock")?,
                // pcap-parser 0.17 reads this option as little-endian whatever the section is.
                offset_seconds: if self.is_big_endian {
                    block.if_tsoffset.swap_bytes()
                } else {
                    block.if_tsoffset
                },
            },
        });
        Ok(())
    }

    /// A simple packet block is of the section's first interface and as long as that one captures.
    fn simple_packet(&self, block: &SimplePacketBlock<'_>) -> Packet {
        let snapshot_length = match self.interfaces.first() {
            Some(interface) if interface.snapshot_length != 0 => interface.snapshot_length,
            _ => u32::MAX,
        };
        Packet {
            interface: 0,
            ticks: None,
            data_at: SIMPLE_PACKET_DATA_AT,
            captured: block.origlen.min(snapshot_length),
        }
    }

    /// Interface and drop count (16 bits each), time, captured and original length, frame.
    fn obsolete_packet(&self, block: &UnknownBlock<'_>) -> Option<Packet> {
        let header = block.data.first_chunk::<20>()?;
        let [high, low, captured] = [4, 8, 12].map(|at| self.number(word(header, at)));
        let interface = [header[0], header[1]];
        Some(Packet {
            interface: usize::from(if self.is_big_endian {
                u16::from_be_bytes(interface)
            } else {
                u16::from_le_bytes(interface)
            }),
            ticks: Some(u64::from(high) << 32 | u64::from(low)),
            data_at: PACKET_DATA_AT,
            captured,
        })
    }

    fn frame_of(&mut self, packet: &Packet, block_length: usize) -> Result<Record, &'static str> {
        let Some(interface) = self.interfaces.get(packet.interface) else {
            return Err("is of an interface that was not described");
        };
        let data_end = packet.data_at + packet.captured as usize;
        if data_end + BLOCK_TRAILER > block_length {
            return Err("is shorter than its frame");
        }
        let timestamp = packet
            .ticks
            .map_or(self.latest, |ticks| interface.clock.time(ticks));
        self.latest = timestamp;
        Ok(Record {
            link_type: interface.link_type,
            timestamp,
            data: packet.data_at..data_end,
        })
    }

    fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    /// The parser reads a block's type as little-endian in either byte order.
    fn native(&self, block_type: u32) -> u32 {
        self.number(block_type.to_le_bytes())
    }
}

impl From<&EnhancedPacketBlock<'_>> for Packet {
    fn from(block: &EnhancedPacketBlock<'_>) -> Self {
        Self {
            interface: block.if_id as usize,
            ticks: Some(u64::from(block.ts_high) << 32 | u64::from(block.ts_low)),
            data_at: PACKET_DATA_AT,
            captured: block.caplen,
        }
    }
}

impl Clock {
    /// The time since 1970; what lies before it counts as its beginning.
    fn time(self, ticks: u64) -> Duration {
        let seconds = (ticks / self.ticks_per_second).saturating_add_signed(self.offset_seconds);
        let fraction = u128::from(ticks % self.ticks_per_second) * NANOS_PER_SEC;
        let nanoseconds = fraction / u128::from(self.ticks_per_second);
        Duration::from_secs(seconds).saturating_add(Duration::from_nanos(
            u64::try_from(nanoseconds).unwrap_or(0),
        ))
    }
}

/// `if_tsresol`: a negative power of 2 where the top bit is set, else of 10.
fn ticks_per_second(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent)
}

/// Four bytes of a block whose header is known to be there.
fn word(block: &[u8], at: usize) -> [u8; 4] {
    std::array::from_fn(|index| block[at + index])
}
