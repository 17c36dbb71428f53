//! From an announcement to its pinhole: admitted, translated, expected, rewritten.

use ipnetwork::IpNetwork;

use super::{Flow, context::Context, line_at::LineAt, pinholes::Pinhole, settings::Settings};
use crate::proto::{
    event::{AnnouncementReport, Decision, EventKind, RewriteReport},
    expect::Expectation,
    ftp::{Announcement, Rewritten, Role},
    nat::{Translation, Untranslated},
    net::Direction,
    session::{
        FoundAnnouncement,
        endpoint_check::{DataHost, Refusal, check_endpoint},
    },
};

/// An announcement that may open something.
struct Admitted {
    announcement: Announcement,
    /// The host that it means.
    host: DataHost,
}

impl Flow {
    /// Decides on an announcement. The data connection may come with its line, or the line is
    /// refused.
    pub(super) fn handle_announcement(
        &mut self,
        at: &LineAt,
        found: &FoundAnnouncement,
        context: &mut Context<'_>,
    ) {
        let decision = match self.open(at, found, context) {
            Ok(decision) => decision,
            Err(refusal) => {
                self.relay.record_decision();
                self.answer_refused(at, found.announcement, refusal, context);
                Decision::Refuse(refusal)
            }
        };
        let own = self.tuples().sender(at.direction).ip();
        let announced = found.announcement.ok();
        let host =
            announced.map(|found| self.check_endpoint(at.direction, &found, context.settings));
        let is_misnamed = matches!(host, Some(Ok(DataHost::AnnouncerInsteadOf(_))));
        let endpoint = announced.map(|found| (found.address.unwrap_or(own), found.port.get()));
        context.report(EventKind::Announcement(AnnouncementReport {
            packet: context.packet,
            from: Role::of_sender(at.direction),
            kind: found.kind,
            endpoint,
            is_misnamed: is_misnamed && matches!(decision, Decision::Expect { .. }),
            decision,
            is_of_this_machine: self.ingress.has_local_end(),
        }));
    }

    /// Checks the endpoint that the sender of a direction announces, whatever else speaks against
    /// it.
    ///
    /// # Errors
    /// It is not its own to announce.
    pub(super) fn check_endpoint(
        &self,
        direction: Direction,
        announcement: &Announcement,
        settings: &Settings,
    ) -> Result<DataHost, Refusal> {
        let addresses = settings.public.addresses_of(self.tuples(), direction);
        check_endpoint(announcement, addresses, settings.endpoint_exemptions())
    }

    fn open(
        &mut self,
        at: &LineAt,
        found: &FoundAnnouncement,
        context: &mut Context<'_>,
    ) -> Result<Decision, Refusal> {
        let admitted = self.admit(at, found, context.settings)?;
        self.quota.charge_pinhole(context)?;
        // The port of the older announcement may serve the newer one.
        let command = self.dialogue.current_command();
        let in_use = self.dialogue.outstanding_transfers();
        let tuples = *self.tuples();
        self.pinholes.make_room(command, in_use, &tuples, context);
        let connector = self.connector(at.direction, context.settings);
        let translation = Translation::choose(
            &Untranslated {
                line: self.relay.line_bytes(at.direction, &at.line),
                announcement: &admitted.announcement,
                host: admitted.host,
                announcer: context.settings.public.addresses_of(&tuples, at.direction),
                connector: connector.ip(),
                ports: &context.settings.ports,
                now: context.now,
            },
            &mut context.shared.ports(),
        )?;
        let opened = self.expect(at, &admitted, &translation, context);
        if opened.is_err() {
            translation.release(connector.ip(), &mut context.shared.ports(), context.now);
        }
        opened
    }

    /// Where the data connection comes from that the sender of a direction announces: its peer's
    /// address, or the network of a server that connects from several.
    fn connector(&self, announcer: Direction, settings: &Settings) -> IpNetwork {
        let peer = self.tuples().sender(!announcer).ip();
        let network = match Role::of_sender(announcer) {
            Role::Client => settings.data_sources_of(peer),
            Role::Server => None,
        };
        network.unwrap_or_else(|| peer.into())
    }

