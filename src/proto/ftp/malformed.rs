//! The faults of a line that looks like an announcement.

use super::kind::Role;

/// The fault of a line with an announcing verb or code. Nothing is opened for such a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Malformed {
    /// A NUL, a bare CR or another control byte. Some servers drop it, some keep it, some stop. To
    /// some it ends the command, and what stands behind it is another one.
    ControlByte,
    /// A Telnet sequence (0xFF). Some servers remove it from the line.
    TelnetSequence,
    /// A command that announces in a form that is not read here: SPAS, SPOR (several endpoints for
    /// one transfer) and SPSV (a port alone).
    OtherDialect,
    /// The line has not the verb or code that it was parsed for.
    NotAnnouncing,
    /// No blank between the verb and its argument.
    MissingSpace,
    /// A number without digits.
    EmptyNumber,
    /// EPRT: a leading zero. Some readers take the number for octal.
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
    /// An address family above 255. Some readers keep a part of the number.
    FamilyOutOfRange,
    /// LPRT or 228: a family that does not exist, an address with another length than its family,
    /// or a port without two octets.
    WrongLength,
    /// The address does not parse, or is not of the family before it.
    UnreadableAddress,
    /// A delimiter outside 33–126 (RFC 2428 §2), or a digit.
    DelimiterNotAllowed,
    /// Another byte in the place of the delimiter.
    MissingDelimiter,
    /// 229: no parentheses around the fields.
    MissingParenthesis,
    /// Bytes other than blanks behind the endpoint of a command.
    TrailingGarbage,
    /// Too few numbers for an endpoint, however they are read.
    NoEndpoint,
    /// A reply with more than one endpoint, or with one that can be read in two ways.
    Ambiguous,
}

impl Malformed {
    /// Whether some reader could take such a line for an announcement of an endpoint.
    ///
    /// A line that nobody could read goes on as it is, so that its receiver's own error reaches
    /// the user. Any other line is kept from its receiver.
    #[must_use]
    pub const fn could_be_read(self, announcer: Role) -> bool {
        match self {
            Self::NoEndpoint | Self::PortZero => false,
            // A server refuses it with 522 (RFC 2428 §2). Some clients read the port of a 229 and
            // no other field.
            Self::UnknownFamily => matches!(announcer, Role::Server),
            // FreeBSD's ftpd and LightFTP keep the lowest byte of each number, and glibc's
            // getaddrinfo the lowest two of a port. So a PORT may mean a third host. A client that
            // reads a 227 like this fails, as with any other address that is not its server's.
            Self::OctetOutOfRange | Self::PortOutOfRange => matches!(announcer, Role::Client),
            Self::ControlByte
            | Self::TelnetSequence
            | Self::OtherDialect
            | Self::NotAnnouncing
            | Self::MissingSpace
            | Self::EmptyNumber
            | Self::NonCanonicalNumber
            | Self::FieldCount
            | Self::FamilyOutOfRange
            | Self::WrongLength
            | Self::UnreadableAddress
            | Self::DelimiterNotAllowed
            | Self::MissingDelimiter
            | Self::MissingParenthesis
            | Self::TrailingGarbage
            | Self::Ambiguous => true,
        }
    }
}

/// The number of runs of digits in a text.
pub(super) fn count_numbers(text: &[u8]) -> usize {
    let runs = text.split(|byte| !byte.is_ascii_digit());
    runs.filter(|run| !run.is_empty()).count()
}
