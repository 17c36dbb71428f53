//! Reads netlink messages. A length that points outside the buffer ends the reading without a
//! panic.

use super::{HEADER, NESTED, NETFILTER_HEADER, aligned};

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// The request it answers.
    pub sequence: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The error number of an answer of type `NLMSG_ERROR`; zero is an acknowledgement.
    #[must_use]
    pub fn error(&self) -> Option<i32> {
        let code = self.body.first_chunk::<4>()?;
        (i32::from(self.kind) == libc::NLMSG_ERROR).then(|| -i32::from_ne_bytes(*code))
    }

    /// Whether it ends a list.
    #[must_use]
    pub fn is_done(&self) -> bool {
        i32::from(self.kind) == libc::NLMSG_DONE
    }

    /// The address family of the netfilter header.
    #[must_use]
    pub fn family(&self) -> Option<u8> {
        self.body.first().copied()
    }

    /// The attributes that follow the netfilter header.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        self.attributes_behind(0)
    }

    /// The attributes that follow so many octets behind the netfilter header, or another
    /// subsystem's header of the same length.
    #[must_use]
    pub(crate) fn attributes_behind(&self, octets: usize) -> Attributes<'a> {
        let start = NETFILTER_HEADER.saturating_add(octets);
        Attributes::new(self.body.get(start..).unwrap_or_default())
    }
}

/// The messages in one received buffer.
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    }
}

/// Attributes: pairs of type and value.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value of the first attribute of this type.
    #[must_use]
    pub fn find(&self, attribute: u16) -> Option<&'a [u8]> {
        self.clone()
            .find_map(|(found, value)| (found == attribute).then_some(value))
    }

    /// The attributes inside the first attribute of this type.
    #[must_use]
    pub fn within(&self, attribute: u16) -> Option<Self> {
        self.find(attribute).map(Attributes::new)
    }

    /// A number in network order.
    #[must_use]
    pub fn u32(&self, attribute: u16) -> Option<u32> {
        self.find(attribute)?
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// A short number in network order.
    #[must_use]
    pub fn u16(&self, attribute: u16) -> Option<u16> {
        self.find(attribute)?
            .first_chunk()
            .map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// A string, without its terminating zero.
    #[must_use]
    pub fn name(&self, attribute: u16) -> Option<&'a str> {
        let bytes = self.find(attribute)?;
        std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [l0, l1, k0, k1] = *self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        // The upper bits say how the value is encoded, not what it is.
        Some((u16::from_ne_bytes([k0, k1]) & !(NESTED | 0x4000), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for length in [0u16, 1, 3, 9, 0xffff] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([1, 0, 7, 7]);
            assert_eq!(Attributes::new(&bytes).count(), 0, "{length}");
        }
        for length in [0u32, 15, 17, u32::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.resize(HEADER, 0);
            assert_eq!(Messages::new(&bytes).count(), 0, "{length}");
        }
    }

    #[test]
    fn every_truncation_of_a_message_is_read_without_panic() {
        let mut buffer = super::super::MessageBuffer::default();
        buffer.begin(super::super::MessageType::BATCH_BEGIN, 0, 1, 0, 0);
        buffer.nest(1, |inner| inner.put(2, b"value"));
        for end in 0..buffer.as_bytes().len() {
            for message in Messages::new(&buffer.as_bytes()[..end]) {
                message.attributes().for_each(drop);
            }
        }
    }
}
