//! Writes netlink messages.

use std::net::IpAddr;

use super::{HEADER, NESTED, NETFILTER_HEADER, aligned};

/// The type of a message: a subsystem, and a request to it.
#[derive(Clone, Copy, Debug)]
pub struct MessageType {
    /// The subsystem (`NFNL_SUBSYS_*`).
    pub subsystem: u8,
    /// The request (`NFT_MSG_*`, `IPCTNL_MSG_*`, `NFQNL_MSG_*`).
    pub request: u8,
}

/// How a message begins.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Its type.
    pub kind: MessageType,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The address family of `struct nfgenmsg`.
    pub family: u8,
}

impl Head {
    /// A message with no flags.
    #[must_use]
    pub const fn new(kind: MessageType, family: u8) -> Self {
        Self {
            kind,
            flags: 0,
            family,
        }
    }

    /// The same message with these flags as well.
    #[must_use]
    pub const fn with(self, flags: u16) -> Self {
        Self {
            flags: self.flags | flags,
            ..self
        }
    }
}

/// Flags of a message. `NLM_F_REQUEST` is always set, because we send nothing but requests.
pub(crate) mod flags {
    /// The kernel acknowledges the message.
    pub(crate) const ACK: u16 = libc::NLM_F_ACK as u16;
    /// The kernel makes the object if it does not exist.
    pub(crate) const CREATE: u16 = libc::NLM_F_CREATE as u16;
    /// The object must not exist.
    pub(crate) const EXCL: u16 = libc::NLM_F_EXCL as u16;
    /// The answer is a list.
    pub(crate) const DUMP: u16 = libc::NLM_F_DUMP as u16;
}

impl MessageType {
    /// The begin of a batch, which is applied completely or not at all (`NFNL_MSG_BATCH_BEGIN`).
    pub const BATCH_BEGIN: Self = Self {
        subsystem: 0,
        request: 0x10,
    };
    /// The end of a batch (`NFNL_MSG_BATCH_END`).
    pub const BATCH_END: Self = Self {
        subsystem: 0,
        request: 0x11,
    };

    const fn to_wire(self) -> u16 {
        u16::from_be_bytes([self.subsystem, self.request])
    }
}

/// Octets of a message's header before its flags.
const FLAGS_AT: usize = 6;

/// A buffer of one or more messages, reused from request to request.
#[derive(Debug, Default)]
pub struct MessageBuffer {
    bytes: Vec<u8>,
    message: usize,
}

