//! Looks at the lines that a segment completed, and acts on what they announce.

use super::{
    Context, Flow,
    held::{ANSWER_LATE, Held},
    role_of,
};
use crate::proto::{
    action::{Action, AnnouncementReport, Decision, EventKind, PacketId, RewriteReport},
    expect::{ExpectError, Expectation, ExpectationId, Stage},
    ftp::{Announcement, AnnouncementKind, Rewritten, Role},
    nat::Translation,
    net::{ConntrackTuples, Direction},
    session::{CommandNumber, Finding, Found, Withdrawal, endpoint_check::Refusal},
    stream::Line,
};

/// What the kernel must do before the next line is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Relax conntrack's window check and mark the connection `adjust`.
    RelaxWindow {
        /// The control connection.
        tuples: ConntrackTuples,
    },
    /// Take an expectation.
    Expect {
        /// Its name.
        id: ExpectationId,
        /// What it lets in.
        expectation: Expectation,
        /// What it is to become.
        stage: Stage,
        /// The control connection.
        master: ConntrackTuples,
    },
}

/// An admitted announcement on its way through the kernel.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    direction: Direction,
    packet: PacketId,
    line: Line,
    announcement: Announcement,
    translation: Translation,
    rewritten: Option<Rewritten>,
    expectation: Expectation,
    stage: Stage,
    announced_by: CommandNumber,
    /// The same was refused once as a clash, and asked for again.
    is_retry: bool,
}

impl Flow {
    /// Step 2: looks at the completed lines of a direction, and at those that they made free to
    /// be looked at, up to one that needs the kernel.
    pub fn poll_request(
        &mut self,
        direction: Direction,
        packet: PacketId,
        context: &mut Context<'_>,
    ) -> Option<Request> {
        if direction == Direction::Original {
            self.last_of_client = packet;
        }
        self.poll_lines(direction, packet, context)
            .or_else(|| self.poll_lifted(context))
    }

    pub(super) fn poll_lines(
        &mut self,
        direction: Direction,
        packet: PacketId,
        context: &mut Context<'_>,
    ) -> Option<Request> {
        while !self.is_broken
            && let Some(line) = self.streams[direction].poll_line()
        {
            let request = match self.handle_line((direction, packet), &line, context) {
                Finding::Nothing => None,
                Finding::Announcement(found) => {
                    self.handle_found(direction, packet, (line, found), context)
                }
                Finding::Accepted => self.open_concerned(context),
                Finding::Withdraw(reason) => {
                    self.withdraw_concerned(reason, context);
                    None
                }
                Finding::TransferDone => {
                    self.withdraw_concerned(Withdrawal::Finished, context);
                    None
                }
                Finding::Opaque => {
                    self.turn_opaque(context);
                    None
                }
                Finding::RefusalBegins => {
                    self.begin_refusal(&line, context);
                    None
                }
                Finding::Refusal(reason) => {
                    self.finish_refusal(&line, &reason, context);
                    None
                }
                Finding::Directory(code) => {
                    self.handle_directory_reply(&line, code);
                    None
                }
            };
            if request.is_some() {
                return request;
            }
        }
        None
    }

    /// The kernel has relaxed its window check, or not.
    pub fn handle_relaxed(
        &mut self,
        is_relaxed: bool,
        context: &mut Context<'_>,
    ) -> Option<Request> {
        if let Some(direction) = self.vouching.take() {
            self.handle_vouching(direction, is_relaxed, context);
            return None;
        }
        let plan = self.plan.take()?;
        if is_relaxed {
            self.is_adjusted = true;
            return Some(self.request_expectation(plan, context));
        }
        self.abandon(*plan, Refusal::WindowNotRelaxed, context);
        None
    }

    /// The kernel has taken an expectation, or not.
    pub fn handle_expected(
        &mut self,
        id: ExpectationId,
        result: Result<(), ExpectError>,
        context: &mut Context<'_>,
    ) -> Option<Request> {
        if let Some(opening) = self.opening.take() {
            return self.handle_opened(opening, result, context);
        }
        let mut plan = self.plan.take()?;
        match result {
            Ok(()) => self.fulfil(id, *plan, context),
            // The same endpoint may still be expected for a session that its client has given up.
            Err(ExpectError::Clash) if !plan.is_retry => {
                plan.is_retry = true;
                let expectation = plan.expectation;
                context.actions.push_back(Action::Unexpect {
                    id,
                    expectation,
                    stage: Stage::Open,
                    master: self.tuples,
                    reason: Withdrawal::Superseded,
                });
                return Some(self.request_expectation(plan, context));
            }
            Err(error) => self.abandon(*plan, Refusal::Kernel(error), context),
        }
        None
    }

    fn handle_line(
        &mut self,
        (direction, packet): (Direction, PacketId),
        line: &Line,
        context: &mut Context<'_>,
    ) -> Finding {
        match role_of(direction) {
            Role::Client => self.handle_command(packet, line, context),
            Role::Server => {
                let bytes = self.streams[direction].line_bytes(line);
                self.session.handle_reply(bytes, line.is_complete)
            }
        }
    }

    /// Decides on an announcement; asks for the kernel's help where it is admitted.
    fn handle_found(
        &mut self,
        direction: Direction,
        packet: PacketId,
        (line, found): (Line, Found),
        context: &mut Context<'_>,
    ) -> Option<Request> {
        let kind = found.kind;
        let announced = found.announcement.ok();
        let plan = self
            .admit(direction, &line, found, context.settings)
            .and_then(|announcement| {
                self.spend_opening(context)?;
                // What the older announcement held may serve the newer one.
                self.supersede_held(context);
                self.plan(direction, packet, (line, announcement), context)
            });
        match plan {
            Ok(plan) => Some(self.begin(Box::new(plan), context)),
            Err(refusal) => {
                self.has_news |= self.is_adjusted;
                self.answer_refused((direction, &line), announced, refusal, context);
                self.report_refused((direction, packet, kind), announced, refusal, context);
                None
            }
        }
    }

