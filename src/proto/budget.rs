//! How much one session, and all sessions of one host, may ask for.
//!
//! What is over its budget of commands or bytes waits: the segment is dropped, and TCP repeats it
//! later and later, so nothing is kept here for whoever sends too much. What is over its budget of
//! openings is refused, and passes unopened. A session beyond a host's number of sessions is reset;
//! one counts from its first word on, since whoever forges a handshake in a host's name cannot make
//! the server speak.
//!
//! A host is the client's address; of IPv6 the first 64 bits, since one host has all the rest
//! (RFC 4291 §2.5.1).

mod counted;
mod hosts;
mod rate;

pub use counted::SessionCount;
pub use hosts::{HOSTS_MAX, HostTable, SegmentCost};
pub use rate::{BURST, Budget};

/// The least that a segment costs of the bytes. What it takes here is mostly its way through the
/// queue, some 5 µs whatever its length.
pub const SEGMENT_MIN: u32 = 256;

/// How much is too much. Rates are a second, on the average of [`BURST`].
///
/// The defaults are beyond what an FTP client reaches that waits for its answers, which all do that
/// transfer files: a file takes PORT or PASV, then RETR, then a data connection, then two replies,
/// some 1 ms at the least between hosts of one Ethernet. Sixteen sessions side by side without a
/// disk behind them reached 14,400 files a second on this project's machine, all in one host's
/// name: 28,800 commands, and 7 MiB of client's segments at their least cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands of a session. Each segment of the client is one at the least.
    pub session_commands: u32,
    /// Bytes of a session, both ways together; a segment is [`SEGMENT_MIN`] at the least.
    pub session_bytes: u32,
    /// Announcements of a session that are honoured.
    pub session_openings: u32,
    /// Commands of all sessions of a host.
    pub host_commands: u32,
    /// Bytes that the client says in all sessions of a host. What servers say is not in it: one
    /// could otherwise slow its client's sessions with others.
    pub host_bytes: u32,
    /// Announcements of all sessions of a host that are honoured.
    pub host_openings: u32,
    /// Sessions of a host at once. A thousand people behind one address have less.
    pub host_sessions: u32,
    /// Bytes of memory that the connections of one core may take.
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
