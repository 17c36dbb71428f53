//! Each value of the configuration: what it may be, and the reason it is refused.

use std::{
    fmt::Display,
    net::SocketAddr,
    ops::{Range, RangeInclusive},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use ipnetwork::IpNetwork;
use toml::Spanned;

use super::{Mark, User};
use crate::proto::nat::PortShare;

/// One worker thread for each queue; a gateway has fewer cores than this.
const MAX_QUEUES: u16 = 64;

/// Shorter than a slow client needs between reading the reply and its SYN, it only breaks transfers.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Twelve times what the kernel's own helper allows (300 s, `nf_conntrack_ftp.c`).
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// A client has one transfer at a time on a control connection (RFC 959 §3.2); a few more for
/// those that announce ahead.
const MAX_PER_SESSION: u8 = 16;

/// More than any machine comes to.
const LIMIT_MAX: u32 = 1_000_000;

/// Below it a long path name would be waited for; the most is more than a queue can carry.
const BYTES_MIN: u32 = 1 << 20;
const BYTES_MAX: u32 = 2 << 30;

/// Four thousand idle sessions. With less, what is under way would have to make room.
const MEMORY_MIN: usize = 8 << 20;

/// More than as many connections as are followed can take.
const MEMORY_MAX: usize = 64 << 30;

/// Gateways that stand in for each other; conntrackd knows of no more than a handful.
const MAX_SHARES: u16 = 16;

/// `sun_path` has 108 bytes with its terminating zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// What is wrong, and at which bytes of the text.
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) reason: String,
}

impl Problem {
    pub(super) fn new(span: Range<usize>, reason: impl Into<String>) -> Self {
        Self {
            span,
            reason: reason.into(),
        }
    }
}

impl From<&toml::de::Error> for Problem {
    fn from(error: &toml::de::Error) -> Self {
        Self::new(error.span().unwrap_or(0..0), error.message())
    }
}

/// `[21, 2121]`
pub(super) fn control_ports(written: &[Spanned<i64>]) -> Result<Vec<u16>, String> {
    if written.is_empty() {
        return Err("no control port; name at least one, such as [21]".to_owned());
    }
    let mut ports = written
        .iter()
        .map(|port| in_range(*port.get_ref(), 1..=u16::MAX, "a control port"))
        .collect::<Result<Vec<_>, _>>()?;
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

/// `"0-1"` or `"3"`
pub(super) fn queues(written: &str) -> Result<RangeInclusive<u16>, String> {
    let queues = range(written, "queue numbers such as \"0-1\"")?;
    let count = queues.len();
    if count > usize::from(MAX_QUEUES) {
        return Err(format!(
            "{count} queues, a worker each, are more than {MAX_QUEUES}"
        ));
    }
    Ok(queues)
}

/// `"1024-65535"`
pub(super) fn ports(written: &str) -> Result<RangeInclusive<u16>, String> {
    let ports = range(written, "ports such as \"1024-65535\"")?;
    if *ports.start() == 0 {
        return Err("port 0 cannot be announced; begin at 1 or above".to_owned());
    }
    Ok(ports)
}

/// `"1/2"`
pub(super) fn share(written: &str) -> Result<PortShare, String> {
    let share = written.split_once('/').and_then(|(part, of)| {
        Some(PortShare {
            part: part.parse().ok()?,
            of: of.parse().ok()?,
        })
    });
    share
        .filter(|share| (1..=share.of).contains(&share.part) && share.of <= MAX_SHARES)
        .ok_or_else(|| {
            format!("`{written}` is not a share such as \"1/2\", of at most {MAX_SHARES}")
        })
}

/// `"60s"`
pub(super) fn timeout(written: &str) -> Result<Duration, String> {
    let timeout = duration(written)
        .ok_or_else(|| format!("`{written}` is not a time such as \"500ms\", \"60s\" or \"2m\""))?;
    if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) {
        return Err(format!(
            "`{written}` is not between {MIN_TIMEOUT:?} and {} minutes",
            MAX_TIMEOUT.as_secs() / 60
        ));
    }
    Ok(timeout)
}

pub(super) fn max_per_session(written: &i64) -> Result<u8, String> {
    in_range(*written, 1..=MAX_PER_SESSION, "expectations of one session")
}

pub(super) fn limit(written: &i64) -> Result<u32, String> {
    in_range(*written, 1..=LIMIT_MAX, "a limit")
}

/// `"256M"`, in bytes
pub(super) fn memory(written: &str) -> Result<usize, String> {
    size(written)
        .filter(|bytes| (MEMORY_MIN..=MEMORY_MAX).contains(bytes))
        .ok_or_else(|| {
            format!("`{written}` is not a size such as \"256M\" or \"1G\", from 8M to 64G")
        })
}

