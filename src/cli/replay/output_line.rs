//! What `replay` prints: one JSON object a line, or the same for reading.
//!
//! The JSON form is a promise to scripts: names, their order and `null`s stay as they are.

use std::{
    fmt,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use crate::proto::{
    egress::PacketId,
    event::{AnnouncementReport, CommandReport, Decision, Event, RewriteReport},
    expect::Expectation,
    session::endpoint_check::Refusal,
};

/// Which of the two forms is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

/// One line of output.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum OutputLine<'a> {
    Announcement(AnnouncementLine<'a>),
    Command(PolicyLine<'a>),
    Summary(SummaryLine<'a>),
}

/// Where in the captures a line of output has its cause.
#[derive(Debug, Serialize)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) frame: u64,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// A line of a control connection that announced a data endpoint, or tried to.
#[derive(Debug, Serialize)]
pub(super) struct AnnouncementLine<'a> {
    #[serde(flatten)]
    pub(super) place: Place<'a>,
    pub(super) from: &'static str,
    pub(super) kind: &'static str,
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) decision: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) expectation: Option<ExpectationPart>,
    pub(super) rewritten: Option<RewrittenPart>,
}

/// A command that a rule of the configuration spoke of.
#[derive(Debug, Serialize)]
pub(super) struct PolicyLine<'a> {
    #[serde(flatten)]
    pub(super) place: Place<'a>,
    pub(super) command: &'a str,
    pub(super) rule: &'a str,
    pub(super) action: &'static str,
}

/// Which data connection was let in.
#[derive(Debug, Serialize)]
pub(super) struct ExpectationPart {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) port: u16,
}

/// What the announcement became.
#[derive(Debug, Serialize)]
pub(super) struct RewrittenPart {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) line: String,
    pub(super) delta: i32,
}

/// What was found in one capture.
#[derive(Debug, Serialize)]
pub(super) struct SummaryLine<'a> {
    pub(super) file: &'a str,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// The numbers of one capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Frames read, of any kind.
    pub(super) packets: u64,
    /// Control connections followed.
    pub(super) sessions: u64,
    /// Announcements, whatever was decided on them.
    pub(super) announcements: u64,
    /// Announcements whose data connection was let in.
    pub(super) expected: u64,
    /// Announcements that were refused.
    pub(super) refused: u64,
    /// 1 where the capture could not be read to its end.
    pub(super) errors: u64,
    /// Frames without a whole IP packet.
    pub(super) skipped: u64,
    /// Commands that rules of the configuration refused; absent where there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) commands_refused: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl<'a> Place<'a> {
    fn new(file: &'a str, event: &Event, packet: PacketId) -> Self {
        Self {
            file,
            frame: packet.0,
            client: event.client,
            server: event.server,
        }
    }
}

impl<'a> AnnouncementLine<'a> {
    pub(super) fn new(file: &'a str, event: &Event, report: &AnnouncementReport) -> Self {
        // The decision is that on the endpoint in the line. If a server has named another host,
        // that one is refused, and the expectation is for the server in its place.
        let (decision, reason, expectation, rewritten) = match &report.decision {
            Decision::Expect {
                expectation,
                rewritten,
            } if report.is_misnamed => (
                "refuse",
                Some(Refusal::ThirdPartyAddress.as_str()),
                Some(expectation),
                rewritten.as_ref(),
            ),
            Decision::Expect {
                expectation,
                rewritten,
            } => ("expect", None, Some(expectation), rewritten.as_ref()),
            Decision::Refuse(refusal) => ("refuse", Some(refusal.as_str()), None, None),
        };
        Self {
            place: Place::new(file, event, report.packet),
            from: report.from.as_str(),
            kind: report.kind.as_str(),
            address: report.endpoint.map(|(address, _)| address),
            port: report.endpoint.map(|(_, port)| port),
            decision,
            reason,
            expectation: expectation.map(ExpectationPart::from),
            rewritten: rewritten.map(RewrittenPart::from),
        }
    }
}

impl<'a> PolicyLine<'a> {
    pub(super) fn new(file: &'a str, event: &Event, report: &'a CommandReport) -> Self {
        Self {
            place: Place::new(file, event, report.packet),
            command: &report.verb,
            rule: &report.entry,
            action: report.action.as_str(),
        }
    }
}

impl From<&Expectation> for ExpectationPart {
    fn from(expectation: &Expectation) -> Self {
        Self {
            src: expectation.source,
            dst: expectation.destination.ip(),
            port: expectation.destination.port(),
        }
    }
}

impl From<&RewriteReport> for RewrittenPart {
    fn from(report: &RewriteReport) -> Self {
        Self {
            address: report.endpoint.ip(),
            port: report.endpoint.port(),
            line: report.line.clone(),
            delta: report.delta,
        }
    }
}

impl Form {
    /// Writes one line.
    pub(super) fn write(self, out: &mut dyn Write, line: &OutputLine<'_>) -> io::Result<()> {
        match self {
            Self::Text => writeln!(out, "{line}"),
            Self::Json => {
                serde_json::to_writer(&mut *out, line)?;
                writeln!(out)
            }
        }
    }
}

impl fmt::Display for OutputLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announcement(line) => line.fmt(f),
            Self::Command(line) => line.fmt(f),
            Self::Summary(line) => line.fmt(f),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            frame,
            client,
            server,
        } = self;
        write!(f, "{file}: frame {frame}: {client} <-> {server}")
    }
}

