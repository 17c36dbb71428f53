//! The three forms of a data endpoint: host-port, long host-port, and delimited fields.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    str,
};

use super::{cursor::Cursor, malformed::Malformed};

/// A data endpoint that was read in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The address, where the line has one.
    pub(super) address: Option<IpAddr>,
    pub(super) port: NonZeroU16,
}

impl Endpoint {
    fn of_numbers(address: IpAddr, port: [u8; 2]) -> Result<Self, Malformed> {
        let port = NonZeroU16::new(u16::from_be_bytes(port));
        Ok(Self {
            address: Some(address),
            port: port.ok_or(Malformed::PortZero)?,
        })
    }
}

/// `10,0,0,1,19,137` is 10.0.0.1 port 5001 (RFC 959 §4.1.2).
pub(super) fn parse_host_port(cursor: &mut Cursor<'_>) -> Result<Endpoint, Malformed> {
    let address = octets::<4>(cursor)?;
    comma(cursor)?;
    let port = octets::<2>(cursor)?;
    Endpoint::of_numbers(address.into(), port)
}

/// `4,4,10,0,0,1,2,19,137` is 10.0.0.1 port 5001. IPv6 is `6,16,…,2,p1,p2` (RFC 1639 §2).
pub(super) fn parse_long_host_port(cursor: &mut Cursor<'_>) -> Result<Endpoint, Malformed> {
    let family = number_and_comma(cursor)?;
    let length = number_and_comma(cursor)?;
    let address: IpAddr = match (family, length) {
        (4, 4) => octets::<4>(cursor)?.into(),
        (6, 16) => octets::<16>(cursor)?.into(),
        (4 | 6, _) => return Err(Malformed::WrongLength),
        _ => return Err(Malformed::UnknownFamily),
    };
    comma(cursor)?;
    if number_and_comma(cursor)? != 2 {
        return Err(Malformed::WrongLength);
    }
    Endpoint::of_numbers(address, octets::<2>(cursor)?)
}

/// `|1|10.0.0.1|5001|` or `|2|2001:db8::1|5001|`, with any delimiter (RFC 2428 §2).
pub(super) fn parse_fields(cursor: &mut Cursor<'_>) -> Result<Endpoint, Malformed> {
    let delimiter = parse_delimiter(cursor)?;
    let address = parse_address_fields(cursor, delimiter)?;
    Ok(Endpoint {
        address: Some(address),
        port: parse_port_field(cursor, delimiter)?,
    })
}

/// `|||6446|`, as RFC 2428 §3 asks for, or `|1|10.0.0.1|6446|`, which it does not forbid to read.
pub(super) fn parse_reply_fields(cursor: &mut Cursor<'_>) -> Result<Endpoint, Malformed> {
    let delimiter = parse_delimiter(cursor)?;
    let address = if cursor.peek() == Some(delimiter) {
        cursor.next();
        cursor.expect(delimiter, Malformed::MissingDelimiter)?;
        None
    } else {
        Some(parse_address_fields(cursor, delimiter)?)
    };
    Ok(Endpoint {
        address,
        port: parse_port_field(cursor, delimiter)?,
    })
}

/// Whether a byte is ASCII 33–126 (RFC 2428 §2) and no digit. Behind a digit, readers would
/// disagree on where the number begins.
const fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_graphic() && !byte.is_ascii_digit()
}

fn parse_delimiter(cursor: &mut Cursor<'_>) -> Result<u8, Malformed> {
    let delimiter = cursor.next().ok_or(Malformed::MissingDelimiter)?;
    if is_delimiter(delimiter) {
        Ok(delimiter)
    } else {
        Err(Malformed::DelimiterNotAllowed)
    }
}

/// `1|10.0.0.1|`: the family and the address, each with its delimiter.
fn parse_address_fields(cursor: &mut Cursor<'_>, delimiter: u8) -> Result<IpAddr, Malformed> {
    let family = cursor.number(u16::from(u8::MAX), Malformed::UnknownFamily)?;
    cursor.expect(delimiter, Malformed::MissingDelimiter)?;
    // The numbers of RFC 2428 §2. LPRT has IP version numbers instead (RFC 1639 §2).
    if !matches!(family, 1 | 2) {
        return Err(Malformed::UnknownFamily);
    }
    let text = cursor.field(delimiter, is_of_address, Malformed::UnreadableAddress)?;
    let text = str::from_utf8(text).unwrap_or_default();
    // `std` refuses leading zeros in dotted quads, and zone indices. Both have other readings.
    let address = if family == 1 {
        text.parse().map(Ipv4Addr::into)
    } else {
        text.parse().map(Ipv6Addr::into)
    };
    address.map_err(|_| Malformed::UnreadableAddress)
}

fn parse_port_field(cursor: &mut Cursor<'_>, delimiter: u8) -> Result<NonZeroU16, Malformed> {
    let port = cursor.number(u16::MAX, Malformed::PortOutOfRange)?;
    cursor.expect(delimiter, Malformed::MissingDelimiter)?;
    NonZeroU16::new(port).ok_or(Malformed::PortZero)
}

/// Whether a byte may stand in the text of an address.
const fn is_of_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')
}

fn octets<const N: usize>(cursor: &mut Cursor<'_>) -> Result<[u8; N], Malformed> {
    let mut octets = [0; N];
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            comma(cursor)?;
        }
        *octet = cursor.octet()?;
    }
    Ok(octets)
}

fn number_and_comma(cursor: &mut Cursor<'_>) -> Result<u8, Malformed> {
    let number = cursor.octet()?;
    comma(cursor)?;
    Ok(number)
}

fn comma(cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
    cursor.expect(b',', Malformed::FieldCount)
}
