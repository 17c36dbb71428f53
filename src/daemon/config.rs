//! What an operator may decide: the TOML configuration, read, checked and given its defaults.
//!
//! Every key has a default, an unknown key is an error, and every error says file, line, column and
//! reason on one line. What has come out of [`Config::parse`] needs no further check.

mod command_policy;
mod document;
mod error;
mod tls;
mod value;
mod weakened_defaults;

use ipnetwork::IpNetwork;
use std::{
    fs,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use error::ConfigError;
pub use tls::Tls;
pub use weakened_defaults::WeakenedDefault;

use crate::proto::{budget::Limits, command_policy::CommandPolicy, nat::PortShare};

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Server ports whose connections are control connections, ascending, each once.
    pub control_ports: Vec<u16>,
    /// The NFQUEUE numbers, one worker each.
    pub queues: RangeInclusive<u16>,
    /// What opens the way for a data connection.
    pub backend: Backend,
    /// Whether the daemon puts its own table in place and takes it away on exit.
    pub install_rules: bool,
    /// What becomes of a control connection's packets while no daemon runs.
    pub when_absent: WhenAbsent,
    /// What becomes of a control connection that the kernel's own FTP helper reads as well.
    pub when_kernel_helps: WhenKernelHelps,
    /// Limits of expectations.
    pub expectation: Expectation,
    /// How announcements are translated.
    pub nat: Nat,
    /// What is opened beyond the safe defaults.
    pub policy: Policy,
    /// What clients may say.
    pub command_policy: Arc<CommandPolicy>,
    /// How much a session and a host may ask for, and how much memory all of them may take.
    pub limits: Limits,
    /// What the process keeps once it is in place.
    pub process: Process,
    /// The ct mark bits that are ours.
    pub mark: Mark,
    /// How the log looks.
    pub log: Log,
    /// Where the running daemon answers questions.
    pub control: Control,
    /// What a restart finds.
    pub restart: Restart,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<Metrics>,
}

/// What opens the way for a data connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Probe the kernel and take the best it has.
    #[default]
    Auto,
    /// Expectations of the kernel's connection tracking: data connections are RELATED.
    Conntrack,
    /// Timeout sets and maps in our own table: data connections carry our ct mark.
    Nftables,
}

/// What becomes of a control connection's packets while no daemon runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAbsent {
    /// They pass unread.
    #[default]
    Bypass,
    /// They are dropped.
    Drop,
}

/// What becomes of a control connection that the kernel's own FTP helper reads as well. Never do two
/// rewrite the same line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenKernelHelps {
    /// It is left to the kernel's helper.
    #[default]
    StepAside,
    /// Its packets are dropped, so that nothing is opened but by our policy.
    Refuse,
}

/// Limits of expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// How long an expectation may wait for its connection.
    pub timeout: Duration,
    /// How many of one session may wait at once; a newer announcement replaces the oldest.
    pub max_per_session: u8,
    /// Servers that connect before they answer PORT: what is announced to them is open at once.
    pub early_servers: Vec<IpNetwork>,
}

/// How announcements are translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// The outside ports an announcement may be given.
    pub ports: RangeInclusive<u16>,
    /// Which of them this gateway gives, of several that stand in for each other.
    pub share: PortShare,
}

/// Where the operator relaxes what is refused by default. Each of these opens more than FTP needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Servers for whose sessions something is opened before they have shown that they are FTP,
    /// and their user let in.
    pub unproven_servers: Vec<IpNetwork>,
    /// Hosts that may announce a port below 1024.
    pub privileged_ports: Vec<IpNetwork>,
    /// Hosts whose endpoints others may announce.
    pub third_party_data: Vec<IpNetwork>,
    /// Servers whose 227, 228 and 229 count although nobody asked for them.
    pub unsolicited_replies: Vec<IpNetwork>,
    /// Servers whose clients may announce by other means after EPSV ALL.
    pub after_epsv_all: Vec<IpNetwork>,
    /// What encrypted sessions may have.
    pub tls: Tls,
}

/// What the process keeps once it is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Whom it becomes.
    pub user: User,
    /// Whether its system calls are filtered.
    pub seccomp: bool,
    /// Whether the files that it reaches are limited, where the kernel can do that.
    pub landlock: bool,
}

/// Whom the process becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// `ftp-alg`, if the machine has such a user and root started the process.
    #[default]
    OwnIfThere,
    /// This user, by name or number, or the daemon does not start.
    Named(String),
}

/// The ct mark bits that are ours. No two share a bit, none is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// A data connection that was expected (nftables backend).
    pub data: u32,
    /// A control connection with a sequence offset.
    pub adjust: u32,
    /// A control connection that went encrypted.
    pub opaque: u32,
}

/// How the log looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Lines for people or objects for programs.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A readable line.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the running daemon answers questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The path of the Unix socket.
    pub socket: PathBuf,
}

/// What a restart finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The directory, best on a tmpfs, in which connections with a sequence offset are remembered.
    pub directory: PathBuf,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The address and port of the HTTP listener.
    pub listen: SocketAddr,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or [`Config::parse`] refuses it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|source| ConfigError::unreadable(&name, &source))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, &name),
            Err(error) => Err(ConfigError::not_utf8(&name, &bytes, error.valid_up_to())),
        }
    }

    /// Checks the text of a configuration; `file_name` is for the error message only.
    ///
    /// # Errors
    /// It is not TOML, has an unknown key, or a value that makes no sense.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigError> {
        toml::from_str::<document::Document>(text)
            .map_err(|error| value::Problem::from(&error))
            .and_then(document::Document::check)
            .map_err(|problem| ConfigError::at(file_name, text, &problem))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            control_ports: vec![21],
            queues: 0..=1,
            backend: Backend::default(),
            install_rules: true,
            when_absent: WhenAbsent::default(),
            when_kernel_helps: WhenKernelHelps::default(),
            expectation: Expectation::default(),
            nat: Nat::default(),
            policy: Policy::default(),
            command_policy: Arc::default(),
            limits: Limits::default(),
            process: Process::default(),
            mark: Mark::default(),
            log: Log::default(),
            control: Control::default(),
            restart: Restart::default(),
            metrics: None,
        }
    }
}

impl Default for Expectation {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            max_per_session: 1,
            early_servers: Vec::new(),
        }
    }
}

impl Default for Nat {
    fn default() -> Self {
        Self {
            ports: 1024..=65535,
            share: PortShare::WHOLE,
        }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self {
            user: User::default(),
            seccomp: true,
            landlock: true,
        }
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self {
            data: 0x1000_0000,
            adjust: 0x2000_0000,
            opaque: 0x4000_0000,
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/ftp-alg/control.sock"),
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/run/ftp-alg/flows"),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9121)),
        }
    }
}

#[cfg(test)]
mod tests;
