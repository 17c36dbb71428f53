//! Recognises a segment in the middle of a connection that begins a line.

use super::{Command, ReplyLine, Role};

/// Whether `payload` seems to be whole lines. Its first line has to be a known command of the
/// client or a reply line of the server, and its last line has to have ended.
///
/// A connection that existed before the daemon is picked up at such a segment. In any other segment
/// the bytes before the next line's start are skipped.
#[must_use]
pub fn reads_as_line(role: Role, payload: &[u8]) -> bool {
    let Some(lines) = payload.strip_suffix(b"\n") else {
        return false;
    };
    let first = lines
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let crs = first.iter().rev().take_while(|byte| **byte == b'\r');
    let end = first.len().saturating_sub(crs.count());
    let first = first.get(..end).unwrap_or_default();
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
        let (client, server) = (Role::Client, Role::Server);
        let passive = b"227 Entering Passive Mode (10,0,0,5,19,137).\r\n";
        assert!(reads_as_line(client, b"PASV\r\n"));
        assert!(reads_as_line(client, b"PASV\r\r\n"));
        assert!(reads_as_line(client, b"\tPORT\t10,0,0,2,19,137\n"));
        assert!(reads_as_line(server, b"227(10,0,0,5,19,137)\r\r\n"));
        assert!(reads_as_line(client, b"PORT 10,0,0,2,19,137\r\nRETR x\r\n"));
        assert!(reads_as_line(server, passive));
        assert!(reads_as_line(server, b"211-Features:\n EPSV\n211 End\n"));
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
