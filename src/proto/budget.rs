//! How much one session, and all sessions of one host, may ask for.
//!
//! Each limit is a token bucket. A segment that exceeds the commands or the bytes is dropped. TCP
//! repeats it, later each time, so that nothing is kept here for a sender of too much. An
//! announcement that exceeds the pinholes is refused.
//!
//! A session beyond the number of sessions of its host is reset. A session counts from its first
//! byte of payload on: a forged handshake in a host's name cannot make the server speak.
//!
//! A host is the address of a client. For IPv6 it is the first 64 bits, because one host has the
//! whole /64 (RFC 4291 §2.5.1).

mod counted;
mod hosts;
mod token_bucket;

pub use counted::SessionCount;
pub use hosts::{HOSTS_MAX, HostTable, SegmentCost};
pub use token_bucket::{BURST, TokenBucket};

/// The fewest bytes that a segment is charged for. Its way through the queue takes some 5 µs,
/// whatever its length is.
pub const SEGMENT_MIN: u32 = 256;

/// The limits of sessions and of hosts. A rate is per second, and its bucket is [`BURST`] deep.
///
/// The defaults are out of reach of an FTP client that waits for its answers, and each client that
/// transfers files does. One file takes PORT or PASV, RETR, a data connection and two replies,
/// which is at least 1 ms between hosts of one Ethernet. Sixteen parallel sessions of one host,
/// without a disk behind them, reached 14,400 files per second on the machine of this project.
/// That is 28,800 commands, and 7 MiB of client segments of [`SEGMENT_MIN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands of a session. Each segment of the client counts as at least one.
    pub session_commands: u32,
    /// Bytes of a session, of both directions together. Each segment counts as at least
    /// [`SEGMENT_MIN`].
    pub session_bytes: u32,
    /// Pinholes that are opened for a session.
    pub session_openings: u32,
    /// Commands of all sessions of a host.
    pub host_commands: u32,
    /// Bytes that the client sends in all sessions of a host. The bytes of servers do not count:
    /// otherwise one server could slow the sessions of its client with other servers.
    pub host_bytes: u32,
    /// Pinholes that are opened for all sessions of a host.
    pub host_openings: u32,
    /// Sessions of a host at one time. A thousand people behind one address have fewer.
    pub host_sessions: u32,
    /// Bytes of memory that the flows of one core may take.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_commands: 5_000,
            session_bytes: 4 << 20,
            session_openings: 2_000,
            host_commands: 50_000,
            host_bytes: 16 << 20,
            host_openings: 20_000,
            host_sessions: 4_096,
            memory: 256 << 20,
        }
    }
}