impl MessageBuffer {
    /// Forgets its messages and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.message = 0;
    }

    /// The messages written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins a message; attributes written from now on belong to it.
    ///
    /// `family` and `resource` are fields of `struct nfgenmsg`. Their meaning depends on the
    /// subsystem.
    pub fn begin(
        &mut self,
        kind: MessageType,
        flags: u16,
        sequence: u32,
        family: u8,
        resource: u16,
    ) {
        self.message = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_wire().to_ne_bytes());
        let flags = flags | libc::NLM_F_REQUEST as u16;
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        debug_assert_eq!(self.bytes.len() - self.message, HEADER + NETFILTER_HEADER);
        self.update_length();
    }

    /// Asks for an acknowledgement of the message begun last.
    pub(crate) fn acknowledge(&mut self) {
        let at = self.message + FLAGS_AT;
        let [low, high] = [self.bytes[at], self.bytes[at + 1]];
        let flags = u16::from_ne_bytes([low, high]) | flags::ACK;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
    }

    /// Adds octets that belong to the message's own header.
    pub(crate) fn put_raw(&mut self, octets: &[u8]) {
        self.bytes.extend_from_slice(octets);
        self.update_length();
    }

    /// Adds an attribute whose value is the concatenation of `parts`.
    pub fn put_parts(&mut self, attribute: u16, parts: &[&[u8]]) {
        let start = self.open(attribute);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.close(start);
    }

    /// Adds an attribute.
    pub fn put(&mut self, attribute: u16, value: &[u8]) {
        self.put_parts(attribute, &[value]);
    }

    /// Adds an attribute of addresses, one behind the other, and what follows them.
    pub fn put_addresses(&mut self, attribute: u16, addresses: &[IpAddr], rest: &[&[u8]]) {
        let start = self.open(attribute);
        for address in addresses {
            match address {
                IpAddr::V4(address) => self.bytes.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => self.bytes.extend_from_slice(&address.octets()),
            }
        }
        rest.iter()
            .for_each(|part| self.bytes.extend_from_slice(part));
        self.close(start);
    }

    /// Adds a string attribute, with the terminating zero that the kernel expects.
    pub fn put_name(&mut self, attribute: u16, name: &str) {
        self.put_parts(attribute, &[name.as_bytes(), &[0]]);
    }

    /// Adds a number in network order.
    pub fn put_u32(&mut self, attribute: u16, value: u32) {
        self.put(attribute, &value.to_be_bytes());
    }

    /// Adds an attribute that contains what `write` writes.
    pub fn nest(&mut self, attribute: u16, write: impl FnOnce(&mut Self)) {
        let start = self.open(attribute | NESTED);
        write(self);
        self.close(start);
    }

    fn open(&mut self, attribute: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&attribute.to_ne_bytes());
        start
    }

    /// Writes the length of the attribute, without its padding, and the length of the message.
    fn close(&mut self, start: usize) {
        let length = self.bytes.len() - start;
        let length = u16::try_from(length).expect("we write no attribute of 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(aligned(self.bytes.len()), 0);
        self.update_length();
    }

    fn update_length(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.message).expect("a message is small");
        self.bytes[self.message..self.message + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::netlink::{Attributes, Messages};

    #[test]
    fn what_is_written_can_be_read_back() {
        let mut buffer = MessageBuffer::default();
        for sequence in [7, 8] {
            buffer.begin(
                MessageType {
                    subsystem: 10,
                    request: 3,
                },
                1,
                sequence,
                2,
                0,
            );
            buffer.put_name(1, "abcd");
            buffer.nest(2, |inner| inner.put_u32(5, 0x0102_0304));
        }
        let messages: Vec<_> = Messages::new(buffer.as_bytes()).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1].sequence, 8);
        let attributes: Vec<_> = messages[1].attributes().collect();
        assert_eq!(attributes[0], (1, &b"abcd\0"[..]));
        let inner: Vec<_> = Attributes::new(attributes[1].1).collect();
        assert_eq!(inner, [(5, &[1, 2, 3, 4][..])]);
    }

    #[test]
    fn the_last_message_of_several_is_acknowledged() {
        let mut buffer = MessageBuffer::default();
        for sequence in [1, 2] {
            buffer.begin(MessageType::BATCH_BEGIN, flags::EXCL, sequence, 0, 0);
            buffer.put_u32(1, 0);
        }
        buffer.acknowledge();
        let of_message = |at: usize| [buffer.as_bytes()[at + 6], buffer.as_bytes()[at + 7]];
        let request = libc::NLM_F_REQUEST as u16 | flags::EXCL;
        assert_eq!(of_message(0), request.to_ne_bytes());
        assert_eq!(of_message(28), (request | flags::ACK).to_ne_bytes());
    }

    #[test]
    fn lengths_leave_out_the_padding_of_the_value_but_not_of_the_message() {
        let mut buffer = MessageBuffer::default();
        buffer.begin(MessageType::BATCH_BEGIN, 0, 0, 0, 10);
        buffer.put(1, &[9]);
        assert_eq!(buffer.as_bytes().len(), 28);
        assert_eq!(&buffer.as_bytes()[0..4], &28u32.to_ne_bytes());
        assert_eq!(&buffer.as_bytes()[20..22], &5u16.to_ne_bytes());
    }
}
