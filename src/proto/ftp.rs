//! The grammar of the control connection: lines in, commands, replies and announcements out.
//!
//! Everything here works on one line at a time, without its end (CRLF or LF). What a line means
//! for the session is not decided here, only what it says:
//!
//! * [`Command::parse`] and [`ReplyLine::parse`] say which command or reply a line is.
//! * An [`Announcement`] is a data endpoint that a line announces, with the place in the line
//!   where it stands, so that [`Announcement::rewrite`] can spell the line with another one.
//! * [`could_announce`] says whether a line that has not ended yet could still become one, so
//!   that its bytes are kept back until it is certain.
//!
//! One rule governs every parser: an announcement is accepted if it can be read in one way only.
//! A line that two servers or two clients in use would read differently (`010`, an octet above
//! 255, seven numbers instead of six, two host-ports in one reply) is [`Malformed`]; nothing is
//! wrapped, guessed or repaired. RFC 959, 1123 §4.1.2, 1639, 2428.

#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod announcement;
mod command;
mod cursor;
mod endpoint;
mod malformed;
mod pickup;
mod prefix;
mod refused;
mod reply;
mod rewrite;
mod spelling;
mod telnet;
#[cfg(test)]
mod tests;

pub use announcement::{Announcement, AnnouncementKind, Role};
pub use command::{Command, EpsvArgument, is_command_shaped};
pub use malformed::Malformed;
pub use pickup::reads_as_line;
pub use prefix::{could_announce, could_announce_any_of};
pub use refused::{Reason, refusal_reply, substitute_command, with_refusal_code};
pub use reply::{ReplyLine, parse_announcing_reply};
pub use rewrite::Rewritten;
pub use telnet::{SYNCH, is_sequences, skip_sequences};
