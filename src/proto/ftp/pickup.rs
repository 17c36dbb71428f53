//! Whether a segment in the middle of a connection begins a line.

use super::{Command, ReplyLine, Role};

/// Whether `payload`, whose past is unknown, reads as whole lines of FTP from its first byte on:
/// a known command of the client, or a reply line of the server, and the last line ended.
///
/// It is how a connection that existed before the daemon is picked up. A line that begins
/// elsewhere, or has not ended yet, is skipped to the next line's start instead.
#[must_use]
pub fn reads_as_line(role: Role, payload: &[u8]) -> bool {
    let Some(lines) = payload.strip_suffix(b"\n") else {
        return false;
    };
    let first = lines
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    match role {
        Role::Client => Command::parse(first) != Command::Other,
        Role::Server => ReplyLine::parse(first).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_commands_and_replies_read_as_lines() {
        assert!(reads_as_line(Role::Client, b"PASV\r\n"));
        assert!(reads_as_line(
            Role::Client,
            b"PORT 10,0,0,2,19,137\r\nRETR x\r\n"
        ));
        assert!(reads_as_line(
            Role::Server,
            b"227 Entering Passive Mode (10,0,0,5,19,137).\r\n"
        ));
        assert!(reads_as_line(
            Role::Server,
            b"211-Features:\n EPSV\n211 End\n"
        ));
    }

    #[test]
    fn parts_of_lines_and_other_text_do_not() {
        for part in [
            &b"PASV"[..],
            b"ASV\r\n",
            b"\r\n",
            b"",
            b"POST / HTTP/1.1\r\n",
        ] {
            assert!(!reads_as_line(Role::Client, part), "{part:?}");
        }
        for part in [
            &b"227 Entering"[..],
            b"ring Passive Mode (10,0,0,5,19,137)\r\n",
            b" 227 x\r\n",
        ] {
            assert!(!reads_as_line(Role::Server, part), "{part:?}");
        }
    }
}
