//! The control bits of a TCP header.

use bitflags::bitflags;

bitflags! {
    /// The control bits of a TCP segment, as in the octet of its header (RFC 9293 §3.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u8 {
        /// The sender has no more data.
        const FIN = 0x01;
        /// Synchronise sequence numbers.
        const SYN = 0x02;
        /// Reset the connection.
        const RST = 0x04;
        /// Push.
        const PSH = 0x08;
        /// The acknowledgment field is significant.
        const ACK = 0x10;
        /// The urgent pointer is significant.
        const URG = 0x20;
        /// ECN echo (RFC 3168).
        const ECE = 0x40;
        /// Congestion window reduced (RFC 3168).
        const CWR = 0x80;
    }
}

impl Flags {
    /// Whether FIN is set.
    #[must_use]
    pub const fn is_fin(self) -> bool {
        self.contains(Self::FIN)
    }

    /// Whether SYN is set.
    #[must_use]
    pub const fn is_syn(self) -> bool {
        self.contains(Self::SYN)
    }

    /// Whether RST is set.
    #[must_use]
    pub const fn is_rst(self) -> bool {
        self.contains(Self::RST)
    }

    /// Whether PSH is set.
    #[must_use]
    pub const fn is_psh(self) -> bool {
        self.contains(Self::PSH)
    }

    /// Whether ACK is set.
    #[must_use]
    pub const fn is_ack(self) -> bool {
        self.contains(Self::ACK)
    }

    /// Whether URG is set.
    #[must_use]
    pub const fn is_urg(self) -> bool {
        self.contains(Self::URG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_has_its_bit_of_the_header() {
        let flags = Flags::SYN | Flags::ACK;
        assert_eq!(flags, Flags::from_bits_retain(0x12));
        assert!(flags.is_syn() && flags.is_ack() && !flags.is_fin() && !flags.is_rst());
        assert_eq!(flags.difference(Flags::SYN), Flags::ACK);
        assert_eq!(Flags::all().bits(), 0xff, "each bit has a name");
    }
}
