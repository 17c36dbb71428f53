//! What the operator grants encrypted sessions, checked.

use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use toml::Spanned;

use super::{
    document::{Networks, Number, Text, checked, networks},
    value::{self, Problem},
};
use crate::proto::{session::endpoint_check::DATA_PORT_MIN, tls::TLS_PORTS_MAX};

/// As many as a session may have expectations.
const AT_ONCE_MAX: u8 = 16;

/// What encrypted sessions may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The ports to which their clients may have data connections; none with `tls_data = "none"`.
    pub ports: Option<RangeInclusive<u16>>,
    /// How many of one session at a time.
    pub at_once: u8,
    /// For which servers; for all of them where none is named.
    pub servers: Vec<IpNetwork>,
    /// Control ports whose connections begin with TLS, ascending, each once.
    pub implicit_ports: Vec<u16>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ports: None,
            at_once: 4,
            servers: Vec::new(),
            implicit_ports: Vec::new(),
        }
    }
}

/// The value of `tls_data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Data {
    #[default]
    None,
    Range,
}

/// The same as it is written.
pub(super) struct Written {
    pub(super) data: Text,
    pub(super) ports: Text,
    pub(super) at_once: Number,
    pub(super) servers: Networks,
    pub(super) implicit_ports: Option<Vec<Spanned<i64>>>,
}

impl Written {
    pub(super) fn check(self, control_ports: &[u16]) -> Result<Tls, Problem> {
        let default = Tls::default();
        let span = self.data.as_ref().map(Spanned::span);
        let ports_span = self.ports.as_ref().map(Spanned::span);
        let data = checked(self.data, data)?.unwrap_or_default();
        let ports = checked(self.ports, ports)?;
        if let (Some(ports), Some(span)) = (&ports, ports_span) {
            apart(ports, control_ports).map_err(|reason| Problem::new(span, reason))?;
        }
        if data == Data::Range && ports.is_none() {
            let reason = "\"range\" needs tls_ports, such as \"50000-50099\": the ports that the \
                          servers use for their data connections";
            return Err(Problem::new(span.unwrap_or_default(), reason));
        }
        Ok(Tls {
            ports: ports.filter(|_| data == Data::Range),
            at_once: checked(self.at_once, at_once)?.unwrap_or(default.at_once),
            servers: networks(self.servers)?,
            implicit_ports: implicit_ports(self.implicit_ports, control_ports)?,
        })
    }
}

fn data(written: &str) -> Result<Data, String> {
    const NAMES: [(&str, Data); 2] = [("none", Data::None), ("range", Data::Range)];
    value::one_of(written, &NAMES)
}

/// `"50000-50099"`
fn ports(written: &str) -> Result<RangeInclusive<u16>, String> {
    let ports = value::range(written, "ports such as \"50000-50099\"")?;
    if *ports.start() < DATA_PORT_MIN {
        return Err(format!(
            "`{written}` has ports below {DATA_PORT_MIN}, where no data connection goes"
        ));
    }
    if ports.len() > TLS_PORTS_MAX {
        return Err(format!(
            "`{written}` has {} ports, more than {TLS_PORTS_MAX}: have the servers use a narrow range \
             (pasv_min_port, PassivePorts) and name that",
            ports.len()
        ));
    }
    Ok(ports)
}

/// The first packet of a control connection must not be taken for one of a data connection.
fn apart(ports: &RangeInclusive<u16>, control_ports: &[u16]) -> Result<(), String> {
    let common = control_ports.iter().find(|port| ports.contains(port));
    common.map_or(Ok(()), |port| {
        Err(format!("the control port {port} is one of these"))
    })
}

fn at_once(written: &i64) -> Result<u8, String> {
    value::in_range(*written, 1..=AT_ONCE_MAX, "data connections of one session")
}

fn implicit_ports(
    written: Option<Vec<Spanned<i64>>>,
    control_ports: &[u16],
) -> Result<Vec<u16>, Problem> {
    let check = |port: &i64| {
        let found = u16::try_from(*port).ok();
        found
            .filter(|port| control_ports.contains(port))
            .ok_or_else(|| format!("{port} is not one of control_ports"))
    };
    let written = written.into_iter().flatten();
    let ports = written.filter_map(|port| checked(Some(port), check).transpose());
    let mut ports = ports.collect::<Result<Vec<_>, _>>()?;
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}