    fn plan(
        &self,
        direction: Direction,
        packet: PacketId,
        (line, announcement): (Line, Announcement),
        context: &Context<'_>,
    ) -> Result<Plan, Refusal> {
        let bytes = self.streams[direction].line_bytes(&line);
        let settings = context.settings;
        let translation = Translation::choose(
            bytes,
            &announcement,
            (&self.tuples, direction),
            &settings.ports,
            context.leases,
        )?;
        let rewritten = self.rewrite(bytes, (&announcement, &translation), direction);
        let rewritten = rewritten.inspect_err(|_| translation.release(context.leases))?;
        let expectation = Expectation {
            denied_iif: self.denied_iif(direction),
            ..translation.expectation(&self.tuples, direction, settings.expectation_timeout)
        };
        Ok(Plan {
            direction,
            packet,
            line,
            announcement,
            translation,
            rewritten,
            expectation,
            stage: settings.first_stage(&self.tuples, direction),
            announced_by: self.session.current_command(),
            is_retry: false,
        })
    }

    /// The line in its canonical spelling with the outside endpoint in it, where it is another.
    fn rewrite(
        &self,
        line: &[u8],
        (announcement, translation): (&Announcement, &Translation),
        direction: Direction,
    ) -> Result<Option<Rewritten>, Refusal> {
        let rewritten = announcement
            .rewrite(line, translation.outside)
            .ok_or(Refusal::ThirdPartyAddress)?;
        if rewritten.line == line {
            return Ok(None);
        }
        if self.streams[direction].map().is_full() {
            return Err(Refusal::TooManyEdits);
        }
        Ok(Some(rewritten))
    }

    fn begin(&mut self, plan: Box<Plan>, context: &mut Context<'_>) -> Request {
        let changes_length = plan
            .rewritten
            .as_ref()
            .is_some_and(|rewritten| rewritten.delta != 0);
        if changes_length && !self.is_adjusted {
            self.plan = Some(plan);
            return Request::RelaxWindow {
                tuples: self.tuples,
            };
        }
        self.request_expectation(plan, context)
    }

    fn request_expectation(&mut self, plan: Box<Plan>, context: &mut Context<'_>) -> Request {
        let id = context.next_expectation_id();
        let (expectation, stage) = (plan.expectation, plan.stage);
        self.plan = Some(plan);
        Request::Expect {
            id,
            expectation,
            stage,
            master: self.tuples,
        }
    }

    /// The data connection may come, or its endpoint is set aside: the line goes out, rewritten
    /// where that is needed. What the client says behind it waits for the server's answer, so that
    /// the server cannot connect before its connection is let in.
    fn fulfil(&mut self, id: ExpectationId, plan: Plan, context: &mut Context<'_>) {
        self.held.push(Held {
            id,
            announced_by: plan.announced_by,
            expectation: plan.expectation,
            stage: plan.stage,
            late_at: (plan.stage == Stage::Reserved).then(|| context.now + ANSWER_LATE),
            lease: plan
                .translation
                .is_leased
                .then_some(plan.translation.outside),
            expires: context.now + plan.expectation.timeout,
            is_expired: false,
        });
        // A server whose packets do not come through here is not waited for.
        if plan.stage == Stage::Reserved && self.streams.reply.is_synchronised() {
            self.streams[plan.direction].hold_back();
        }
        let rewritten = plan.rewritten.map(|rewritten| {
            let report = RewriteReport {
                endpoint: plan.translation.outside,
                line: String::from_utf8_lossy(&rewritten.line).into_owned(),
                delta: rewritten.delta,
            };
            self.streams[plan.direction].record_edit(&plan.line, rewritten.line);
            self.has_news |= self.is_adjusted;
            report
        });
        let decision = Decision::Expect {
            expectation: plan.expectation,
            rewritten,
        };
        let kind = plan.announcement.kind;
        self.report_decision(
            (plan.direction, plan.packet, kind),
            Some(plan.announcement),
            decision,
            context,
        );
    }

    /// The data connection may not come: the line is refused.
    fn abandon(&mut self, plan: Plan, refusal: Refusal, context: &mut Context<'_>) {
        plan.translation.release(context.leases);
        self.has_news |= self.is_adjusted;
        let announced = Some(plan.announcement);
        self.answer_refused((plan.direction, &plan.line), announced, refusal, context);
        let kind = plan.announcement.kind;
        self.report_refused(
            (plan.direction, plan.packet, kind),
            Some(plan.announcement),
            refusal,
            context,
        );
    }

    fn report_refused(
        &self,
        what: (Direction, PacketId, AnnouncementKind),
        announcement: Option<Announcement>,
        refusal: Refusal,
        context: &mut Context<'_>,
    ) {
        self.report_decision(what, announcement, Decision::Refuse(refusal), context);
    }

    fn report_decision(
        &self,
        (direction, packet, kind): (Direction, PacketId, AnnouncementKind),
        announcement: Option<Announcement>,
        decision: Decision,
        context: &mut Context<'_>,
    ) {
        let own = self.tuples.sender(direction).ip();
        let endpoint = announcement.map(|found| (found.address.unwrap_or(own), found.port.get()));
        let from = role_of(direction);
        let report = AnnouncementReport {
            packet,
            from,
            kind,
            endpoint,
            decision,
        };
        self.report(EventKind::Announcement(report), context);
    }
}
