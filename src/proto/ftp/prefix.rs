//! Recognises partial lines that could still become announcements.
//!
//! Such a line is held until it ends, also where it can only become a malformed one. A malformed
//! line must not reach its receiver either, because that may read an endpoint in it.

use super::{
    command,
    kind::{AnnouncementKind, Role},
    reply,
};

/// Whether a partial line of this role could become an announcement, well-formed or not. It is true
/// for each prefix of each such line.
#[must_use]
pub fn could_announce(role: Role, start_of_line: &[u8]) -> bool {
    could_announce_any_of(role.kinds(), start_of_line)
}

/// [`could_announce`] for these kinds only. A line of the server need not be held for a 229 that
/// the client has not asked for.
#[must_use]
pub fn could_announce_any_of(kinds: &[AnnouncementKind], start_of_line: &[u8]) -> bool {
    kinds.iter().any(|&kind| match kind.announcer() {
        Role::Client => command::could_begin(kind, start_of_line),
        Role::Server => reply::could_begin(kind, start_of_line),
    })
}
