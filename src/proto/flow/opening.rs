//! From an announcement to its pinhole: admitted, translated, expected, rewritten.

use super::{Flow, context::Context, line_at::LineAt, pinholes::Pinhole, settings::Settings};
use crate::proto::{
    event::{AnnouncementReport, Decision, EventKind, RewriteReport},
    expect::Expectation,
    ftp::{Announcement, Rewritten, Role},
    nat::Translation,
    net::{Addresses, Direction},
    session::{
        FoundAnnouncement,
        endpoint_check::{Refusal, check_endpoint},
    },
};

impl Flow {
    /// Decides on an announcement. The data connection may come with its line, or the line is
    /// refused.
    pub(super) fn handle_announcement(
        &mut self,
        at: &LineAt,
        found: &FoundAnnouncement,
        context: &mut Context<'_>,
    ) {
        let announced = found.announcement.ok();
        let decision = match self.open(at, found, context) {
            Ok(decision) => decision,
            Err(refusal) => {
                self.relay.record_decision();
                self.answer_refused(at, announced, refusal, context);
                Decision::Refuse(refusal)
            }
        };
        let own = self.tuples().sender(at.direction).ip();
        let endpoint = announced.map(|found| (found.address.unwrap_or(own), found.port.get()));
        context.report(EventKind::Announcement(AnnouncementReport {
            packet: context.packet,
            from: Role::of_sender(at.direction),
            kind: found.kind,
            endpoint,
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
    ) -> Result<(), Refusal> {
        let addresses = Addresses::of(self.tuples(), direction);
        check_endpoint(announcement, addresses, settings.endpoint_exemptions())
    }

    fn open(
        &mut self,
        at: &LineAt,
        found: &FoundAnnouncement,
        context: &mut Context<'_>,
    ) -> Result<Decision, Refusal> {
        let announcement = self.admit(at, found, context.settings)?;
        self.quota.charge_pinhole(context)?;
        // The port of the older announcement may serve the newer one.
        let command = self.dialogue.current_command();
        let in_use = self.dialogue.outstanding_transfers();
        let tuples = *self.tuples();
        self.pinholes.make_room(command, in_use, &tuples, context);
        let translation = Translation::choose(
            self.relay.line_bytes(at.direction, &at.line),
            &announcement,
            Addresses::of(&tuples, at.direction),
            &context.settings.ports,
            &mut context.shared.ports(),
        )?;
        let opened = self.expect(at, &announcement, &translation, context);
        if opened.is_err() {
            translation.release(&mut context.shared.ports());
        }
        opened
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
    ) -> Result<Announcement, Refusal> {
        let is_exempt = |refusal: &Refusal| settings.is_exempt(*refusal, self.tuples());
        if let Some(refusal) = found.refusal.filter(|refusal| !is_exempt(refusal)) {
            return Err(refusal);
        }
        let announcement = found.announcement.map_err(|_| Refusal::Malformed)?;
        if !at.line.is_complete {
            return Err(Refusal::Malformed);
        }
        if self.life.is_closing() {
            return Err(Refusal::Closing);
        }
        if self.relay.left_of(at.direction, &at.line) > 0 {
            return Err(Refusal::AlreadyForwarded);
        }
        self.check_endpoint(at.direction, &announcement, settings)?;
        let is_doubtful = self.tls.was_encrypted() && at.direction == Direction::Original;
        let refusal = self.dialogue.not_yet_allowed();
        let refusal = refusal.or(is_doubtful.then_some(Refusal::AfterTls));
        match refusal.filter(|refusal| !is_exempt(refusal)) {
            Some(refusal) => Err(refusal),
            None => Ok(announcement),
        }
    }

    /// Has the kernel expect the data connection, and then rewrites the line where its receiver
    /// needs another endpoint.
    fn expect(
        &mut self,
        at: &LineAt,
        announcement: &Announcement,
        translation: &Translation,
        context: &mut Context<'_>,
    ) -> Result<Decision, Refusal> {
        let rewritten = self.rewritten(at, announcement, translation)?;
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
        self.pinholes.withdraw_same(&expectation, &tuples, context);
        let id = context
            .expect(&expectation, &tuples)
            .map_err(Refusal::Kernel)?;
        self.pinholes.record(Pinhole {
            id,
            announced_by: self.dialogue.current_command(),
            expectation,
            lease: translation.is_leased.then_some(translation.outside),
            expires: Some(context.now + timeout),
        });
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
            .rewrite(line, translation.outside)
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
            endpoint: translation.outside,
            line: String::from_utf8_lossy(&rewritten.line).into_owned(),
            delta: rewritten.delta,
        };
        self.relay.rewrite(at.direction, &at.line, rewritten.line);
        report
    }
}
