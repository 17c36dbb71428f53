//! The bits of the conntrack label that are ours.
//!
//! Each conntrack entry has a label of 128 bits besides its 32-bit mark. Operators copy the mark to
//! packets and route by it, so a bit of ours in it would change a connection's way. Nobody copies
//! the label.

use std::ops::BitOr;

use serde::Deserialize;

/// How many bits a label has (`NF_CT_LABELS_MAX_SIZE`).
const BITS: usize = 128;

/// The bits of a word of the kernel's bitmap.
const WORD_BITS: usize = usize::BITS as usize;

/// The number of a bit of a connection's label, 0 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct LabelBit(u8);

/// A connection's label: bits that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label([u8; BITS / 8]);

/// The bits of the conntrack label that are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// A data connection that was expected.
    pub data: LabelBit,
    /// A control connection with a sequence offset.
    pub adjust: LabelBit,
    /// A control connection that went encrypted.
    pub opaque: LabelBit,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            data: LabelBit(125),
            adjust: LabelBit(126),
            opaque: LabelBit(127),
        }
    }
}

impl LabelBit {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<i64> for LabelBit {
    type Error = String;

    fn try_from(written: i64) -> Result<Self, String> {
        let number = u8::try_from(written).ok();
        let bit = number.filter(|number| usize::from(*number) < BITS);
        bit.map(Self)
            .ok_or_else(|| format!("{written} is not the number of a label's bit, 0 to 127"))
    }
}

impl Label {
    /// No bit.
    pub const NONE: Self = Self([0; BITS / 8]);

    /// Reads it as the kernel has it: words of a bitmap, in the byte order of this machine. `None`
    /// if it has another length.
    #[must_use]
    pub fn from_kernel(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As the kernel has it.
    #[must_use]
    pub const fn to_kernel(&self) -> &[u8; BITS / 8] {
        &self.0
    }

    /// Whether the bit is set.
    #[must_use]
    pub fn has(&self, bit: LabelBit) -> bool {
        let Self(bytes) = Self::from(bit);
        bytes.iter().zip(self.0).any(|(bit, ours)| bit & ours != 0)
    }
}

impl From<LabelBit> for Label {
    fn from(LabelBit(number): LabelBit) -> Self {
        let number = usize::from(number);
        let mut bytes = [0; BITS / 8];
        let word = 1usize << (number % WORD_BITS);
        bytes[number / WORD_BITS * WORD_BITS / 8..][..WORD_BITS / 8]
            .copy_from_slice(&word.to_ne_bytes());
        Self(bytes)
    }
}

impl BitOr for Label {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self((u128::from_ne_bytes(self.0) | u128::from_ne_bytes(other.0)).to_ne_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(number: i64) -> LabelBit {
        LabelBit::try_from(number).unwrap()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_bit_stands_where_the_kernel_looks_for_it() {
        let label = Label::from(bit(0)) | Label::from(bit(9)) | Label::from(bit(127));
        let mut bytes = [0; 16];
        (bytes[0], bytes[1], bytes[15]) = (0x01, 0x02, 0x80);
        assert_eq!(label.to_kernel(), &bytes);
        assert_eq!(Label::from_kernel(&bytes), Some(label));
    }

    #[test]
    fn a_label_has_the_bits_it_is_made_of_and_no_other() {
        let label = Label::from(bit(3)) | Label::from(bit(64));
        let found: Vec<i64> = (0..128).filter(|number| label.has(bit(*number))).collect();
        assert_eq!(found, [3, 64]);
    }

    #[test]
    fn what_is_no_bit_is_refused() {
        for number in [-1, 128, 256 + 3] {
            assert!(LabelBit::try_from(number).is_err());
        }
        assert_eq!(Label::from_kernel(&[0; 8]), None);
    }
}
