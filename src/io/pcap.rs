//! Captures: pcap and pcapng files as a stream of numbered, timed IP packets.
//!
//! One frame is in memory at a time, and no length in a file makes more be allocated than the file
//! has bytes. Frames that carry no IP packet keep their number and say why they are skipped. Tunnels
//! are not opened: an IPv6 packet inside IPv4 is an IPv4 packet here.
//!
//! What cannot be read ends the stream with a [`CaptureError`] after everything before it was given.

mod classic;
mod error;
mod input;
mod link;
mod ng;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{BufReader, Cursor, Read},
    ops::Range,
    path::Path,
    time::Duration,
};

pub use error::CaptureError;
use input::{Fill, Input};

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

/// An open capture.
pub struct Capture<'a> {
    input: Input<'a>,
    format: Format,
    frames: u64,
    unreadable: Option<(u32, u64)>,
}

enum Format {
    Classic(classic::Classic),
    Ng(ng::Ng),
}

/// A frame as the file formats know it: bytes of some link type.
struct Record {
    link_type: u32,
    timestamp: Duration,
    /// Where its bytes stand in the input's buffer.
    data: Range<usize>,
}

impl Capture<'static> {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// It cannot be opened, or it is not a capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::new(BufReader::new(File::open(path)?))
    }
}

impl<'a> Capture<'a> {
    /// Begins to read a capture from `source`.
    ///
    /// # Errors
    /// It cannot be read, or it is not a capture.
    pub fn new(mut source: impl Read + 'a) -> Result<Self, CaptureError> {
        let mut magic = Vec::new();
        source.by_ref().take(4).read_to_end(&mut magic)?;
        let is_ng = error::recognise(&magic)?;
        let mut input = Input::new(Cursor::new(magic).chain(source));
        let format = if is_ng {
            Format::Ng(ng::Ng::default())
        } else {
            Format::Classic(classic::Classic::begin(&mut input)?)
        };
        Ok(Self {
            input,
            format,
            frames: 0,
            unreadable: None,
        })
    }

    /// The next frame, or `None` at the end of the capture.
    ///
    /// # Errors
    /// The capture is cut or damaged here, or it ended and had frames of unknown link types. There is
    /// nothing more to read after an error.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let next = self.frames + 1;
        let record = match &mut self.format {
            Format::Classic(classic) => classic.next_record(&mut self.input, next)?,
            Format::Ng(ng) => ng.next_record(&mut self.input, next)?,
        };
        let Some(record) = record else {
            return self.end();
        };
        self.frames = next;
        let data = link::ip_packet(record.link_type, &self.input.buffer()[record.data]);
        if let Err(FrameSkip::UnknownLinkType(link_type)) = data {
            self.unreadable.get_or_insert((link_type, 0)).1 += 1;
        }
        Ok(Some(Frame {
            number: next,
            timestamp: record.timestamp,
            data,
        }))
    }

    fn end(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        match self.unreadable.take() {
            Some((link_type, frames)) => Err(CaptureError::UnknownLinkType { link_type, frames }),
            None => Ok(None),
        }
    }
}
