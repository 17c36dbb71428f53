//! The faults of a line that looks like an announcement.

/// The fault of a line with an announcing verb or code. Nothing is opened for such a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Malformed {
    /// A NUL, a bare CR or another control byte. Some servers drop it, some keep it, some stop.
    ControlByte,
    /// A Telnet sequence (0xFF). Some servers remove it from the line.
    TelnetSequence,
    /// The line has not the verb or code that it was parsed for.
    NotAnnouncing,
    /// No space between the verb and its argument.
    MissingSpace,
    /// A number without digits.
    EmptyNumber,
    /// A leading zero. Some readers take the number for octal.
    NonCanonicalNumber,
    /// A number above 255 in the place of an octet.
    OctetOutOfRange,
    /// A port above 65535.
    PortOutOfRange,
    /// Port 0, on which nobody can listen.
    PortZero,
    /// More or fewer numbers or fields than the form has.
    FieldCount,
    /// An address family that is neither IPv4 nor IPv6.
    UnknownFamily,
    /// LPRT or 228: an address with another length than its family, or a port without two octets.
    WrongLength,
    /// The address does not parse, or is not of the family before it.
    UnreadableAddress,
    /// A delimiter outside 33–126 (RFC 2428 §2), or a digit.
    DelimiterNotAllowed,
    /// Another byte in the place of the delimiter.
    MissingDelimiter,
    /// 229: no closing parenthesis behind the last delimiter.
    MissingParenthesis,
    /// Bytes other than spaces behind the endpoint of a command.
    TrailingGarbage,
    /// A reply with an announcing code and no endpoint.
    NoEndpoint,
    /// A reply with more than one endpoint, or with one that can be read in two ways.
    Ambiguous,
}
