//! Which announcements are honoured.
//!
//! Safe by default: the announced address is the announcer's own and the port is not privileged
//! (RFC 2577 §3).

use ipnetwork::IpNetwork;

use crate::proto::{
    expect::ExpectError,
    ftp::{Announcement, Role},
    net::Addresses,
};

/// The lowest data port that is honoured (RFC 2577 §3: ports below 1024 are refused).
pub const DATA_PORT_MIN: u16 = 1024;

/// Why an announcement is not honoured. The names are stable: log reasons, `replay --json`, and
/// metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The address is neither the announcer's own nor its public form nor zero.
    ThirdPartyAddress,
    /// The port is below [`DATA_PORT_MIN`].
    PrivilegedPort,
    /// The connection did not begin as FTP does: the server first, with 220, then commands.
    NotFtp,
    /// The server has not let the user in.
    NotLoggedIn,
    /// The client announces after its session was encrypted: it may be a piece of what it encrypts, chosen
    /// by who knows the keys.
    AfterTls,
    /// A 227, 228 or 229 that does not answer the command it would belong to.
    UnsolicitedReply,
    /// The line cannot be read, or can be read in two ways.
    Malformed,
    /// The client has promised EPSV only (RFC 2428 §4).
    AfterEpsvAll,
    /// The client has sent so many commands ahead that the answer to this one could not be told
    /// from the others.
    TooManyUnanswered,
    /// The session, or its client's host, announces too much (`budget`).
    TooManyOpenings,
    /// Part of the line had left before it could be recognised.
    AlreadyForwarded,
    /// One side has closed the control connection.
    Closing,
    /// No outside port of the configured range is free.
    NoFreePort,
    /// Too many rewritten lines wait for their acknowledgement.
    TooManyEdits,
    /// The rewritten line is longer, and conntrack's window check could not be relaxed.
    WindowNotRelaxed,
    /// The kernel did not take the expectation.
    Kernel(ExpectError),
}

impl Refusal {
    /// Whether the line that is refused does not reach its reader, and its client reads a 550 instead.
    ///
    /// What a client announces in vain would have its server connect to a third host, to a port that
    /// another reader reads in it, or to an address that is a private one. A server's line is replaced where
    /// it could be read in two ways or what it announces could not be let in; the address of somebody
    /// else may still serve a client that connects to the server it knows, whatever a 227 says. What
    /// nobody takes for an announcement, or would be refused by its server anyway, passes.
    #[must_use]
    pub const fn is_answered(self, announcer: Role) -> bool {
        match self {
            Self::ThirdPartyAddress | Self::PrivilegedPort => matches!(announcer, Role::Client),
            Self::Malformed
            | Self::AfterEpsvAll
            | Self::TooManyOpenings
            | Self::NoFreePort
            | Self::WindowNotRelaxed
            | Self::Kernel(_) => true,
            Self::NotFtp
            | Self::NotLoggedIn
            | Self::AfterTls
            | Self::UnsolicitedReply
            | Self::TooManyUnanswered
            | Self::AlreadyForwarded
            | Self::Closing
            | Self::TooManyEdits => false,
        }
    }

    /// The stable lower-case identifier.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ThirdPartyAddress => "third_party_address",
            Self::PrivilegedPort => "privileged_port",
            Self::NotFtp => "not_ftp",
            Self::NotLoggedIn => "not_logged_in",
            Self::AfterTls => "after_tls",
            Self::UnsolicitedReply => "unsolicited_reply",
            Self::Malformed => "malformed",
            Self::AfterEpsvAll => "after_epsv_all",
            Self::TooManyUnanswered => "too_many_unanswered",
            Self::TooManyOpenings => "too_many_openings",
            Self::AlreadyForwarded => "already_forwarded",
            Self::Closing => "closing",
            Self::NoFreePort => "no_free_port",
            Self::TooManyEdits => "too_many_edits",
            Self::WindowNotRelaxed => "window_not_relaxed",
            Self::Kernel(error) => error.as_str(),
        }
    }
}

/// The hosts for which the operator relaxes the check of endpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointExemptions<'a> {
    /// Hosts that may announce ports below [`DATA_PORT_MIN`].
    pub privileged_ports: &'a [IpNetwork],
    /// Hosts whose endpoints others may announce: between servers, a client announces to the one
    /// what the other has told it (FXP, RFC 959 §5.2).
    pub third_party_data: &'a [IpNetwork],
}

/// Checks that an announced endpoint is its announcer's own, and its port not privileged.
///
/// A server that was configured with its public address announces the address that its peer knows it
/// by; a zero address means "the one you talk to".
///
/// # Errors
/// The [`Refusal`] where it is not honoured.
pub fn check_endpoint(
    announcement: &Announcement,
    announcer: Addresses,
    exemptions: EndpointExemptions<'_>,
) -> Result<(), Refusal> {
    let third_party = announcement.address.filter(|at| !announcer.has(*at));
    let host = third_party.unwrap_or(announcer.own);
    let is_in = |networks: &[IpNetwork]| networks.iter().any(|network| network.contains(host));
    if third_party.is_some() && !is_in(exemptions.third_party_data) {
        return Err(Refusal::ThirdPartyAddress);
    }
    let is_privileged = announcement.port.get() < DATA_PORT_MIN;
    if is_privileged && !is_in(exemptions.privileged_ports) {
        return Err(Refusal::PrivilegedPort);
    }
    Ok(())
}
