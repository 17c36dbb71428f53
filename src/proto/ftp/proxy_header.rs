//! The header with which a load balancer tells a server who its client is (PROXY protocol, versions
//! 1 and 2, of HAProxy). It stands before everything that the client says, and is no FTP.

use proxy_header::{Error, ParseConfig, ProxyHeader as Parsed};

use super::first_words::is_command_shaped;

/// The longest header that is read, in bytes: addresses, and what a load balancer adds to them.
const HEADER_MAX: usize = 1024;

/// What begins a header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The part of the signature that no line of FTP begins with.
const SIGNATURE_MIN: usize = 5;

/// What a client's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// No header.
    None,
    /// A header whose end has not come.
    Begun,
    /// A header, and its length in bytes.
    Whole(usize),
}

impl ProxyHeader {
    /// Looks for a header at the start of what a client says.
    ///
    /// A server that does not know the protocol reads the header as lines. So one of version 2 that
    /// would hide a command from us is none.
    #[must_use]
    pub fn find(start: &[u8]) -> Self {
        let signature = start.len().min(SIGNATURE.len());
        let is_binary =
            signature >= SIGNATURE_MIN && start.get(..signature) == SIGNATURE.get(..signature);
        if !is_binary && !start.starts_with(b"PROXY ") {
            return Self::None;
        }
        // The first line of a header of version 1 is all of it.
        let may_go_on = start.len() < HEADER_MAX && (is_binary || !start.contains(&b'\n'));
        let length = match Parsed::parse(start, ParseConfig::default()) {
            Ok((_, length)) => length,
            Err(Error::BufferTooShort) if may_go_on => return Self::Begun,
            Err(_) => return Self::None,
        };
        let hides_command =
            is_binary && start.get(SIGNATURE.len()..length).is_some_and(has_command);
        if length > HEADER_MAX || hides_command {
            return Self::None;
        }
        Self::Whole(length)
    }
}

/// Whether a server could read a command in these bytes.
fn has_command(bytes: &[u8]) -> bool {
    bytes
        .split(|byte| matches!(*byte, b'\n' | b'\r'))
        .any(|line| !line.trim_ascii().is_empty() && is_command_shaped(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2 for TCP over IPv4 with these bytes behind its addresses.
    fn binary(more: &[u8]) -> Vec<u8> {
        let length = (12 + more.len()) as u16;
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&[0x21, 0x11]);
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&[192, 0, 2, 2, 10, 10, 0, 5, 0x9c, 0x41, 0, 21]);
        header.extend_from_slice(more);
        header
    }

    #[test]
    fn a_header_is_found_with_its_length() {
        let text = b"PROXY TCP4 192.0.2.2 198.51.100.7 40001 21\r\n";
        let whole = |header: &[u8]| {
            let with_more = [header, b"USER ann\r\n"].concat();
            (ProxyHeader::find(header), ProxyHeader::find(&with_more))
        };
        let found = ProxyHeader::Whole(text.len());
        assert_eq!(whole(text), (found, found));
        // A TLV of the type 3 (CRC32C), of four bytes.
        for header in [binary(b""), binary(b"\x03\x00\x04\x01\x02\x03\x04")] {
            let found = ProxyHeader::Whole(header.len());
            assert_eq!(whole(&header), (found, found));
            for length in SIGNATURE_MIN..header.len() {
                assert_eq!(ProxyHeader::find(&header[..length]), ProxyHeader::Begun);
            }
        }
    }

    #[test]
    fn what_is_no_header_or_hides_a_command_is_none() {
        for start in [
            &b"USER ann\r\n"[..],
            b"",
            b"\r\n",
            b"P",
            b"PROXY TCP4 192.0.2.2\r\nUSER ann\r\n",
            b"PROXY DELE x\r\n",
            &binary(b"\x04\x00\x0a\r\nDELE x\r\n"),
            &binary(b"\x04\x00\x0a\rDELE x\r\n\n"),
            &binary(&[0; 2 * HEADER_MAX]),
        ] {
            assert_eq!(ProxyHeader::find(start), ProxyHeader::None, "{start:?}");
        }
    }
}
