//! Why a line that looks like an announcement is not one.

/// What is wrong with a line that has an announcing verb or code. Nothing is opened for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Malformed {
    /// A NUL, a bare CR or another control byte, which servers drop, keep or stop at.
    ControlByte,
    /// A Telnet sequence (0xFF), which servers may or may not take out of the line.
    TelnetSequence,
    /// The line has another verb or code than the one it was parsed for.
    NotAnnouncing,
    /// No space between the verb and its argument.
    MissingSpace,
    /// A number without digits.
    EmptyNumber,
    /// A leading zero: octal to some, decimal to others.
    NonCanonicalNumber,
    /// A number above 255 where an octet is due.
    OctetOutOfRange,
    /// A port above 65535.
    PortOutOfRange,
    /// Port 0, on which nobody can listen.
    PortZero,
    /// More or fewer numbers or fields than the form has.
    FieldCount,
    /// An address family that is neither IPv4 nor IPv6.
    UnknownFamily,
    /// LPRT or 228: a length that does not belong to the family, or a port not of two octets.
    WrongLength,
    /// The address does not parse, or is not of the family that stands before it.
    UnreadableAddress,
    /// A delimiter outside 33–126 (RFC 2428 §2), or a digit.
    DelimiterNotAllowed,
    /// Another byte where the delimiter of the line is due.
    MissingDelimiter,
    /// 229: no closing parenthesis after the last delimiter.
    MissingParenthesis,
    /// Something other than spaces after the endpoint of a command.
    TrailingGarbage,
    /// A reply with an announcing code that holds no endpoint.
    NoEndpoint,
    /// A reply that holds more than one endpoint, or one that can be read in two ways.
    Ambiguous,
}
