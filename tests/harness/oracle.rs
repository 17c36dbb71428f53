//! What each end must have received, with whole streams in hand: no segments, no sequence
//! numbers, no holding back. Lines go one after the other through session, policy and translation.

use ftp_alg::proto::{
    expect::Expectation,
    flow::Settings,
    ftp::Role,
    nat::{LocalLeases, PortLeases, Translation, addresses_of},
    net::{ConntrackTuples, Direction},
    session::{CommandNumber, Finding, Session, policy::admit},
    stream::LINE_MAX,
};

use super::dialogue::Turn;

/// What a dialogue becomes on its way through the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) to_server: Vec<u8>,
    pub(crate) to_client: Vec<u8>,
    pub(crate) expected: Vec<Expectation>,
}

/// Reads a dialogue line by line, in the order in which it was said.
pub(crate) fn expected_of(
    turns: &[Turn],
    tuples: &ConntrackTuples,
    settings: &Settings,
) -> Outcome {
    let mut reader = Reader {
        session: Session::greeted(),
        tuples,
        settings,
        leases: LocalLeases::default(),
        is_opaque: false,
        reserved: Vec::new(),
        outcome: Outcome::default(),
    };
    for turn in turns {
        for line in turn.text.split_inclusive(|&byte| byte == b'\n') {
            reader.read(turn.from, line);
        }
    }
    reader.outcome
}

struct Reader<'a> {
    session: Session,
    tuples: &'a ConntrackTuples,
    settings: &'a Settings,
    leases: LocalLeases,
    is_opaque: bool,
    /// What the client announced, and by which command: expected once the server accepts it.
    reserved: Vec<(CommandNumber, Expectation)>,
    outcome: Outcome,
}

impl Reader<'_> {
    fn read(&mut self, from: Role, line: &[u8]) {
        let rewritten = self.rewritten(from, line);
        let output = match from {
            Role::Client => &mut self.outcome.to_server,
            Role::Server => &mut self.outcome.to_client,
        };
        output.extend_from_slice(rewritten.as_deref().unwrap_or(line));
    }

    /// The line as it goes out, where that is not as it came.
    fn rewritten(&mut self, from: Role, line: &[u8]) -> Option<Vec<u8>> {
        let text = line.strip_suffix(b"\n").filter(|_| !self.is_opaque)?;
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let is_complete = text.len() <= LINE_MAX;
        let text = &text[..text.len().min(LINE_MAX)];
        let (finding, direction) = match from {
            Role::Client => {
                let finding = self.session.handle_command(text, is_complete);
                (finding, Direction::Original)
            }
            Role::Server => {
                let finding = self.session.handle_reply(text, is_complete);
                (finding, Direction::Reply)
            }
        };
        self.is_opaque |= finding == Finding::Opaque;
        if finding == Finding::Accepted {
            let by = self.session.concerned();
            let accepted = self.reserved.iter().filter(|(command, _)| *command == by);
            self.outcome
                .expected
                .extend(accepted.map(|(_, expectation)| *expectation));
        }
        let Finding::Announcement(found) = finding else {
            return None;
        };
        if found.refusal.is_some() {
            return None;
        }
        let announcement = found.announcement.ok()?;
        let (own, seen) = addresses_of(self.tuples, direction);
        admit(&announcement, (own, seen), (&[], &[])).ok()?;
        let place = (self.tuples, direction);
        let ports = &self.settings.ports;
        let translation =
            Translation::choose(text, &announcement, place, ports, &self.leases).ok()?;
        self.leases.release(translation.outside);
        let rewritten = announcement.rewrite(text, translation.outside)?;
        let timeout = self.settings.expectation_timeout;
        let expectation = translation.expectation(self.tuples, direction, timeout);
        match from {
            Role::Client => self.reserved.push((self.session.concerned(), expectation)),
            Role::Server => self.outcome.expected.push(expectation),
        }
        let end = &line[text.len()..];
        (rewritten.line != text).then(|| [&rewritten.line[..], end].concat())
    }
}
