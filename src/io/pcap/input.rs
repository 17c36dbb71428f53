//! A file read block by block, with bounded memory and a known position.

use std::io::{self, Read};

use super::CaptureError;

/// The longest block Wireshark takes (`MAX_BLOCK_SIZE`, wiretap/pcapng.c): 16 MiB. A block that
/// claims more is damage, not data.
const MAX_BLOCK: u32 = 16 << 20;

/// How much of what was asked for was there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// All of it.
    Whole,
    /// Nothing: the file ends here.
    Nothing,
    /// Some: the file ends within.
    Cut,
}

/// The source and the one block of it that is in memory.
pub(super) struct Input<'a> {
    source: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    block_offset: u64,
}

impl<'a> Input<'a> {
    pub(super) fn new(source: impl Read + 'a) -> Self {
        Self {
            source: Box::new(source),
            buffer: Vec::new(),
            block_offset: 0,
        }
    }

    /// The block read so far.
    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Forgets the block and begins the next with its first `length` bytes.
    pub(super) fn begin_block(&mut self, length: u32) -> io::Result<Fill> {
        self.block_offset += self.buffer.len() as u64;
        self.buffer.clear();
        self.extend(length)
    }

    /// Reads `length` more bytes of the block, which must be there.
    pub(super) fn extend_block(&mut self, length: u32, frame: u64) -> Result<(), CaptureError> {
        if length > MAX_BLOCK {
            return Err(CaptureError::TooLong {
                frame,
                offset: self.block_offset,
                length,
            });
        }
        match self.extend(length)? {
            Fill::Whole => Ok(()),
            Fill::Nothing | Fill::Cut => Err(self.cut(frame)),
        }
    }

    /// The file ends within this block.
    pub(super) fn cut(&self, frame: u64) -> CaptureError {
        CaptureError::Cut {
            frame,
            offset: self.block_offset + self.buffer.len() as u64,
        }
    }

    /// This block contradicts itself.
    pub(super) fn malformed(&self, frame: u64, what: &'static str) -> CaptureError {
        CaptureError::Malformed {
            frame,
            offset: self.block_offset,
            what,
        }
    }

    /// `read_to_end` allocates as bytes arrive, so a length that is not there costs nothing.
    fn extend(&mut self, length: u32) -> io::Result<Fill> {
        let wanted = u64::from(length);
        let found = self
            .source
            .by_ref()
            .take(wanted)
            .read_to_end(&mut self.buffer)? as u64;
        Ok(match found {
            0 if wanted > 0 => Fill::Nothing,
            _ if found < wanted => Fill::Cut,
            _ => Fill::Whole,
        })
    }
}
