//! Whether a line that has not ended yet could still announce, or try to.
//!
//! What begins as an announcing line is waited for as a whole, however it goes on: one that turns out to be
//! malformed must not reach its reader either, since another reader may find an endpoint in it.

use super::{
    announcement::{AnnouncementKind, Role},
    command, reply,
};

/// Whether bytes at the start of a line of this role could still become a line that announces, readable or
/// not: true for every prefix of every such line.
#[must_use]
pub fn could_announce(role: Role, start_of_line: &[u8]) -> bool {
    could_announce_any_of(role.kinds(), start_of_line)
}

/// The same for some kinds only: a server's lines need not wait for a 229 nobody asked for.
#[must_use]
pub fn could_announce_any_of(kinds: &[AnnouncementKind], start_of_line: &[u8]) -> bool {
    kinds.iter().any(|&kind| match kind.announcer() {
        Role::Client => command::could_begin(kind, start_of_line),
        Role::Server => reply::could_begin(kind, start_of_line),
    })
}
