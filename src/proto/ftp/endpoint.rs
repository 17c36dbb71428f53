//! The three forms of a data endpoint: host-port, long host-port, and delimited fields.
//!
//! Blanks around the numbers and around the delimiters are skipped. A reader that does not skip
//! them reads no endpoint at all, so there is one reading only.

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

/// The form of an endpoint without a check of its values.
///
/// The rest of the line is read first. With other bytes behind it some reader could take another
/// value than the one that is no endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct UncheckedEndpoint {
    address: Result<Option<IpAddr>, Malformed>,
    port: u16,
}

impl UncheckedEndpoint {
    /// The endpoint.
    ///
    /// # Errors
    /// The address family does not exist, or the port is zero.
    pub(super) fn check(self) -> Result<Endpoint, Malformed> {
        Ok(Endpoint {
            // On a dual-stack socket an IPv4 address may appear as an IPv4-mapped one.
            address: self.address?.map(|address| address.to_canonical()),
            port: NonZeroU16::new(self.port).ok_or(Malformed::PortZero)?,
        })
    }
}

/// `10,0,0,1,19,137` is 10.0.0.1 port 5001 (RFC 959 §4.1.2).
pub(super) fn parse_host_port(cursor: &mut Cursor<'_>) -> Result<UncheckedEndpoint, Malformed> {
    let address = octets::<4>(cursor)?;
    comma(cursor)?;
    Ok(UncheckedEndpoint {
        address: Ok(Some(address.into())),
        port: u16::from_be_bytes(octets::<2>(cursor)?),
    })
}

/// `4,4,10,0,0,1,2,19,137` is 10.0.0.1 port 5001. IPv6 is `6,16,…,2,p1,p2` (RFC 1639 §2).
pub(super) fn parse_long_host_port(
    cursor: &mut Cursor<'_>,
) -> Result<UncheckedEndpoint, Malformed> {
    let family = number_and_comma(cursor)?;
    let length = number_and_comma(cursor)?;
    let address: IpAddr = match (family, length) {
        (4, 4) => octets::<4>(cursor)?.into(),
        (6, 16) => octets::<16>(cursor)?.into(),
        _ => return Err(Malformed::WrongLength),
    };
    comma(cursor)?;
    if number_and_comma(cursor)? != 2 {
        return Err(Malformed::WrongLength);
    }
    Ok(UncheckedEndpoint {
        address: Ok(Some(address)),
        port: u16::from_be_bytes(octets::<2>(cursor)?),
    })
}

/// `|1|10.0.0.1|5001|` or `|2|2001:db8::1|5001|`, with any delimiter (RFC 2428 §2).
pub(super) fn parse_fields(cursor: &mut Cursor<'_>) -> Result<UncheckedEndpoint, Malformed> {
    let delimiter = parse_delimiter(cursor)?;
    let address = parse_address_fields(cursor, delimiter)?.map(Some);
    let port = parse_port_field(cursor, delimiter, Cursor::canonical_number)?;
    Ok(UncheckedEndpoint { address, port })
}

/// `|||6446|`, as RFC 2428 §3 asks for, or `|1|10.0.0.1|6446|`, which it does not forbid to read.
/// BulletProof FTP Server leaves one delimiter out: `||6446|`.
pub(super) fn parse_reply_fields(cursor: &mut Cursor<'_>) -> Result<UncheckedEndpoint, Malformed> {
    let delimiter = parse_delimiter(cursor)?;
    let address = if cursor.peek() == Some(delimiter) {
        cursor.next();
        cursor.skip_blanks();
        let is_short = delimiter == b'|' && cursor.peek().is_some_and(|byte| byte.is_ascii_digit());
        if !is_short {
            cursor.expect(delimiter, Malformed::MissingDelimiter)?;
        }
        Ok(None)
    } else {
        parse_address_fields(cursor, delimiter)?.map(Some)
    };
    // Every client reads this number as a decimal one, leading zeros or not.
    let port = parse_port_field(cursor, delimiter, Cursor::number)?;
    Ok(UncheckedEndpoint { address, port })
}

/// Whether a byte is ASCII 33–126 (RFC 2428 §2) and no digit. Behind a digit, readers would
/// disagree on where the number begins.
const fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_graphic() && !byte.is_ascii_digit()
}

fn parse_delimiter(cursor: &mut Cursor<'_>) -> Result<u8, Malformed> {
    cursor.skip_blanks();
    let delimiter = cursor.next().ok_or(Malformed::MissingDelimiter)?;
    cursor.skip_blanks();
    if is_delimiter(delimiter) {
        Ok(delimiter)
    } else {
        Err(Malformed::DelimiterNotAllowed)
    }
}

/// `1|10.0.0.1|`: the family and the address, each with its delimiter.
///
/// # Errors
/// The fields have not this form. A family that does not exist is no error of the form.
fn parse_address_fields(
    cursor: &mut Cursor<'_>,
    delimiter: u8,
) -> Result<Result<IpAddr, Malformed>, Malformed> {
    let family = cursor.canonical_number(u16::from(u8::MAX), Malformed::FamilyOutOfRange)?;
    cursor.skip_blanks();
    cursor.expect(delimiter, Malformed::MissingDelimiter)?;
    let text = cursor.field(delimiter, is_of_address, Malformed::UnreadableAddress)?;
    let text = str::from_utf8(text.trim_ascii()).unwrap_or_default();
    // The numbers of RFC 2428 §2. LPRT has IP version numbers instead (RFC 1639 §2).
    //
    // `std` refuses leading zeros in dotted quads, and zone indices. Both have other readings.
    let address = match family {
        1 => text.parse().map(Ipv4Addr::into),
        2 => text.parse().map(Ipv6Addr::into),
        _ => return Ok(Err(Malformed::UnknownFamily)),
    };
    address.map(Ok).map_err(|_| Malformed::UnreadableAddress)
}

fn parse_port_field<'a>(
    cursor: &mut Cursor<'a>,
    delimiter: u8,
    number: impl Fn(&mut Cursor<'a>, u16, Malformed) -> Result<u16, Malformed>,
) -> Result<u16, Malformed> {
    cursor.skip_blanks();
    let port = number(cursor, u16::MAX, Malformed::PortOutOfRange)?;
    cursor.skip_blanks();
    cursor.expect(delimiter, Malformed::MissingDelimiter)?;
    Ok(port)
}

/// Whether a byte may stand in the text of an address, or around it.
const fn is_of_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b' ' | b'\t')
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

/// A comma, and the blanks around it.
fn comma(cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
    cursor.skip_blanks();
    cursor.expect(b',', Malformed::FieldCount)?;
    cursor.skip_blanks();
    Ok(())
}