/// `"8M"`, in bytes a second
pub(super) fn bytes(written: &str) -> Result<u32, String> {
    size(written)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .filter(|bytes| (BYTES_MIN..=BYTES_MAX).contains(bytes))
        .ok_or_else(|| format!("`{written}` is not a size such as \"8M\", from 1M to 2G"))
}

fn size(written: &str) -> Option<usize> {
    let at = written.len().checked_sub(1)?;
    let shift = match written.get(at..)? {
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    number::<usize>(written.get(..at)?)?.checked_mul(1 << shift)
}

/// `"10.0.0.0/24"`, or one address
pub(super) fn network(written: &str) -> Result<IpNetwork, String> {
    written.parse().map_err(|_| {
        format!("`{written}` is not a network such as \"10.0.0.0/24\", \"2001:db8::/32\" or \"10.0.0.5\"")
    })
}

pub(super) fn mark(written: &i64) -> Result<u32, String> {
    in_range(*written, 1..=u32::MAX, "a ct mark")
}

/// Refuses marks that share a bit, at the later one that was `written` (in the order data,
/// adjust, opaque; an empty span stands for a default).
pub(super) fn disjoint(mark: &Mark, written: &[Range<usize>; 3]) -> Result<(), Problem> {
    let [data, adjust, opaque] = written;
    let pairs = [
        ("data", mark.data, data, "adjust", mark.adjust, adjust),
        ("data", mark.data, data, "opaque", mark.opaque, opaque),
        ("adjust", mark.adjust, adjust, "opaque", mark.opaque, opaque),
    ];
    for (first, first_bits, first_span, second, second_bits, second_span) in pairs {
        let common = first_bits & second_bits;
        if common != 0 {
            let span = std::cmp::max_by_key(first_span, second_span, |span| span.start);
            let reason = format!("mark.{first} and mark.{second} share the bits {common:#x}");
            return Err(Problem::new(span.clone(), reason));
        }
    }
    Ok(())
}

pub(super) fn socket_path(written: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(written);
    if !path.is_absolute() {
        return Err(format!("`{written}` is not an absolute path"));
    }
    if written.len() > MAX_SOCKET_PATH || written.contains('\0') {
        return Err(format!(
            "a socket's path has at most {MAX_SOCKET_PATH} bytes and no NUL"
        ));
    }
    Ok(path)
}

/// `"auto"`, `"ftp-alg"`, or a number
pub(super) fn user(written: &str) -> Result<User, String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == ':';
    if written.is_empty() || written.contains(is_odd) {
        return Err(format!(
            "`{}` is not a user's name or number",
            written.escape_debug()
        ));
    }
    Ok(match written {
        "auto" => User::OwnIfThere,
        name => User::Named(name.to_owned()),
    })
}

/// `"/run/ftp-alg/flows"`
pub(super) fn directory(written: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(written);
    if !path.is_absolute() || written.contains('\0') {
        return Err(format!(
            "`{}` is not an absolute path",
            written.escape_debug()
        ));
    }
    Ok(path)
}

/// `"127.0.0.1:9121"` or `"[::1]:9121"`
pub(super) fn listen(written: &str) -> Result<SocketAddr, String> {
    match written.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        Ok(_) => Err("port 0 cannot be listened on".to_owned()),
        Err(_) => Err(format!(
            "`{written}` is not an address and port such as \"127.0.0.1:9121\""
        )),
    }
}

/// The value whose name was written.
pub(super) fn one_of<T: Copy>(written: &str, names: &[(&str, T)]) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == written);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<_> = names
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        format!("`{written}` is not one of {}", names.join(", "))
    })
}

pub(super) fn in_range<T>(written: i64, allowed: RangeInclusive<T>, what: &str) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    T::try_from(written)
        .ok()
        .filter(|value| allowed.contains(value))
        .ok_or_else(|| {
            let (first, last) = allowed.into_inner();
            format!("{written} is not {what}: it must be from {first} to {last}")
        })
}

/// `"a-b"`, ends included, or `"a"` for one.
pub(super) fn range(written: &str, what: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    let (Some(first), Some(last)) = (number::<u16>(first), number::<u16>(last)) else {
        return Err(format!("`{written}` is not {what}"));
    };
    if first > last {
        return Err(format!("`{written}` runs backwards"));
    }
    Ok(first..=last)
}

fn duration(written: &str) -> Option<Duration> {
    let unit_at = written.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = written.split_at(unit_at);
    let count = number::<u64>(count)?;
    match unit {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs),
        "h" => count.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// Digits only: `FromStr` alone would take a leading `+`.
fn number<T: FromStr>(written: &str) -> Option<T> {
    let is_plain = written.bytes().all(|byte| byte.is_ascii_digit());
    written.parse().ok().filter(|_| is_plain)
}