    /// Admits an announcement that was found in a line.
    ///
    /// # Errors
    /// The first reason for which it is refused.
    fn admit(
        &self,
        at: &LineAt,
        found: &FoundAnnouncement,
        settings: &Settings,
    ) -> Result<Admitted, Refusal> {
        let is_exempt = |refusal: &Refusal| settings.is_exempt(*refusal, self.tuples());
        if let Some(refusal) = found.refusal.filter(|refusal| !is_exempt(refusal)) {
            return Err(refusal);
        }
        let announcement = found.announcement?;
        if !at.line.is_complete {
            return Err(Refusal::Malformed);
        }
        if self.life.is_closing() {
            return Err(Refusal::Closing);
        }
        if self.relay.left_of(at.direction, &at.line) > 0 {
            return Err(Refusal::AlreadyForwarded);
        }
        let host = self.check_endpoint(at.direction, &announcement, settings)?;
        let is_doubtful = self.tls.was_encrypted() && at.direction == Direction::Original;
        let refusal = self.dialogue.not_yet_allowed();
        let refusal = refusal.or(is_doubtful.then_some(Refusal::AfterTls));
        match refusal.filter(|refusal| !is_exempt(refusal)) {
            Some(refusal) => Err(refusal),
            None => Ok(Admitted { announcement, host }),
        }
    }

    /// Has the kernel expect the data connection, and then rewrites the line where its receiver
    /// needs another endpoint.
    fn expect(
        &mut self,
        at: &LineAt,
        admitted: &Admitted,
        translation: &Translation,
        context: &mut Context<'_>,
    ) -> Result<Decision, Refusal> {
        let rewritten = self.rewritten(at, &admitted.announcement, translation)?;
        let changes_length = rewritten.as_ref().is_some_and(|line| line.delta != 0);
        if changes_length {
            self.relay
                .set_liberal(context)
                .map_err(|_| Refusal::WindowNotRelaxed)?;
        }
        let tuples = *self.tuples();
        let timeout = context.settings.expectation_timeout;
        let expectation = Expectation {
            denied_iif: self.ingress.denied_iif(at.direction),
            ..translation.expectation(&tuples, at.direction, timeout)
        };
        let connector = self.connector(at.direction, context.settings);
        let expectation = expectation.with_sources(connector);
        self.pinholes.withdraw_same(&expectation, &tuples, context);
        let id = context
            .expect(&expectation, &tuples)
            .map_err(Refusal::Kernel)?;
        let lease = translation.is_leased.then_some(translation.outside);
        let command = self.dialogue.current_command();
        let opened = Pinhole::open((id, expectation), command, lease, context.now);
        self.pinholes.record(opened);
        let report = rewritten.map(|line| self.rewrite(at, translation, line));
        Ok(Decision::Expect {
            expectation,
            rewritten: report,
        })
    }

    /// The line in its canonical spelling with the outside endpoint in it, where that is another
    /// one.
    fn rewritten(
        &self,
        at: &LineAt,
        announcement: &Announcement,
        translation: &Translation,
    ) -> Result<Option<Rewritten>, Refusal> {
        let line = self.relay.line_bytes(at.direction, &at.line);
        let rewritten = announcement
            .rewrite(line, translation.told)
            .ok_or(Refusal::ThirdPartyAddress)?;
        if rewritten.line == line {
            return Ok(None);
        }
        if !self.relay.has_room_for_edit(at.direction) {
            return Err(Refusal::TooManyEdits);
        }
        Ok(Some(rewritten))
    }

    fn rewrite(
        &mut self,
        at: &LineAt,
        translation: &Translation,
        rewritten: Rewritten,
    ) -> RewriteReport {
        let report = RewriteReport {
            endpoint: translation.told,
            line: String::from_utf8_lossy(&rewritten.line).into_owned(),
            delta: rewritten.delta,
        };
        self.relay.rewrite(at.direction, &at.line, rewritten.line);
        report
    }
}
