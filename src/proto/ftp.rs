//! The grammar of the control connection: commands, replies and announcements (RFC 959, RFC 1123
//! §4.1.2, RFC 1639, RFC 2428).
//!
//! All functions take one line, without its end (CRLF or LF). The session decides what a line
//! means for its dialogue.
//!
//! * [`Command::parse`] and [`ReplyLine::parse`] read a command or a reply.
//! * An [`Announcement`] is a data endpoint with its place in the line, so that
//!   [`Announcement::rewrite`] can spell the line with another endpoint.
//! * [`could_announce`] says whether a partial line could still become an announcement, so that it
//!   has to be held.
//!
//! One principle governs all parsers: an announcement is accepted if and only if it can be read in
//! one way. Some lines are read differently by servers or clients in use: `010` in a dotted quad,
//! an octet above 255, seven numbers instead of six, two host-ports in one reply. They are
//! [`Malformed`]. No parser guesses. Other lines are spelled oddly, and have one reading all the
//! same: blanks around a number, leading zeros in a list of six, no parentheses.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod announcement;
mod command;
mod cursor;
mod endpoint;
mod first_words;
mod kind;
mod malformed;
mod password;
mod pickup;
mod prefix;
mod proxy_header;
mod refused;
mod reply;
mod rewrite;
mod spelling;
mod telnet;
#[cfg(test)]
mod tests;

pub use announcement::Announcement;
pub use command::{Command, EpsvArgument};
pub use first_words::{is_command_shaped, may_precede_login};
pub use kind::{AnnouncementKind, Role};
pub use malformed::Malformed;
pub use password::holds_password;
pub use pickup::reads_as_line;
pub use prefix::{could_announce, could_announce_any_of};
pub use proxy_header::ProxyHeader;
pub use refused::{Reason, refusal_reply, substitute_command, with_refusal_code};
pub use reply::{ReplyLine, parse_announcing_reply};
pub use rewrite::Rewritten;
pub use telnet::{SYNCH, is_sequences, skip_sequences};
