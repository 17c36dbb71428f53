//! Why a line that looks like an announcement is not one.

/// What is wrong with a line that has an announcing verb or code. Nothing is opened for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Malformed {
    /// A NUL, a bare CR or another control byte, which servers drop, keep or stop at.
    #[error("a control byte stands in the line")]
    ControlByte,
    /// A Telnet sequence (0xFF), which servers may or may not take out of the line.
    #[error("a Telnet sequence stands in the line")]
    TelnetSequence,
    /// The line has another verb or code than the one it was parsed for.
    #[error("the line is not one that announces")]
    NotAnnouncing,
    /// No space between the verb and its argument.
    #[error("no space follows the verb")]
    MissingSpace,
    /// A number without digits.
    #[error("a number is missing")]
    EmptyNumber,
    /// A leading zero: octal to some, decimal to others.
    #[error("a number has a leading zero")]
    NonCanonicalNumber,
    /// A number above 255 where an octet is due.
    #[error("an octet is above 255")]
    OctetOutOfRange,
    /// A port above 65535.
    #[error("the port is above 65535")]
    PortOutOfRange,
    /// Port 0, on which nobody can listen.
    #[error("the port is 0")]
    PortZero,
    /// More or fewer numbers or fields than the form has.
    #[error("the number of fields is wrong")]
    FieldCount,
    /// An address family that is neither IPv4 nor IPv6.
    #[error("the address family is unknown")]
    UnknownFamily,
    /// LPRT or 228: a length that does not belong to the family, or a port not of two octets.
    #[error("an address or port has the wrong length")]
    WrongLength,
    /// The address does not parse, or is not of the family that stands before it.
    #[error("the address cannot be read")]
    UnreadableAddress,
    /// A delimiter outside 33–126 (RFC 2428 §2), or a digit.
    #[error("the delimiter is not allowed")]
    DelimiterNotAllowed,
    /// Another byte where the delimiter of the line is due.
    #[error("a delimiter is missing")]
    MissingDelimiter,
    /// 229: no closing parenthesis after the last delimiter.
    #[error("the closing parenthesis is missing")]
    MissingParenthesis,
    /// Something other than spaces after the endpoint of a command.
    #[error("something follows the endpoint")]
    TrailingGarbage,
    /// A reply with an announcing code that holds no endpoint.
    #[error("the reply holds no endpoint")]
    NoEndpoint,
    /// A reply that holds more than one endpoint, or one that can be read in two ways.
    #[error("the endpoint can be read in two ways")]
    Ambiguous,
}

impl Malformed {
    /// The stable reason under which all of these are refused.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        "malformed"
    }

    /// The stable lower-case identifier of what exactly is wrong.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::ControlByte => "control_byte",
            Self::TelnetSequence => "telnet_sequence",
            Self::NotAnnouncing => "not_announcing",
            Self::MissingSpace => "missing_space",
            Self::EmptyNumber => "empty_number",
            Self::NonCanonicalNumber => "non_canonical_number",
            Self::OctetOutOfRange => "octet_out_of_range",
            Self::PortOutOfRange => "port_out_of_range",
            Self::PortZero => "port_zero",
            Self::FieldCount => "field_count",
            Self::UnknownFamily => "unknown_family",
            Self::WrongLength => "wrong_length",
            Self::UnreadableAddress => "unreadable_address",
            Self::DelimiterNotAllowed => "delimiter_not_allowed",
            Self::MissingDelimiter => "missing_delimiter",
            Self::MissingParenthesis => "missing_parenthesis",
            Self::TrailingGarbage => "trailing_garbage",
            Self::NoEndpoint => "no_endpoint",
            Self::Ambiguous => "ambiguous",
        }
    }
}