impl fmt::Display for AnnouncementLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of the {}", self.place, self.kind, self.from)?;
        match (self.address, self.port) {
            (Some(address), Some(port)) => write!(f, ", {}", SocketAddr::new(address, port))?,
            _ => write!(f, ", no endpoint")?,
        }
        write!(f, ": {}", self.decision)?;
        if let Some(reason) = self.reason {
            write!(f, ", {reason}")?;
        }
        if let Some(ExpectationPart { src, dst, port }) = self.expectation {
            let instead = self.reason.map_or("", |_| ", in its place expect");
            write!(f, "{instead} {src} -> {}", SocketAddr::new(dst, port))?;
        }
        // The words of a reply are the server's: what a terminal would obey is escaped.
        match &self.rewritten {
            Some(part) => write!(
                f,
                ", sent as \"{}\" ({:+})",
                part.line.escape_debug(),
                part.delta
            ),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PolicyLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            command,
            rule,
            action,
        } = self;
        write!(f, "{place}: {command}: {action}, {rule}")
    }
}

impl fmt::Display for SummaryLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            packets,
            sessions,
            announcements,
            expected,
            refused,
            errors,
            skipped,
            commands_refused,
        } = self.counts;
        write!(
            f,
            "{}: {packets} packets ({skipped} skipped), {sessions} sessions, {announcements} \
             announcements: {expected} expected, {refused} refused; {errors} errors",
            self.file
        )?;
        if commands_refused > 0 {
            write!(f, "; {commands_refused} commands refused")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(form: Form, line: &OutputLine<'_>) -> String {
        let mut out = Vec::new();
        form.write(&mut out, line).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn expected() -> AnnouncementLine<'static> {
        AnnouncementLine {
            place: Place {
                file: "a.pcap",
                frame: 17,
                client: "10.0.0.2:40001".parse().unwrap(),
                server: "203.0.113.10:21".parse().unwrap(),
            },
            from: "client",
            kind: "PORT",
            address: Some("10.0.0.2".parse().unwrap()),
            port: Some(5555),
            decision: "expect",
            reason: None,
            expectation: Some(ExpectationPart {
                src: "203.0.113.10".parse().unwrap(),
                dst: "10.0.0.2".parse().unwrap(),
                port: 5555,
            }),
            rewritten: None,
        }
    }

    fn rewritten() -> AnnouncementLine<'static> {
        AnnouncementLine {
            rewritten: Some(RewrittenPart {
                address: "203.0.113.1".parse().unwrap(),
                port: 5555,
                line: "PORT 203,0,113,1,21,179\u{1b}[2J".to_owned(),
                delta: 3,
            }),
            ..expected()
        }
    }

    fn malformed() -> AnnouncementLine<'static> {
        AnnouncementLine {
            address: None,
            port: None,
            decision: "refuse",
            reason: Some("malformed"),
            expectation: None,
            ..expected()
        }
    }

    #[test]
    fn an_announcement_is_one_json_object_with_its_names_in_order() {
        assert_eq!(
            printed(Form::Json, &OutputLine::Announcement(expected())),
            concat!(
                r#"{"type":"announcement","file":"a.pcap","frame":17,"client":"10.0.0.2:40001","#,
                r#""server":"203.0.113.10:21","from":"client","kind":"PORT","address":"10.0.0.2","#,
                r#""port":5555,"decision":"expect","reason":null,"#,
                r#""expectation":{"src":"203.0.113.10","dst":"10.0.0.2","port":5555},"#,
                r#""rewritten":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_rewritten_line_is_told_with_its_endpoint_and_delta() {
        let line = AnnouncementLine {
            expectation: None,
            ..rewritten()
        };
        let json = printed(Form::Json, &OutputLine::Announcement(line));
        let part = concat!(
            r#""expectation":null,"rewritten":{"address":"203.0.113.1","port":5555,"#,
            r#""line":"PORT 203,0,113,1,21,179\u001b[2J","delta":3}}"#
        );
        assert!(json.trim_end().ends_with(part), "{json}");
    }

    #[test]
    fn an_announcement_without_endpoint_has_nulls() {
        let json = printed(Form::Json, &OutputLine::Announcement(malformed()));
        let part = concat!(
            r#""address":null,"port":null,"decision":"refuse","reason":"malformed","#,
            r#""expectation":null,"#
        );
        assert!(json.contains(part), "{json}");
    }

    #[test]
    fn a_summary_has_every_count() {
        let counts = Counts {
            packets: 120,
            sessions: 2,
            announcements: 3,
            expected: 3,
            ..Counts::default()
        };
        assert_eq!(
            printed(
                Form::Json,
                &OutputLine::Summary(SummaryLine {
                    file: "a.pcap",
                    counts
                })
            ),
            concat!(
                r#"{"type":"summary","file":"a.pcap","packets":120,"sessions":2,"#,
                r#""announcements":3,"expected":3,"refused":0,"errors":0,"skipped":0}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_readable_form_says_the_same() {
        let cases = [
            (
                expected(),
                "a.pcap: frame 17: 10.0.0.2:40001 <-> 203.0.113.10:21: PORT of the client, \
                 10.0.0.2:5555: expect 203.0.113.10 -> 10.0.0.2:5555\n",
            ),
            (
                malformed(),
                "a.pcap: frame 17: 10.0.0.2:40001 <-> 203.0.113.10:21: PORT of the client, no \
                 endpoint: refuse, malformed\n",
            ),
        ];
        for (line, text) in cases {
            assert_eq!(printed(Form::Text, &OutputLine::Announcement(line)), text);
        }
    }

    #[test]
    fn a_servers_words_cannot_steer_the_terminal() {
        let text = printed(Form::Text, &OutputLine::Announcement(rewritten()));
        assert!(
            text.contains(r#"sent as "PORT 203,0,113,1,21,179\u{1b}[2J" (+3)"#),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }
}
