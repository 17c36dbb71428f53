//! The configuration as it is written: every key optional, every value with its place in the file.

use ipnetwork::IpNetwork;
use serde::Deserialize;
use toml::Spanned;

use super::{
    Backend, Config, Control, Expectation, Log, LogFormat, Mark, Metrics, Nat, Policy, Process,
    Restart, WhenAbsent, WhenKernelHelps,
    command_policy::{self, EntryTable},
    tls,
    value::{self, Problem},
};
use crate::proto::budget::Limits;

/// A value and where it stands.
pub(super) type Text = Option<Spanned<String>>;
pub(super) type Number = Option<Spanned<i64>>;
pub(super) type Networks = Option<Vec<Spanned<String>>>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    control_ports: Option<Spanned<Vec<Spanned<i64>>>>,
    queue: Text,
    backend: Text,
    install_rules: Option<bool>,
    when_absent: Text,
    when_kernel_helps: Text,
    expectation: ExpectationTable,
    nat: NatTable,
    policy: PolicyTable,
    limits: LimitsTable,
    process: ProcessTable,
    mark: MarkTable,
    log: LogTable,
    control: ControlTable,
    restart: RestartTable,
    metrics: Option<MetricsTable>,
    command_policy: Vec<Spanned<EntryTable>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ExpectationTable {
    timeout: Text,
    max_per_session: Number,
    early_servers: Networks,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct NatTable {
    ports: Text,
    share: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PolicyTable {
    unproven_servers: Networks,
    privileged_ports: Networks,
    third_party_data: Networks,
    unsolicited_replies: Networks,
    after_epsv_all: Networks,
    login_directory: Text,
    tls_data: Text,
    tls_ports: Text,
    tls_at_once: Number,
    tls_servers: Networks,
    tls_implicit_ports: Option<Vec<Spanned<i64>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    session_commands: Number,
    session_bytes: Text,
    session_openings: Number,
    host_commands: Number,
    host_bytes: Text,
    host_openings: Number,
    host_sessions: Number,
    memory: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ProcessTable {
    user: Text,
    seccomp: Option<bool>,
    landlock: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct MarkTable {
    data: Number,
    adjust: Number,
    opaque: Number,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LogTable {
    format: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ControlTable {
    socket: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RestartTable {
    directory: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct MetricsTable {
    listen: Text,
}

impl Document {
    /// Checks every value and fills in what is absent.
    pub(super) fn check(mut self) -> Result<Config, Problem> {
        let default = Config::default();
        let control_ports =
            checked(self.control_ports, value::control_ports)?.unwrap_or(default.control_ports);
        Ok(Config {
            command_policy: command_policy::check(
                self.command_policy,
                self.policy.login_directory.take(),
                &control_ports,
            )?,
            policy: self.policy.check(&control_ports)?,
            control_ports,
            queues: checked(self.queue, value::queues)?.unwrap_or(default.queues),
            backend: checked(self.backend, backend)?.unwrap_or(default.backend),
            install_rules: self.install_rules.unwrap_or(default.install_rules),
            when_absent: checked(self.when_absent, when_absent)?.unwrap_or(default.when_absent),
            when_kernel_helps: checked(self.when_kernel_helps, when_kernel_helps)?
                .unwrap_or(default.when_kernel_helps),
            expectation: self.expectation.check()?,
            nat: self.nat.check()?,
            limits: self.limits.check()?,
            process: self.process.check()?,
            mark: self.mark.check()?,
            log: self.log.check()?,
            control: self.control.check()?,
            restart: self.restart.check()?,
            metrics: self.metrics.map(MetricsTable::check).transpose()?,
        })
    }
}

impl ExpectationTable {
    fn check(self) -> Result<Expectation, Problem> {
        let default = Expectation::default();
        Ok(Expectation {
            timeout: checked(self.timeout, value::timeout)?.unwrap_or(default.timeout),
            max_per_session: checked(self.max_per_session, value::max_per_session)?
                .unwrap_or(default.max_per_session),
            early_servers: networks(self.early_servers)?,
        })
    }
}

impl NatTable {
    fn check(self) -> Result<Nat, Problem> {
        let default = Nat::default();
        Ok(Nat {
            ports: checked(self.ports, value::ports)?.unwrap_or(default.ports),
            share: checked(self.share, value::share)?.unwrap_or(default.share),
        })
    }
}

impl PolicyTable {
    fn check(self, control_ports: &[u16]) -> Result<Policy, Problem> {
        let tls = tls::Written {
            data: self.tls_data,
            ports: self.tls_ports,
            at_once: self.tls_at_once,
            servers: self.tls_servers,
            implicit_ports: self.tls_implicit_ports,
        };
        Ok(Policy {
            unproven_servers: networks(self.unproven_servers)?,
            privileged_ports: networks(self.privileged_ports)?,
            third_party_data: networks(self.third_party_data)?,
            unsolicited_replies: networks(self.unsolicited_replies)?,
            after_epsv_all: networks(self.after_epsv_all)?,
            tls: tls.check(control_ports)?,
        })
    }
}

impl LimitsTable {
    fn check(self) -> Result<Limits, Problem> {
        let default = Limits::default();
        let limit = |written, default| {
            let checked = checked(written, value::limit)?;
            Ok::<_, Problem>(checked.unwrap_or(default))
        };
        Ok(Limits {
            session_commands: limit(self.session_commands, default.session_commands)?,
            session_bytes: checked(self.session_bytes, value::bytes)?
                .unwrap_or(default.session_bytes),
            session_openings: limit(self.session_openings, default.session_openings)?,
            host_commands: limit(self.host_commands, default.host_commands)?,
            host_bytes: checked(self.host_bytes, value::bytes)?.unwrap_or(default.host_bytes),
            host_openings: limit(self.host_openings, default.host_openings)?,
            host_sessions: limit(self.host_sessions, default.host_sessions)?,
            memory: checked(self.memory, value::memory)?.unwrap_or(default.memory),
        })
    }
}

impl ProcessTable {
    fn check(self) -> Result<Process, Problem> {
        let default = Process::default();
        Ok(Process {
            user: checked(self.user, value::user)?.unwrap_or(default.user),
            seccomp: self.seccomp.unwrap_or(default.seccomp),
            landlock: self.landlock.unwrap_or(default.landlock),
        })
    }
}

impl MarkTable {
    fn check(self) -> Result<Mark, Problem> {
        let default = Mark::default();
        let written = [&self.data, &self.adjust, &self.opaque]
            .map(|mark| mark.as_ref().map_or(0..0, Spanned::span));
        let mark = Mark {
            data: checked(self.data, value::mark)?.unwrap_or(default.data),
            adjust: checked(self.adjust, value::mark)?.unwrap_or(default.adjust),
            opaque: checked(self.opaque, value::mark)?.unwrap_or(default.opaque),
        };
        value::disjoint(&mark, &written)?;
        Ok(mark)
    }
}

impl LogTable {
    fn check(self) -> Result<Log, Problem> {
        let format = checked(self.format, log_format)?.unwrap_or_default();
        Ok(Log { format })
    }
}

impl ControlTable {
    fn check(self) -> Result<Control, Problem> {
        let socket = checked(self.socket, value::socket_path)?;
        Ok(socket.map_or_else(Control::default, |socket| Control { socket }))
    }
}

impl RestartTable {
    fn check(self) -> Result<Restart, Problem> {
        let directory = checked(self.directory, value::directory)?;
        Ok(directory.map_or_else(Restart::default, |directory| Restart { directory }))
    }
}

impl MetricsTable {
    fn check(self) -> Result<Metrics, Problem> {
        let listen = checked(self.listen, value::listen)?;
        Ok(listen.map_or_else(Metrics::default, |listen| Metrics { listen }))
    }
}

pub(super) fn networks(written: Networks) -> Result<Vec<IpNetwork>, Problem> {
    written
        .into_iter()
        .flatten()
        .filter_map(|network| checked(Some(network), value::network).transpose())
        .collect()
}

fn backend(written: &str) -> Result<Backend, String> {
    const NAMES: [(&str, Backend); 3] = [
        ("auto", Backend::Auto),
        ("conntrack", Backend::Conntrack),
        ("nftables", Backend::Nftables),
    ];
    value::one_of(written, &NAMES)
}

fn when_absent(written: &str) -> Result<WhenAbsent, String> {
    const NAMES: [(&str, WhenAbsent); 2] =
        [("bypass", WhenAbsent::Bypass), ("drop", WhenAbsent::Drop)];
    value::one_of(written, &NAMES)
}

fn when_kernel_helps(written: &str) -> Result<WhenKernelHelps, String> {
    const NAMES: [(&str, WhenKernelHelps); 2] = [
        ("step-aside", WhenKernelHelps::StepAside),
        ("refuse", WhenKernelHelps::Refuse),
    ];
    value::one_of(written, &NAMES)
}

fn log_format(written: &str) -> Result<LogFormat, String> {
    const NAMES: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    value::one_of(written, &NAMES)
}

/// Applies `check` to a value that was written, and blames the place where it stands.
pub(super) fn checked<W, T, V>(
    written: Option<Spanned<W>>,
    check: impl FnOnce(&V) -> Result<T, String>,
) -> Result<Option<T>, Problem>
where
    W: std::borrow::Borrow<V>,
    V: ?Sized,
{
    let Some(written) = written else {
        return Ok(None);
    };
    check(written.get_ref().borrow())
        .map(Some)
        .map_err(|reason| Problem::new(written.span(), reason))
}
