//! One line of a client, as the entries of the command policy see it.
//!
//! A verb is read as the most tolerant server reads it. Telnet sequences and spaces before it do
//! not count, it ends at the first blank or control character, and it may be in any case. A verb
//! with an older name (RFC 775) has its name of RFC 959.

use serde::Deserialize;

use super::{DataFamily, Demand, Mode, PolicyAction};
use crate::proto::ftp::{Announcement, Command, Malformed, skip_sequences};

/// The longest verb that is logged, in bytes. XSHA512 and its like have seven.
const LOGGED_VERB_MAX: usize = 8;

/// A verb as an entry names it: one word, or SITE and a second word.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Verb {
    word: String,
    second: Option<String>,
}

impl Verb {
    /// Parses `DELE` or `SITE CHMOD`, in any case; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ').map(str::to_ascii_uppercase);
        let word = words.next().filter(|word| is_word(word))?;
        let second = words.next();
        let is_whole = words.next().is_none() && second.as_ref().is_none_or(|word| is_word(word));
        let word = canonical(word.as_bytes()).map_or(word, str::to_owned);
        is_whole.then_some(Self { word, second })
    }
}

impl TryFrom<String> for Verb {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        Self::parse(&written).ok_or_else(|| {
            let written = written.escape_debug();
            format!("`{written}` is not a command such as \"DELE\" or \"SITE CHMOD\"")
        })
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The effect of a command on the server's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// RETR, RETP, ERET.
    Read,
    /// STOR, STOU, STOT, APPE, ESTO.
    Write,
    /// LIST, NLST, MLSD, MLST, and STAT of a path.
    List,
    /// DELE, RMD, MKD, RNFR, RNTO, SITE, MFMT and similar commands.
    Change,
}

/// One line of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandLine<'a> {
    /// The whole line, without its end.
    line: &'a [u8],
    verb: &'a [u8],
    /// The text behind the verb, without blanks around it.
    pub(super) argument: &'a [u8],
    is_complete: bool,
}

impl<'a> CommandLine<'a> {
    /// Reads a line without its end. `is_complete` is false where only its beginning is known.
    pub(super) fn parse(line: &'a [u8], is_complete: bool) -> Self {
        let text = skip_sequences(line).trim_ascii_start();
        let length = text.iter().take_while(|byte| **byte > b' ').count();
        let (verb, rest) = text.split_at_checked(length).unwrap_or_default();
        Self {
            line,
            verb,
            argument: rest.trim_ascii(),
            is_complete,
        }
    }

    /// The verb for the log; `?` where the word may be no verb. A user may have sent a password in
    /// its place by mistake.
    pub(super) fn loggable_verb(&self) -> String {
        let is_verb = (1..=LOGGED_VERB_MAX).contains(&self.verb.len())
            && self.verb.iter().all(u8::is_ascii_alphanumeric);
        let verb = is_verb.then(|| String::from_utf8_lossy(self.verb).to_ascii_uppercase());
        verb.unwrap_or_else(|| "?".to_owned())
    }

    /// Whether two servers could read two commands in it, because of a NUL, a CR or a Telnet
    /// sequence inside.
    pub(super) fn has_two_readings(&self) -> bool {
        let mut rest = skip_sequences(self.line);
        while let Some(at) = rest.iter().position(|byte| matches!(byte, 0 | b'\r' | 255)) {
            // A doubled IAC is the byte 255 of a name (RFC 854), which all servers read alike.
            let Some([255, 255, tail @ ..]) = rest.get(at..) else {
                return true;
            };
            rest = tail;
        }
        false
    }

    /// Whether the line begins with PASS or ACCT and a blank, and with nothing before.
    pub(super) fn begins_password(&self) -> bool {
        let is_password = self.is("PASS") || self.is("ACCT");
        let behind = self.line.strip_prefix(self.verb).unwrap_or_default();
        is_password && behind.first() == Some(&b' ')
    }

    pub(super) fn is(&self, verb: &str) -> bool {
        canonical(self.verb).map_or_else(
            || self.verb.eq_ignore_ascii_case(verb.as_bytes()),
            |name| name == verb,
        )
    }

    /// Whether the verb is the first word of another one.
    pub(super) fn has_word_of(&self, verb: &Verb) -> bool {
        self.is(&verb.word)
    }

    pub(super) fn is_one_of(&self, verbs: &[Verb]) -> bool {
        verbs.iter().any(|verb| {
            let second = verb.second.as_ref();
            self.has_word_of(verb)
                && second.is_none_or(|word| {
                    first_word(self.argument).eq_ignore_ascii_case(word.as_bytes())
                })
        })
    }

    pub(super) fn is_longer_than(&self, bytes: u32) -> bool {
        // The length of an incomplete line is unknown, and more than any limit that can be set.
        !self.is_complete || self.line.len() as u64 > u64::from(bytes)
    }

    pub(super) fn operation(&self) -> Option<Operation> {
        let has_argument = !self.argument.is_empty();
        let (_, operation) = OPERATIONS.iter().find(|(verb, _)| self.is(verb))?;
        // STAT without an argument asks for the state of the session. MDTM with one argument asks
        // for the time of a file.
        let is_question =
            (self.is("STAT") && !has_argument) || (self.is("MDTM") && !sets_time(self.argument));
        (!is_question).then_some(*operation)
    }

    pub(super) fn mode(&self) -> Option<Mode> {
        if self.announces().is_some() {
            return Some(Mode::Active);
        }
        let passive = ["PASV", "EPSV", "LPSV"];
        passive
            .into_iter()
            .any(|verb| self.is(verb))
            .then_some(Mode::Passive)
    }

