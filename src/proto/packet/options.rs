//! The options of a TCP header, with their places.

use crate::proto::net::SeqNumber;

const END: u8 = 0;
/// The option without a meaning. It fills the place of removed bytes.
pub(super) const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
/// The blocks of RFC 2018.
pub(super) const SACK: u8 = 5;
/// The timestamps of RFC 7323.
pub(super) const TIMESTAMPS: u8 = 8;
/// The number of bytes of the kind and the length of an option.
pub(super) const PREAMBLE: usize = 2;
/// The most bytes of all options together. The data offset has four bits and counts words
/// (RFC 9293 §3.1), so that a header has at most 60 bytes. 20 of them are fixed.
pub(super) const MOST_OPTION_BYTES: usize = 40;

/// The timestamps option (RFC 7323 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamps {
    /// The value of the sender's clock (TSval).
    pub value: u32,
    /// The echo of the peer's clock (TSecr).
    pub echo: u32,
}

/// A range of bytes that the receiver has, although bytes before it are missing (RFC 2018 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SackBlock {
    /// Its first byte.
    pub left: SeqNumber,
    /// The byte behind its last one.
    pub right: SeqNumber,
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcpOption<'a> {
    pub(super) kind: u8,
    /// The offset of its body in the options.
    pub(super) body_start: usize,
    /// The bytes behind its kind and length.
    pub(super) body: &'a [u8],
}

impl<'a> TcpOption<'a> {
    /// The blocks of a SACK option.
    pub(super) fn sack_blocks(self) -> impl Iterator<Item = SackBlock> + use<'a> {
        let (blocks, _) = self.body.as_chunks::<8>();
        blocks.iter().map(|block| SackBlock::parse(*block))
    }
}

/// An iterator over the options. It ends at their end, or at the first impossible length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options<'a> {
    all: &'a [u8],
    position: usize,
}

impl<'a> Options<'a> {
    pub(super) const fn new(all: &'a [u8]) -> Self {
        Self { all, position: 0 }
    }

    /// The first option of this kind.
    fn find_kind(mut self, kind: u8) -> Option<TcpOption<'a>> {
        self.find(|option| option.kind == kind)
    }

    pub(super) fn timestamps(self) -> Option<Timestamps> {
        let option = self.find_kind(TIMESTAMPS)?;
        let (value, echo) = option.body.split_at_checked(4)?;
        Some(Timestamps {
            value: u32::from_be_bytes(value.try_into().ok()?),
            echo: u32::from_be_bytes(echo.try_into().ok()?),
        })
    }

    /// The SACK options.
    pub(super) fn sacks(self) -> impl Iterator<Item = TcpOption<'a>> {
        // There is one, usually. But a receiver may read a second one, which has to be right too.
        self.filter(|option| option.kind == SACK)
    }

    pub(super) fn mss(self) -> Option<u16> {
        let option = self.find_kind(MSS)?;
        Some(u16::from_be_bytes(option.body.try_into().ok()?))
    }

    pub(super) fn window_scale(self) -> Option<u8> {
        self.find_kind(WINDOW_SCALE)?.body.first().copied()
    }

    pub(super) fn has_sack_permitted(self) -> bool {
        self.find_kind(SACK_PERMITTED).is_some()
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        loop {
            let rest = self.all.get(self.position..)?;
            match *rest {
                [] | [END, ..] => return None,
                [NOP, ..] => self.position = self.position.saturating_add(1),
                [kind, length, ..] => {
                    let length = usize::from(length);
                    let body = rest.get(PREAMBLE..length)?;
                    let body_start = self.position.saturating_add(PREAMBLE);
                    self.position = self.position.saturating_add(length);
                    return Some(TcpOption {
                        kind,
                        body_start,
                        body,
                    });
                }
                [_] => return None,
            }
        }
    }
}

impl SackBlock {
    const fn parse(block: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = block;
        Self {
            left: SeqNumber(u32::from_be_bytes([a, b, c, d])),
            right: SeqNumber(u32::from_be_bytes([e, f, g, h])),
        }
    }

    pub(super) const fn encode(self) -> [u8; 8] {
        let [a, b, c, d] = self.left.0.to_be_bytes();
        let [e, f, g, h] = self.right.0.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }
}
