//! Whether a line that has not ended yet could still announce.

use super::{
    announcement::{AnnouncementKind, Role},
    command,
    malformed::Fault,
    reply,
};

/// Whether bytes at the start of a line of this role could still become an announcement.
///
/// True for every prefix of every line that parses as one; false as soon as no continuation
/// could. It runs the very parsers that read whole lines, so the two cannot disagree.
#[must_use]
pub fn could_announce(role: Role, start_of_line: &[u8]) -> bool {
    could_announce_any_of(role.kinds(), start_of_line)
}

/// The same for some kinds only: a server's lines need not wait for a 229 nobody asked for.
#[must_use]
pub fn could_announce_any_of(kinds: &[AnnouncementKind], start_of_line: &[u8]) -> bool {
    kinds.iter().any(|&kind| {
        let parsed = match kind.announcer() {
            Role::Client => command::parse_announcing_command(kind, start_of_line),
            Role::Server => reply::parse_reply_of_kind(kind, start_of_line),
        };
        !matches!(parsed, Err(Fault::Wrong(_)))
    })
}