    /// The IP version of the data connection that the command prepares. `own` is the one of the
    /// control connection.
    pub(super) fn data_family(&self, own: DataFamily) -> Option<DataFamily> {
        if self.is("PORT") || self.is("PASV") {
            return Some(DataFamily::Ipv4);
        }
        if let Some(announced) = self.announces() {
            let address = announced.ok().and_then(|announcement| announcement.address);
            return Some(address.map_or(own, DataFamily::of));
        }
        // Without a number EPSV means the family of the control connection (RFC 2428 §3), and so
        // does LPSV.
        match self.argument {
            b"1" if self.is("EPSV") => Some(DataFamily::Ipv4),
            b"2" if self.is("EPSV") => Some(DataFamily::Ipv6),
            _ => (self.is("EPSV") || self.is("LPSV")).then_some(own),
        }
    }

    pub(super) fn violates(&self, demand: Demand) -> bool {
        match demand {
            Demand::Required => ["USER", "PASS", "ACCT"]
                .into_iter()
                .any(|verb| self.is(verb)),
            Demand::Forbidden => self.is("AUTH"),
        }
    }

    /// The path that the command names, where it may name one.
    pub(super) fn path(&self) -> Option<&'a [u8]> {
        // An unknown verb counts as one with a path. Otherwise a server with such a verb could be
        // used to get around an entry.
        if WITHOUT_PATH.into_iter().any(|verb| self.is(verb)) {
            return None;
        }
        let path = match self.operation() {
            Some(Operation::List) => without_options(self.argument),
            Some(Operation::Change) if is_behind_a_word(self) => behind_word(self.argument),
            Some(_) | None => self.argument,
        };
        (!path.is_empty()).then_some(path)
    }

    fn announces(&self) -> Option<Result<Announcement, Malformed>> {
        let Command::Announce(_, announced) = Command::parse(self.line) else {
            return None;
        };
        Some(announced)
    }
}

impl DataFamily {
    /// The family of an address.
    #[must_use]
    pub fn of(address: std::net::IpAddr) -> Self {
        // On a dual-stack socket an IPv4 address may appear as an IPv4-mapped one.
        if address.to_canonical().is_ipv4() {
            Self::Ipv4
        } else {
            Self::Ipv6
        }
    }
}

impl PolicyAction {
    /// Whether the command does not reach the server.
    pub(super) const fn is_against(self) -> bool {
        matches!(self, Self::Refuse | Self::Reset)
    }
}

const OPERATIONS: [(&str, Operation); 23] = [
    ("RETR", Operation::Read),
    ("RETP", Operation::Read),
    ("ERET", Operation::Read),
    ("STOR", Operation::Write),
    ("STOT", Operation::Write),
    ("ESTO", Operation::Write),
    ("STOU", Operation::Write),
    ("APPE", Operation::Write),
    ("LIST", Operation::List),
    ("NLST", Operation::List),
    ("MLSD", Operation::List),
    ("MLST", Operation::List),
    ("STAT", Operation::List),
    ("DELE", Operation::Change),
    ("RMD", Operation::Change),
    ("MKD", Operation::Change),
    ("RNFR", Operation::Change),
    ("RNTO", Operation::Change),
    ("SITE", Operation::Change),
    ("MFMT", Operation::Change),
    ("MFCT", Operation::Change),
    ("MFF", Operation::Change),
    // Some clients set the time of a file with it: MDTM YYYYMMDDhhmmss path.
    ("MDTM", Operation::Change),
];

/// The verbs whose argument is no path.
const WITHOUT_PATH: [&str; 28] = [
    "USER", "PASS", "ACCT", "PORT", "EPRT", "LPRT", "PASV", "EPSV", "LPSV", "TYPE", "MODE", "STRU",
    "REST", "ALLO", "NOOP", "QUIT", "REIN", "ABOR", "AUTH", "PBSZ", "PROT", "CCC", "HOST", "OPTS",
    "FEAT", "HELP", "LANG", "CLNT",
];

/// The name in RFC 959 of a verb with an older name, of one that a router has changed, or of one
/// that differs in the TLS handshake of the data connection only.
fn canonical(verb: &[u8]) -> Option<&'static str> {
    const NAMES: [(&str, &str); 8] = [
        ("XMKD", "MKD"),
        ("XRMD", "RMD"),
        ("XCWD", "CWD"),
        ("XPWD", "PWD"),
        ("XCUP", "CDUP"),
        ("P@SW", "PASV"),
        ("P@SV", "PASV"),
        ("CPSV", "PASV"),
    ];
    let named = |(old, _): &&(&str, &str)| verb.eq_ignore_ascii_case(old.as_bytes());
    NAMES.iter().find(named).map(|(_, name)| *name)
}

fn first_word(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte <= b' ').next().unwrap_or_default()
}

fn behind_word(text: &[u8]) -> &[u8] {
    text.get(first_word(text).len()..)
        .unwrap_or_default()
        .trim_ascii_start()
}

/// The path in `-la path`. Servers hand the words with a dash to `ls` as options.
fn without_options(mut text: &[u8]) -> &[u8] {
    while text.first() == Some(&b'-') {
        text = behind_word(text);
    }
    text
}

/// Whether the path is behind another word: a time, facts, or a command of SITE.
fn is_behind_a_word(command: &CommandLine<'_>) -> bool {
    ["MFMT", "MFCT", "MFF", "MDTM", "SITE"]
        .into_iter()
        .any(|verb| command.is(verb))
}

/// Whether the argument of MDTM begins with a time of 14 digits.
fn sets_time(argument: &[u8]) -> bool {
    let word = first_word(argument);
    word.len() >= 14 && word.iter().take(14).all(u8::is_ascii_digit) && word.len() < argument.len()
}
