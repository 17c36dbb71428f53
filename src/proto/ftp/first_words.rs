//! The lines with which a client of FTP may begin.

use super::telnet;

/// The shortest verb in use, in bytes: CWD or RMD.
const VERB_MIN: usize = 3;

/// The longest verb that is taken for one, in bytes. Those in use have up to eight (XSHA512).
const VERB_MAX: usize = 16;

/// The commands that clients say before a login, and before the greeting if they do not wait for
/// it: the login itself, questions about the server, and the protection of the connection (RFC 959
/// §4.1, RFC 2228 §3, RFC 2389 §3, RFC 2640 §4, RFC 7151 §3).
const VERBS: [&[u8]; 20] = [
    b"USER", b"PASS", b"ACCT", b"AUTH", b"ADAT", b"PBSZ", b"PROT", b"FEAT", b"OPTS", b"HOST",
    b"CLNT", b"CSID", b"LANG", b"SYST", b"HELP", b"STAT", b"NOOP", b"REIN", b"QUIT", b"SITE",
];

/// Whether a line is one with which a client of FTP may begin before it has heard anything: a
/// command that may precede a login, or an empty line.
///
/// The first lines of other protocols are not: HTTP, SIP and SMTP begin with verbs of their own,
/// TLS and STUN with bytes that are no text.
#[must_use]
pub fn may_precede_login(line: &[u8]) -> bool {
    let text = telnet::skip_sequences(line).trim_ascii();
    let verb = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_known = VERBS.iter().any(|known| verb.eq_ignore_ascii_case(known));
    text.is_empty() || (is_known && is_command_shaped(line))
}

/// With these begin SMTP and LMTP (RFC 5321, RFC 2033), POP3 (RFC 1939, RFC 2449) and IRC
/// (RFC 2812), and no dialect of FTP has them.
const OTHER_PROTOCOLS: [&[u8]; 7] = [b"EHLO", b"HELO", b"LHLO", b"APOP", b"CAPA", b"NICK", b"CAP"];

/// Whether a line can be an FTP command, known or not: a verb, and then nothing or a blank.
///
/// The first lines of other protocols are not: request lines of HTTP and SIP, their headers, TLS
/// records, and the first words of mail and chat. The text of a message could hold a login and an
/// announcement.
#[must_use]
pub fn is_command_shaped(line: &[u8]) -> bool {
    let text = telnet::skip_sequences(line).trim_ascii();
    let verb = text
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'-' | b'_'))
        .count();
    let is_verb = text.is_empty() || (VERB_MIN..=VERB_MAX).contains(&verb);
    let ends = text
        .get(verb)
        .is_none_or(|byte| matches!(*byte, b' ' | b'\t'));
    // A request line looks like a command with two words. Its last word is the protocol.
    let last_word = text.rsplit(|byte| *byte == b' ').next();
    let is_other = OTHER_PROTOCOLS.iter().any(|other| {
        text.get(..verb)
            .is_some_and(|verb| verb.eq_ignore_ascii_case(other))
    });
    is_verb && ends && !is_other && !last_word.is_some_and(is_protocol_version)
}

/// `HTTP/1.1`, `SIP/2.0`, `RTSP/1.0` and the like.
fn is_protocol_version(word: &[u8]) -> bool {
    let letters = word
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    let rest = word.get(letters..).unwrap_or_default();
    letters > 1 && matches!(rest, [b'/', digit, ..] if digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_begins_with_a_login_or_a_question() {
        for line in [
            "USER ann",
            "user ann",
            "FEAT",
            "AUTH TLS",
            "HOST ftp.example",
            "",
        ] {
            assert!(may_precede_login(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn clients_of_other_protocols_begin_otherwise() {
        for line in [
            &b"GET / HTTP/1.1"[..],
            b"USER / HTTP/1.1",
            b"OPTIONS sip:a SIP/2.0",
            b"OPTIONS rtsp://a RTSP/1.0",
            b"EHLO host",
            b"NICK ann",
            b"PORT 10,0,0,2,4,5",
            b"\x16\x03\x01\x02\x00",
            b"\x00\x01\x00\x00\x21\x12\xa4\x42",
            b"Host: x",
        ] {
            assert!(!may_precede_login(line), "{line:?}");
        }
    }

    #[test]
    fn a_verb_of_mail_or_chat_is_no_command_and_an_unknown_one_may_be() {
        for line in ["EHLO host", "helo host", "NICK ann", "CAPA"] {
            assert!(!is_command_shaped(line.as_bytes()), "{line}");
        }
        for line in ["XMKD x", "NDMF", "CAPABLE x", "MAIL ann"] {
            assert!(is_command_shaped(line.as_bytes()), "{line}");
        }
    }
}
