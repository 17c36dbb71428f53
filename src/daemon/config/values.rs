//! The values of the configuration: each type knows its bounds and says why it refuses a value.

use std::{
    ops::{Deref, RangeInclusive},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use serde::Deserialize;

use crate::{
    proto::{ftps::TLS_PORTS_MAX, session::endpoint_check::DATA_PORT_MIN},
    ruleset::{Backend, LOCK_QUEUE, PICKUP_QUEUE},
};

/// One worker thread for each queue; a gateway has fewer cores than this.
const QUEUES_MAX: usize = 64;

/// Shorter than a slow client needs between reading the reply and its SYN, it only breaks
/// transfers. The longest is twelve times what the kernel's own helper allows (300 s,
/// `nf_conntrack_ftp.c`).
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// Below 1M, a long path name would have to wait; 2G is more than a queue can carry.
const BYTE_RATES: RangeInclusive<u32> = 1 << 20..=2 << 30;

/// Four thousand idle sessions, because less would forget sessions that are under way; and more
/// than as many connections as are followed can take.
const MEMORY_SIZES: RangeInclusive<usize> = 8 << 20..=64 << 30;

/// The longest path of a command or a pattern, in bytes.
const SERVER_PATH_MAX: usize = crate::proto::command_policy::PATTERN_MAX;

/// A number within these bounds, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Deserialize)]
#[serde(try_from = "i64")]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

/// How many may be at once in one session. A client has one transfer at a time on a control
/// connection (RFC 959 §3.2); a few more for those that announce ahead.
pub type AtOnce = Bounded<1, 16>;

/// A limit. The most is more than any machine comes to.
pub type Count = Bounded<1, 1_000_000>;

/// Declares types that are read from a text and may be used as what they hold.
macro_rules! texts {
    ($($(#[$about:meta])+ $Name:ident($Held:ty) = $read:ident;)+) => {$(
        $(#[$about])+
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $Name($Held);

        impl TryFrom<String> for $Name {
            type Error = String;

            fn try_from(written: String) -> Result<Self, String> {
                $read(&written).map(Self)
            }
        }

        impl Deref for $Name {
            type Target = $Held;

            fn deref(&self) -> &$Held {
                &self.0
            }
        }
    )+};
}

texts! {
    /// The queue numbers, such as `"0-1"` or `"3"`.
    Queues(RangeInclusive<u16>) = queues;
    /// The backend, or `"auto"`, which is none of them.
    BackendChoice(Option<Backend>) = backend;
    /// How long an expectation may wait, such as `"300s"`.
    Timeout(Duration) = timeout;
    /// The ports that may be given to announcements, such as `"1024-65535"`.
    NatPorts(RangeInclusive<u16>) = nat_ports;
    /// The ports of encrypted sessions' data connections, such as `"50000-50099"`.
    TlsPorts(RangeInclusive<u16>) = tls_ports;
    /// Bytes a second, such as `"8M"`.
    #[derive(Copy, PartialOrd)]
    ByteRate(u32) = byte_rate;
    /// Bytes of memory, such as `"256M"`.
    MemorySize(usize) = memory_size;
    /// The user that the process becomes, by name or number; `"auto"` names none.
    User(Option<String>) = user;
    /// A path on this machine, such as `"/run/ftp-alg/flows"`.
    AbsolutePath(PathBuf) = absolute_path;
    /// A directory on the servers, from their root.
    ServerDirectory(String) = server_directory;
}

/// The ports of control connections, ascending, each once, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "List<Bounded<1, 65535>>")]
pub struct ControlPorts(Vec<u16>);

/// A list. What is wrong with an element is blamed on its place, not on that of the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Item<T>>", bound = "T: Deserialize<'de>")]
pub struct List<T>(Vec<T>);

/// An element of a list. The TOML reader blames errors on the place of the closest struct.
#[derive(Deserialize)]
struct Item<T>(T);

/// Which data connections encrypted sessions may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsData {
    /// None.
    None,
    /// Those to a range of ports.
    Range,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A readable line.
    Text,
    /// One JSON object a line.
    Json,
}

impl<const MIN: u32, const MAX: u32> TryFrom<i64> for Bounded<MIN, MAX> {
    type Error = String;

    fn try_from(written: i64) -> Result<Self, String> {
        let number = u32::try_from(written).ok();
        let bounded = number.filter(|number| (MIN..=MAX).contains(number));
        let number = bounded.ok_or_else(|| format!("{written} is not from {MIN} to {MAX}"))?;
        Ok(Self(number))
    }
}

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<T> From<Vec<Item<T>>> for List<T> {
    fn from(written: Vec<Item<T>>) -> Self {
        Self(written.into_iter().map(|item| item.0).collect())
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl TryFrom<List<Bounded<1, 65535>>> for ControlPorts {
    type Error = &'static str;

    fn try_from(written: List<Bounded<1, 65535>>) -> Result<Self, &'static str> {
        if written.is_empty() {
            return Err("no control port; name at least one, such as [21]");
        }
        let mut ports: Vec<u16> = written.iter().map(|port| port.0 as u16).collect();
        ports.sort_unstable();
        ports.dedup();
        Ok(Self(ports))
    }
}

impl Deref for ControlPorts {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        &self.0
    }
}

fn queues(written: &str) -> Result<RangeInclusive<u16>, String> {
    let queues = range(written, "queue numbers such as \"0-1\"")?;
    match queues.len() {
        ..=QUEUES_MAX if *queues.end() >= PICKUP_QUEUE => Err(format!(
            "queues {PICKUP_QUEUE} and {LOCK_QUEUE} are the daemon's own"
        )),
        ..=QUEUES_MAX => Ok(queues),
        count => Err(format!(
            "{count} queues, a worker each, are more than {QUEUES_MAX}"
        )),
    }
}

fn backend(written: &str) -> Result<Option<Backend>, String> {
    match written {
        "auto" => Ok(None),
        "conntrack" => Ok(Some(Backend::Conntrack)),
        "nftables" => Ok(Some(Backend::Nftables)),
        _ => Err(format!(
            "`{written}` is not one of \"auto\", \"conntrack\", \"nftables\""
        )),
    }
}

fn timeout(written: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(written).map_err(|error| {
        format!("`{written}` is not a time such as \"500ms\" or \"2m\": {error}")
    })?;
    let is_bounded = TIMEOUTS.contains(&timeout);
    is_bounded.then_some(timeout).ok_or_else(|| {
        let [least, most] =
            [TIMEOUTS.start(), TIMEOUTS.end()].map(|end| humantime::format_duration(*end));
        format!("`{written}` is not between {least} and {most}")
    })
}

fn nat_ports(written: &str) -> Result<RangeInclusive<u16>, String> {
    let ports = range(written, "ports such as \"1024-65535\"")?;
    if *ports.start() == 0 {
        return Err("port 0 cannot be announced; begin at 1 or above".to_owned());
    }
    Ok(ports)
}

fn tls_ports(written: &str) -> Result<RangeInclusive<u16>, String> {
    let ports = range(written, "ports such as \"50000-50099\"")?;
    if *ports.start() < DATA_PORT_MIN {
        return Err(format!(
            "`{written}` has ports below {DATA_PORT_MIN}, where no data connection goes"
        ));
    }
    match ports.len() {
        ..=TLS_PORTS_MAX => Ok(ports),
        count => Err(format!(
            "`{written}` has {count} ports, more than {TLS_PORTS_MAX}: have the servers use a \
             narrow range (pasv_min_port, PassivePorts) and name that"
        )),
    }
}

fn byte_rate(written: &str) -> Result<u32, String> {
    size(written)
        .filter(|bytes| BYTE_RATES.contains(bytes))
        .ok_or_else(|| format!("`{written}` is not a size such as \"8M\", from 1M to 2G"))
}

fn memory_size(written: &str) -> Result<usize, String> {
    size(written)
        .filter(|bytes| MEMORY_SIZES.contains(bytes))
        .ok_or_else(|| {
            format!("`{written}` is not a size such as \"256M\" or \"1G\", from 8M to 64G")
        })
}

fn user(written: &str) -> Result<Option<String>, String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == ':';
    if written.is_empty() || written.contains(is_odd) {
        let written = written.escape_debug();
        return Err(format!("`{written}` is not a user's name or number"));
    }
    Ok((written != "auto").then(|| written.to_owned()))
}

fn absolute_path(written: &str) -> Result<PathBuf, String> {
    if !written.starts_with('/') || written.contains('\0') {
        let written = written.escape_debug();
        return Err(format!("`{written}` is not an absolute path"));
    }
    Ok(PathBuf::from(written))
}

fn server_directory(written: &str) -> Result<String, String> {
    if !written.starts_with('/') || written.len() > SERVER_PATH_MAX {
        return Err(format!(
            "a directory of the servers begins with a slash and has at most {SERVER_PATH_MAX} bytes"
        ));
    }
    Ok(written.to_owned())
}

/// `"a-b"`, ends included, or `"a"` for one.
fn range(written: &str, what: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    let (Some(first), Some(last)) = (number::<u16>(first), number::<u16>(last)) else {
        return Err(format!("`{written}` is not {what}"));
    };
    if first > last {
        return Err(format!("`{written}` runs backwards"));
    }
    Ok(first..=last)
}

/// `"8M"` or `"1G"`, in bytes.
fn size<T: TryFrom<u64>>(written: &str) -> Option<T> {
    let (count, shift) = match written.split_at_checked(written.len().checked_sub(1)?)? {
        (count, "M") => (count, 20),
        (count, "G") => (count, 30),
        _ => return None,
    };
    let bytes = number::<u64>(count)?.checked_mul(1 << shift)?;
    T::try_from(bytes).ok()
}

/// Digits only: `FromStr` alone would take a leading `+`.
fn number<T: FromStr>(written: &str) -> Option<T> {
    let is_plain = written.bytes().all(|byte| byte.is_ascii_digit());
    written.parse().ok().filter(|_| is_plain)
}
