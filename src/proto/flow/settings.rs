//! What the operator decides, and what that means for one connection.

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use ipnetwork::IpNetwork;

use crate::proto::{
    budget::Limits,
    command_policy::CommandPolicy,
    ftps::TlsSettings,
    net::{Addresses, ConntrackTuples, Direction, PublicAddresses},
    session::endpoint_check::{EndpointExemptions, Refusal},
};

/// What the operator decides, as far as the core needs it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long an expectation waits for its connection.
    pub expectation_timeout: Duration,
    /// How many expectations of a session may be pending; a newer one replaces the oldest.
    pub max_per_session: usize,
    /// Outside ports that an announcer behind NAT may be given.
    pub ports: RangeInclusive<u16>,
    /// The addresses by which the world knows this gateway, where another router translates beyond
    /// it.
    pub public: PublicAddresses,
    /// Networks any of whose addresses may open the data connections of a server in them.
    pub data_sources: Vec<IpNetwork>,
    /// Servers whose sessions need not show that they are FTP and their user let in.
    pub unproven_servers: Vec<IpNetwork>,
    /// Hosts that may announce a privileged port.
    pub privileged_ports: Vec<IpNetwork>,
    /// Hosts whose endpoints others may announce (FXP).
    pub third_party_data: Vec<IpNetwork>,
    /// Servers whose 227, 228 and 229 count although nobody asked for them.
    pub unsolicited_replies: Vec<IpNetwork>,
    /// Servers whose clients may announce by other means after EPSV ALL.
    pub after_epsv_all: Vec<IpNetwork>,
    /// What clients may say. A session keeps the policy that it began with.
    pub command_policy: Arc<CommandPolicy>,
    /// How much a session and a host may ask for.
    pub limits: Limits,
    /// Which data connections of encrypted sessions may come.
    pub tls: TlsSettings,
}

impl Settings {
    /// The hosts for which endpoints are not checked as for others.
    pub(super) fn endpoint_exemptions(&self) -> EndpointExemptions<'_> {
        EndpointExemptions {
            privileged_ports: &self.privileged_ports,
            third_party_data: &self.third_party_data,
        }
    }

    /// The network from any of whose addresses a server may open data connections, if it may open
    /// them from another one than its own. The smallest of several counts.
    pub(super) fn data_sources_of(&self, server: IpAddr) -> Option<IpNetwork> {
        let networks = self.data_sources.iter();
        let its_own = networks.filter(|network| network.contains(server));
        let smallest = its_own.max_by_key(|network| network.prefix())?;
        IpNetwork::new(smallest.network(), smallest.prefix()).ok()
    }

    /// Whether what would be refused for this reason is honoured for the sessions of this server.
    pub(super) fn is_exempt(&self, refusal: Refusal, tuples: &ConntrackTuples) -> bool {
        let networks: &[IpNetwork] = match refusal {
            Refusal::UnsolicitedReply => &self.unsolicited_replies,
            Refusal::AfterEpsvAll => &self.after_epsv_all,
            Refusal::NotFtp | Refusal::NotLoggedIn | Refusal::AfterTls => &self.unproven_servers,
            Refusal::ThirdPartyAddress
            | Refusal::PrivilegedPort
            | Refusal::Malformed
            | Refusal::OtherDialect
            | Refusal::TooManyUnanswered
            | Refusal::TooManyOpenings
            | Refusal::AlreadyForwarded
            | Refusal::Closing
            | Refusal::NoFreePort
            | Refusal::TooManyEdits
            | Refusal::WindowNotRelaxed
            | Refusal::Kernel(_) => &[],
        };
        has_server(networks, tuples)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expectation_timeout: Duration::from_secs(300),
            max_per_session: 1,
            ports: 1024..=65535,
            public: PublicAddresses::default(),
            data_sources: Vec::new(),
            unproven_servers: Vec::new(),
            privileged_ports: Vec::new(),
            third_party_data: Vec::new(),
            unsolicited_replies: Vec::new(),
            after_epsv_all: Vec::new(),
            command_policy: Arc::default(),
            limits: Limits::default(),
            tls: TlsSettings::default(),
        }
    }
}

/// Whether the server of a connection is in one of `networks`, by its own address or by the one
/// its clients use.
pub(super) fn has_server(networks: &[IpNetwork], tuples: &ConntrackTuples) -> bool {
    let server = Addresses::of(tuples, Direction::Reply);
    let mut networks = networks.iter();
    networks.any(|network| network.contains(server.own) || network.contains(server.seen))
}
