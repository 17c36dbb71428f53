//! The reasons for which an announcement is refused, and the check of its endpoint.
//!
//! By default a client has to announce its own address, and a server always means its own: today's
//! clients connect to the server that they talk to, whatever address it names. No port may be
//! privileged (RFC 2577 §3).

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::proto::{
    expect::ExpectError,
    ftp::{Announcement, Malformed, Role},
    net::Addresses,
};

/// The lowest port that may be announced. RFC 2577 §3 advises to refuse ports below 1024.
pub const DATA_PORT_MIN: u16 = 1024;

/// Why an announcement is refused. The names are stable: they appear in logs and in the output of
/// `replay --json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The address is not the client's own, nor its public address, nor zero.
    ThirdPartyAddress,
    /// The port is below [`DATA_PORT_MIN`].
    PrivilegedPort,
    /// The connection did not begin as FTP does: a greeting, and commands alone until the login.
    NotFtp,
    /// The server has not let the user in.
    NotLoggedIn,
    /// The client announces after its session was encrypted. The line may be a piece of the
    /// ciphertext, chosen by someone who knows the keys.
    AfterTls,
    /// A 227, 228 or 229 that does not answer PASV, LPSV or EPSV.
    UnsolicitedReply,
    /// The line cannot be read, or can be read in two ways.
    Malformed,
    /// A command that announces in a form of another dialect: SPAS, SPOR or SPSV.
    OtherDialect,
    /// The client has sent EPSV ALL, after which only EPSV may follow (RFC 2428 §4).
    AfterEpsvAll,
    /// The client has sent so many commands ahead that the answer to this one could not be
    /// distinguished from others.
    TooManyUnanswered,
    /// The session or the host of its client opens too many pinholes (`budget`).
    TooManyOpenings,
    /// A part of the line had left before the line ended.
    AlreadyForwarded,
    /// One end has closed its side of the control connection.
    Closing,
    /// No outside port of the configured range is free.
    NoFreePort,
    /// Too many rewritten lines wait for their acknowledgement.
    TooManyEdits,
    /// The rewritten line has another length, and conntrack could not be set liberal.
    WindowNotRelaxed,
    /// The kernel did not take the expectation.
    Kernel(ExpectError),
}

impl Refusal {
    /// Whether a refused line is kept from its receiver, so that the client reads a 550 instead.
    #[must_use]
    pub const fn is_answered(self, announcer: Role) -> bool {
        match self {
            // A PORT with such an endpoint has the server connect to a third host, or to a service
            // of the client's. The client of a server that announces a privileged port may connect
            // to it without us.
            Self::ThirdPartyAddress | Self::PrivilegedPort => matches!(announcer, Role::Client),
            // The receiver could read another endpoint in the line. Or the data connection could
            // not come, because its endpoint is a private one or has no pinhole.
            Self::Malformed
            | Self::OtherDialect
            | Self::AfterEpsvAll
            | Self::TooManyOpenings
            | Self::NoFreePort
            | Self::WindowNotRelaxed
            | Self::Kernel(_) => true,
            // The receiver does not take such a line for an announcement, or refuses it itself. Or
            // the line has left already, and cannot be replaced.
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
            Self::OtherDialect => "other_dialect",
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

impl From<Malformed> for Refusal {
    fn from(reason: Malformed) -> Self {
        if reason == Malformed::OtherDialect {
            Self::OtherDialect
        } else {
            Self::Malformed
        }
    }
}

/// The hosts for which the operator has made exemptions from the check.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointExemptions<'a> {
    /// Hosts that may announce ports below [`DATA_PORT_MIN`].
    pub privileged_ports: &'a [IpNetwork],
    /// Hosts whose endpoints others may announce. For a transfer between two servers the client
    /// announces to one server the endpoint of the other (FXP, RFC 959 §5.2).
    pub third_party_data: &'a [IpNetwork],
}

/// The host that an announcement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataHost {
    /// The announcer.
    Announcer,
    /// The announcer, which is a server, although its line names this address.
    AnnouncerInsteadOf(IpAddr),
    /// This third host, for which the operator has made an exemption.
    Exempt(IpAddr),
}

/// Tells which host an announcement means, and checks that it may be announced and that its port is
/// not privileged.
///
/// The public address of the announcer is its own too, because servers can be configured to
/// announce it. A zero address stands for the address of the control connection.
///
/// A server that names any other address means itself: its configuration is wrong, or a router that
/// we do not know of translates it. The named host gets nothing. A client cannot mean itself: its
/// server would be asked to connect to the named host (FTP bounce, RFC 2577 §3).
///
/// # Errors
/// [`Refusal::ThirdPartyAddress`] or [`Refusal::PrivilegedPort`].
pub fn check_endpoint(
    announcement: &Announcement,
    announcer: Addresses,
    exemptions: EndpointExemptions<'_>,
) -> Result<DataHost, Refusal> {
    let is_in =
        |networks: &[IpNetwork], at: IpAddr| networks.iter().any(|network| network.contains(at));
    let foreign = announcement.address.filter(|at| !announcer.has(*at));
    let host = match (foreign, announcement.kind.announcer()) {
        (None, _) => DataHost::Announcer,
        (Some(at), _) if is_in(exemptions.third_party_data, at) => DataHost::Exempt(at),
        (Some(at), Role::Server) => DataHost::AnnouncerInsteadOf(at),
        (Some(_), Role::Client) => return Err(Refusal::ThirdPartyAddress),
    };
    let at = match host {
        DataHost::Exempt(at) => at,
        DataHost::Announcer | DataHost::AnnouncerInsteadOf(_) => announcer.own,
    };
    let is_privileged = announcement.port.get() < DATA_PORT_MIN;
    if is_privileged && !is_in(exemptions.privileged_ports, at) {
        return Err(Refusal::PrivilegedPort);
    }
    Ok(host)
}
