//! The bytes that each end must have received, by a naive model without segments and sequence
//! numbers. Lines go one after the other through the session, the policy and the translation.

use ftp_alg::proto::{
    command_policy::{PolicyEffect, SessionPolicy},
    expect::Expectation,
    flow::Settings,
    ftp::{Reason, Role, refusal_reply, substitute_command, with_refusal_code},
    nat::{LeaseTable, Translation, Untranslated},
    net::{Addresses, ConntrackTuples, Direction},
    session::{
        Finding, FoundAnnouncement, Session,
        endpoint_check::{EndpointExemptions, Refusal, check_endpoint},
    },
    shared::SharedTables,
    stream::LINE_MAX,
};

use super::{dialogue::Turn, kernel::IIFS};

/// A dialogue behind the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) to_server: Vec<u8>,
    pub(crate) to_client: Vec<u8>,
    pub(crate) expected: Vec<Expectation>,
}

/// Reads a dialogue line by line, in its order.
pub(crate) fn expected_of(
    turns: &[Turn],
    tuples: &ConntrackTuples,
    settings: &Settings,
) -> Outcome {
    let mut reader = Reader {
        session: Session::greeted(),
        tuples,
        settings,
        leases: LeaseTable::default(),
        policy: SessionPolicy::new(&settings.command_policy, tuples),
        shared: SharedTables::default(),
        is_opaque: false,
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
    leases: LeaseTable,
    policy: Option<Box<SessionPolicy>>,
    shared: SharedTables,
    is_opaque: bool,
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

    /// The line that leaves; `None` where it leaves as it came.
    fn rewritten(&mut self, from: Role, line: &[u8]) -> Option<Vec<u8>> {
        let text = line.strip_suffix(b"\n").filter(|_| !self.is_opaque)?;
        let crs = text.iter().rev().take_while(|byte| **byte == b'\r').count();
        let text = &text[..text.len() - crs];
        let is_complete = text.len() <= LINE_MAX;
        let text = &text[..text.len().min(LINE_MAX)];
        let (finding, direction) = match from {
            Role::Client => {
                if let Some(reason) = self.refusal_of(text, is_complete) {
                    let is_owed = self.session.handle_refused(text, reason);
                    assert!(is_owed, "too many answers are owed");
                    let end = &line[text.len()..];
                    return Some([&substitute_command(text.len())[..], end].concat());
                }
                let finding = self.session.handle_command(text, is_complete);
                (finding, Direction::Original)
            }
            Role::Server => {
                let finding = self.session.handle_reply(text, is_complete);
                (finding, Direction::Reply)
            }
        };
        self.is_opaque |= finding == Finding::Opaque;
        let end = &line[text.len()..];
        let new = match finding {
            Finding::Announcement(found) => {
                let is_read_by_nobody = found
                    .announcement
                    .is_err_and(|reason| !reason.could_be_read(from));
                if is_read_by_nobody && is_complete && crs > 0 {
                    return None;
                }
                self.announced(from, direction, text, found)
            }
            Finding::RefusalBegins => Some(with_refusal_code(text)),
            Finding::Refusal(reason) => Some(refusal_reply(text.len(), &reason)),
            Finding::Nothing
            | Finding::Withdraw(_)
            | Finding::Preliminary
            | Finding::TransferDone
            | Finding::Opaque
            | Finding::MayBecomeOpaque
            | Finding::Directory(_) => None,
        };
        new.map(|new| [&new[..], end].concat())
    }

    /// Why the policy refuses a command, if it does.
    fn refusal_of(&mut self, text: &[u8], is_complete: bool) -> Option<Reason> {
        let policy = self.policy.as_mut()?;
        let now = super::origin();
        let decision = policy.handle_command(text, is_complete, &self.shared, now);
        (decision.effect == PolicyEffect::Refuse).then_some(decision.reason)
    }

    /// The line that leaves for an announcement; `None` where it leaves as it came.
    fn announced(
        &mut self,
        from: Role,
        direction: Direction,
        text: &[u8],
        found: FoundAnnouncement,
    ) -> Option<Vec<u8>> {
        match self.admitted(direction, text, found) {
            Ok(new) => (new != text).then_some(new),
            Err(refusal) if !refusal.is_answered(from) => None,
            Err(refusal) => {
                let reason = Reason::Named(refusal.as_str().into());
                match from {
                    Role::Client => self
                        .session
                        .refuse_last(reason)
                        .then(|| substitute_command(text.len())),
                    Role::Server => Some(refusal_reply(text.len(), &reason)),
                }
            }
        }
    }

    fn admitted(
        &mut self,
        direction: Direction,
        text: &[u8],
        found: FoundAnnouncement,
    ) -> Result<Vec<u8>, Refusal> {
        if let Some(refusal) = found.refusal {
            return Err(refusal);
        }
        let announcement = found.announcement?;
        let announcer = Addresses::of(self.tuples, direction);
        let host = check_endpoint(&announcement, announcer, EndpointExemptions::default())?;
        let connector = self.tuples.sender(!direction).ip();
        let now = super::origin();
        let untranslated = Untranslated {
            line: text,
            announcement: &announcement,
            host,
            announcer,
            connector,
            ports: &self.settings.ports,
            now,
        };
        let translation = Translation::choose(&untranslated, &mut self.leases)?;
        translation.release(connector, &mut self.leases, now);
        let rewritten = announcement
            .rewrite(text, translation.told)
            .ok_or(Refusal::ThirdPartyAddress)?;
        let timeout = self.settings.expectation_timeout;
        let expectation = Expectation {
            denied_iif: Some(IIFS[direction]),
            ..translation.expectation(self.tuples, direction, timeout)
        };
        self.outcome.expected.push(expectation);
        Ok(rewritten.line)
    }
}
