//! Captures: pcap and pcapng files as a stream of numbered, timed IP packets.
//!
//! pcap-parser reads the files through a buffer that grows to the longest block, up to 16 MiB. A
//! frame without an IP packet keeps its number and says why it is skipped. Tunnels are not opened:
//! an IPv6 packet inside IPv4 is an IPv4 packet here.
//!
//! A file that is cut or damaged gives all its frames before that place, and then a
//! [`CaptureError`].

mod blocks;
mod capture_error;
mod link_layer;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
    time::Duration,
};

use pcap_parser::{
    LegacyPcapReader, PcapError, PcapNGReader, SHB_MAGIC, traits::PcapReaderIterator,
};

use blocks::{CapturedFrame, Section};
pub use capture_error::CaptureError;
pub use link_layer::FrameSkip;

/// How much of a file is read at once.
const BUFFER: usize = 256 << 10;

/// The longest block Wireshark takes (`MAX_BLOCK_SIZE`, wiretap/pcapng.c): 16 MiB. A block that
/// claims more is damage, not data.
const MAX_BLOCK: u32 = 16 << 20;

/// More than the header of a record of either format.
const HEADER_MAX: usize = 64;

/// A block's type and its length at both ends.
const BLOCK_MIN: u32 = 12;

/// The byte-order magic of a big-endian section, as it stands in the file.
const BIG_ENDIAN_MAGIC: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];

/// One frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its place in the capture, from 1, as other tools number it.
    pub number: u64,
    /// When it was captured, since 1970.
    pub timestamp: Duration,
    /// The IP packet without link header and padding, or why there is none.
    pub data: Result<&'a [u8], FrameSkip>,
}

/// An open capture.
pub struct Capture<'a> {
    reader: Box<dyn PcapReaderIterator + Send + 'a>,
    is_ng: bool,
    section: Section,
    /// The bytes of the frame that was read last.
    frame: Vec<u8>,
    frames: u64,
    unreadable: Option<(u32, u64)>,
}

/// The obstacle that keeps the reader from giving a block.
enum Obstacle {
    Refill,
    Grow,
    Broken,
}

impl Capture<'static> {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// It cannot be opened, or it is not a capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::new(File::open(path)?)
    }
}

impl<'a> Capture<'a> {
    /// Begins to read a capture from `source`.
    ///
    /// # Errors
    /// It cannot be read, or it is not a capture.
    pub fn new(mut source: impl Read + Send + 'a) -> Result<Self, CaptureError> {
        // The reader wants the whole header of the file in its first read.
        let mut head = Vec::new();
        source.by_ref().take(BUFFER as u64).read_to_end(&mut head)?;
        let is_ng = capture_error::recognise(&head)?;
        let source = Cursor::new(head).chain(source);
        let reader: Box<dyn PcapReaderIterator + Send + 'a> = if is_ng {
            Box::new(PcapNGReader::new(BUFFER, source).map_err(CaptureError::of_header)?)
        } else {
            Box::new(LegacyPcapReader::new(BUFFER, source).map_err(CaptureError::of_header)?)
        };
        Ok(Self {
            reader,
            is_ng,
            section: Section::default(),
            frame: Vec::new(),
            frames: 0,
            unreadable: None,
        })
    }

    /// The next frame, or `None` at the end of the capture.
    ///
    /// # Errors
    /// The capture is cut or damaged here, or it has ended and had frames of unknown link types.
    /// There is nothing more to read after an error.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some((link_type, timestamp)) = self.read_frame()? else {
            return self.end();
        };
        self.frames += 1;
        let data = link_layer::ip_packet(link_type, &self.frame);
        if let Err(FrameSkip::UnknownLinkType(link_type)) = data {
            self.unreadable.get_or_insert((link_type, 0)).1 += 1;
        }
        Ok(Some(Frame {
            number: self.frames,
            timestamp,
            data,
        }))
    }

    /// Reads blocks until one has a frame, whose link type and time are returned.
    fn read_frame(&mut self) -> Result<Option<(u32, Duration)>, CaptureError> {
        loop {
            let obstacle = match self.reader.next() {
                Ok((length, block)) => {
                    let found = self.section.frame(&block).map(|found| {
                        let CapturedFrame {
                            link_type,
                            timestamp,
                            data,
                        } = found?;
                        self.frame.clear();
                        self.frame.extend_from_slice(data);
                        Some((link_type, timestamp))
                    });
                    drop(block);
                    let found = found.map_err(|what| self.malformed(what))?;
                    self.reader.consume(length);
                    if found.is_some() {
                        return Ok(found);
                    }
                    continue;
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => Obstacle::Refill,
                Err(PcapError::BufferTooSmall) => Obstacle::Grow,
                Err(_) => Obstacle::Broken,
            };
            self.overcome(obstacle)?;
        }
    }

    fn overcome(&mut self, obstacle: Obstacle) -> Result<(), CaptureError> {
        let claimed = self.claimed_length().unwrap_or(0);
        let is_whole = claimed > 0 && self.reader.data().len() >= claimed as usize;
        match obstacle {
            _ if self.is_ng && (1..BLOCK_MIN).contains(&claimed) => {
                Err(self.malformed("is shorter than its own header"))
            }
            // A block that is there and asks for more contradicts itself.
            _ if self.is_ng && is_whole => Err(self.malformed("is not a block")),
            _ if claimed > MAX_BLOCK => Err(CaptureError::TooLong {
                frame: self.frames + 1,
                offset: self.offset(),
                length: claimed,
            }),
            Obstacle::Refill => self.refill(),
            Obstacle::Grow if self.reader.grow(claimed as usize + HEADER_MAX) => Ok(()),
            Obstacle::Grow | Obstacle::Broken => Err(CaptureError::Cut {
                frame: self.frames + 1,
                offset: self.offset() + self.reader.data().len() as u64,
            }),
        }
    }

    /// The reader does not say why a read failed.
    fn refill(&mut self) -> Result<(), CaptureError> {
        let refilled = self.reader.refill();
        refilled.map_err(|_| io::Error::other("a read failed").into())
    }

    /// The length of the block that comes next, as its header says: of the whole block in pcapng,
    /// of the frame in pcap. `None` where the file has no such header.
    fn claimed_length(&self) -> Option<u32> {
        let data = self.reader.data();
        let word = |at: usize| data.get(at..)?.first_chunk::<4>().copied();
        Some(if !self.is_ng {
            self.section.number(word(8)?)
        } else if word(0)? == SHB_MAGIC.to_le_bytes() {
            let mut next = Section::default();
            next.is_big_endian = word(8)? == BIG_ENDIAN_MAGIC;
            next.number(word(4)?)
        } else {
            self.section.number(word(4)?)
        })
    }

    /// Where the next block begins.
    fn offset(&self) -> u64 {
        self.reader.consumed() as u64
    }

    fn malformed(&self, what: &'static str) -> CaptureError {
        CaptureError::Malformed {
            frame: self.frames + 1,
            offset: self.offset(),
            what,
        }
    }

    fn end(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        match self.unreadable.take() {
            Some((link_type, frames)) => Err(CaptureError::UnknownLinkType { link_type, frames }),
            None => Ok(None),
        }
    }
}
