//! The control bits of a TCP header.

use std::{fmt, ops};

/// The control bits of a TCP segment (RFC 9293 §3.1), as the header's octet has them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is significant.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `other`'s bits are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits without `other`'s.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether FIN is set.
    #[must_use]
    pub const fn is_fin(self) -> bool {
        self.has(Self::FIN)
    }

    /// Whether SYN is set.
    #[must_use]
    pub const fn is_syn(self) -> bool {
        self.has(Self::SYN)
    }

    /// Whether RST is set.
    #[must_use]
    pub const fn is_rst(self) -> bool {
        self.has(Self::RST)
    }

    /// Whether PSH is set.
    #[must_use]
    pub const fn is_psh(self) -> bool {
        self.has(Self::PSH)
    }

    /// Whether ACK is set.
    #[must_use]
    pub const fn is_ack(self) -> bool {
        self.has(Self::ACK)
    }

    /// Whether URG is set.
    #[must_use]
    pub const fn is_urg(self) -> bool {
        self.has(Self::URG)
    }
}

impl ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let bits = (0_u8..8).map(|bit| Self(1_u8.wrapping_shl(u32::from(bit))));
        f.debug_set()
            .entries(
                bits.zip(names)
                    .filter(|(bit, _)| self.has(*bit))
                    .map(|(_, name)| name),
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_is_its_bit_of_the_header() {
        let flags = Flags::SYN | Flags::ACK;
        assert_eq!(flags, Flags(0x12));
        assert!(flags.is_syn() && flags.is_ack() && !flags.is_fin() && !flags.is_rst());
        assert_eq!(flags.without(Flags::SYN), Flags::ACK);
        assert_eq!(format!("{flags:?}"), r#"{"SYN", "ACK"}"#);
    }
}
