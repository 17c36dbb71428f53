//! Why a capture cannot be read, or not further.

use std::io;

use pcap_parser::PcapError;

/// Why a capture cannot be read, or not further. Displays without the file's name.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The operating system refused.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// There is not one byte in it.
    #[error("the file is empty; a capture has at least a header")]
    Empty,
    /// It has the magic number of a compressed file.
    #[error("it is compressed; unpack it first (gzip -d, zstd -d, xz -d)")]
    Compressed,
    /// It begins with neither of the two formats' magic numbers.
    #[error("it is neither a pcap nor a pcapng capture")]
    NotACapture,
    /// The file ends before its own header does.
    #[error("it was cut: not even the file's header is whole")]
    CutHeader,
    /// The file ends before `frame` does.
    #[error("it was cut: the file ends in the middle of frame {frame}, at byte {offset}")]
    Cut {
        /// The frame that is not whole.
        frame: u64,
        /// The length of the file.
        offset: u64,
    },
    /// A length field is larger than any capture program writes.
    #[error("it is damaged: the block at byte {offset}, frame {frame}, claims {length} bytes")]
    TooLong {
        /// The frame that would have come next.
        frame: u64,
        /// Where the block begins.
        offset: u64,
        /// The length it claims.
        length: u32,
    },
    /// A block contradicts itself.
    #[error("it is damaged: the block at byte {offset}, frame {frame}, {what}")]
    Malformed {
        /// The frame that would have come next.
        frame: u64,
        /// Where the block begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The capture was read to its end, but not all of its frames could be understood.
    #[error(
        "{frames} frames were not read, their link type {link_type} is not Ethernet, raw IP, \
         Linux cooked, loopback or PPP"
    )]
    UnknownLinkType {
        /// The first such link type.
        link_type: u32,
        /// How many frames had one.
        frames: u64,
    },
}

impl CaptureError {
    /// The reader's refusal of a file's header.
    pub(super) fn of_header(error: PcapError<&[u8]>) -> Self {
        if matches!(error, PcapError::Incomplete(_)) {
            Self::CutHeader
        } else {
            Self::NotACapture
        }
    }
}

/// Whether a file that begins with `magic` is pcapng, rather than pcap.
pub(super) fn recognise(magic: &[u8]) -> Result<bool, CaptureError> {
    match magic {
        [] => Err(CaptureError::Empty),
        [0x0a, 0x0d, 0x0d, 0x0a, ..] => Ok(true),
        // Microseconds, nanoseconds, and Kuznetzov's "modified" variant, whose records are longer.
        [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xd4, 0xc3, 0xb2, 0xa1, ..] => Ok(false),
        [0xa1, 0xb2, 0x3c, 0x4d, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => Ok(false),
        [0x34, 0xcd, 0xb2, 0xa1, ..] => Ok(false),
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd] | [0xfd, b'7', b'z', b'X'] => {
            Err(CaptureError::Compressed)
        }
        _ => Err(CaptureError::NotACapture),
    }
}
