//! Turns the core's events into log lines.
//!
//! A line has the session's id and values as fields. Nothing here has seen a password: the core
//! keeps no argument but announced endpoints.

mod hint;

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, info, trace, warn};

use self::hint::{NOT_FTP, hint_on_address, hint_on_refusal};
use super::logging::session_span;
use crate::{
    io::interfaces::Interfaces,
    proto::{
        alg::InboundPacket,
        command_policy::PolicyAction,
        egress::{Egress, Verdict},
        event::{
            AnnouncementReport, CommandReport, Decision, Event, EventKind, LossCause, RewriteReport,
        },
        expect::Expectation,
        kernel::{Outcome, WhenKernelHelps},
        packet::Segment,
    },
};

/// What the lines name besides the events.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The interfaces that this machine had when the daemon started.
    pub(super) interfaces: Interfaces,
    /// What the operator's rules have to say so that data connections pass.
    pub(super) accept_line: String,
    /// Whether a flowtable was there a short time ago that may take control connections.
    pub(super) has_flowtable: AtomicBool,
}

/// Logs a queued packet and its verdict, for those who look for a lost one.
pub(super) fn log_packet(packet: &InboundPacket<'_>, egress: &Egress) {
    if !tracing::enabled!(tracing::Level::TRACE) {
        return;
    }
    let verdict = match &egress.verdict {
        Verdict::Accept => "accept",
        Verdict::Drop => "drop",
        Verdict::Replace(_) => "replace",
    };
    let own_packets = egress.effects.packets.len();
    match Segment::parse(packet.bytes) {
        Ok(segment) => {
            let (tuple, flags, octets) = (segment.tuple, segment.flags, segment.payload.len());
            let (zone, ingress) = (packet.zone.0, packet.ingress);
            trace!(verdict, %tuple, ?flags, octets, zone, ?ingress, own_packets, "packet");
        }
        Err(error) => trace!(verdict, %error, "packet"),
    }
}

/// Logs an event.
pub(super) fn log(event: &Event, surroundings: &Surroundings) {
    let interfaces = &surroundings.interfaces;
    // Most events are of interest to nobody, and their span costs more than their decision.
    if is_detail(&event.kind) && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let _span = session_span(event.session.0).entered();
    let (client, server) = (event.client, event.server);
    match &event.kind {
        EventKind::Started { is_from_start } => {
            debug!(%client, %server, from_start = is_from_start, "session");
        }
        EventKind::Announcement(report) => log_announcement(event, report, interfaces),
        EventKind::Withdrawn {
            expectation,
            reason,
            outcome,
        } => {
            debug!(expect = %Shown(expectation), reason = reason.as_str(), "withdrawn");
            log_outcome(event, expectation, *outcome, surroundings);
        }
        EventKind::Command(report) => log_command(event, report),
        EventKind::Replaced { line, .. } => {
            debug!(line = %line.escape_ascii(), "a line was replaced");
        }
        EventKind::Aborted => {
            warn!(%client, %server, "reset, because a command must not reach its server");
        }
        EventKind::Slowed => {
            warn!(%client, %server, "more commands than [limits] lets through: they wait");
        }
        EventKind::TooManySessions => {
            warn!(%client, %server, "more sessions of this host than [limits] allows: reset");
        }
        EventKind::Opaque => info!(%client, %server, "encrypted from here on: left alone"),
        EventKind::NotFtp { is_left_alone } => log_not_ftp(event, *is_left_alone),
        EventKind::Readable | EventKind::TlsOpened { .. } | EventKind::TlsRefused { .. } => {
            log_encrypted(event);
        }
        EventKind::PartialLineExpired | EventKind::EndlessReply { .. } => log_unended(event),
        EventKind::LostSync { cause, is_first } => {
            log_lost_sync(event, *cause, *is_first, surroundings);
        }
        EventKind::Forged { name, iif } => {
            let (name, interface) = (name.as_str(), interfaces.name(*iif));
            warn!(
                %client, %server, name, interface,
                "packets in one end's name come by the other's interface: dropped"
            );
        }
        EventKind::KernelHelper { then } => log_kernel_helper(event, *then),
        EventKind::UnknownOffset => {
            warn!(%client, %server, "its sequence offset is saved nowhere: reset");
        }
        EventKind::Ended => debug!(%client, %server, "session ended"),
    }
}

/// Tells why a data connection that was let in has not come about.
fn log_outcome(
    event: &Event,
    expectation: &Expectation,
    outcome: Outcome,
    surroundings: &Surroundings,
) {
    let (client, server, expect) = (event.client, event.server, Shown(expectation));
    match outcome {
        Outcome::Stopped => warn!(
            %client, %server, %expect,
            "the announced data connection was let in, and has not come about: one of your rules \
             stops it, or its announcer refuses it; in each chain of yours that drops by default \
             accept it: {}",
            surroundings.accept_line
        ),
        Outcome::Unanswered => warn!(
            %client, %server, %expect,
            "the announced data connection has left this machine and was not answered: its \
             announcer, or a firewall in front of it, does not let it in"
        ),
        Outcome::Unknown | Outcome::Unused | Outcome::Connected => {}
    }
}

fn log_unended(event: &Event) {
    let (client, server) = (event.client, event.server);
    if let EventKind::EndlessReply { code } = event.kind {
        warn!(
            %client, %server, code,
            "a reply of several lines does not end with the code that it began with: no 227, 228 \
             or 229 is read before it does"
        );
    } else {
        warn!(%client, %server, "a line was begun and not ended in time: passed unread");
    }
}

/// Only the first loss of a connection is of interest to an operator.
fn log_lost_sync(event: &Event, cause: LossCause, is_first: bool, surroundings: &Surroundings) {
    let (client, server, port) = (event.client, event.server, event.server.port());
    let is_offloaded = match cause {
        LossCause::Offloaded => true,
        // A flow that is over is in no flowtable any more.
        LossCause::Unknown => surroundings.has_flowtable.load(Ordering::Relaxed),
        LossCause::Renumbered => false,
    };
    if !is_first || cause == LossCause::Renumbered {
        debug!(%client, %server, ?cause, "packets passed unseen: reading again");
    } else if is_offloaded {
        warn!(
            %client, %server,
            "packets passed unseen, as they do if a flowtable takes the connection: keep control \
             connections out of it: `meta l4proto {{ tcp, udp }} ct original proto-dst != {port} \
             ct reply proto-src != {port} flow add …`"
        );
    } else {
        info!(%client, %server, "packets passed unseen: reading again from the next line");
    }
}

fn log_not_ftp(event: &Event, is_left_alone: bool) {
    let (client, server) = (event.client, event.server);
    if is_left_alone {
        info!(%client, %server, "this is not FTP: left alone; {NOT_FTP}");
    } else {
        info!(
            %client, %server,
            "this is not FTP: read on, and nothing is opened for it; {NOT_FTP}"
        );
    }
}

fn log_kernel_helper(event: &Event, then: WhenKernelHelps) {
    let (client, server) = (event.client, event.server);
    let fate = match then {
        WhenKernelHelps::StepAside => "left to it",
        WhenKernelHelps::Refuse => "refused, as `when_kernel_helps` says",
    };
    warn!(
        %client, %server, fate,
        "the kernel's nf_conntrack_ftp is attached to this connection: remove the rule that \
         attaches the helper \"ftp\" to the control ports"
    );
}

fn log_encrypted(event: &Event) {
    let (client, server) = (event.client, event.server);
    if let EventKind::TlsOpened { expectation } = &event.kind {
        debug!(expect = %Shown(expectation), "opened for an encrypted session");
    } else if let EventKind::TlsRefused { port, reason } = &event.kind {
        let reason = reason.as_str();
        warn!(%client, %server, port, reason, "data connection of an encrypted session refused");
    } else {
        info!(%client, %server, "in the clear again: read from here on");
    }
}

/// Whether an event is logged at debug.
const fn is_detail(kind: &EventKind) -> bool {
    match kind {
        EventKind::Started { .. }
        | EventKind::TlsOpened { .. }
        | EventKind::Replaced { .. }
        | EventKind::Ended => true,
        EventKind::Withdrawn { outcome, .. } => {
            !matches!(outcome, Outcome::Stopped | Outcome::Unanswered)
        }
        EventKind::LostSync { cause, is_first } => {
            !*is_first || matches!(cause, LossCause::Renumbered)
        }
        EventKind::Announcement(report) => {
            matches!(report.decision, Decision::Expect { .. }) && !report.is_misnamed
        }
        EventKind::Command(_)
        | EventKind::KernelHelper { .. }
        | EventKind::UnknownOffset
        | EventKind::Aborted
        | EventKind::Slowed
        | EventKind::TooManySessions
        | EventKind::Opaque
        | EventKind::NotFtp { .. }
        | EventKind::Readable
        | EventKind::TlsRefused { .. }
        | EventKind::PartialLineExpired
        | EventKind::EndlessReply { .. }
        | EventKind::Forged { .. } => false,
    }
}

fn log_announcement(event: &Event, report: &AnnouncementReport, interfaces: &Interfaces) {
    let (client, server) = (event.client, event.server);
    let kind = report.kind.as_str();
    let announced = report.endpoint.map_or_else(
        || "unreadable".to_owned(),
        |(address, port)| std::net::SocketAddr::new(address, port).to_string(),
    );
    match &report.decision {
        Decision::Expect {
            expectation,
            rewritten,
        } => {
            let expect = Shown(expectation);
            if report.is_misnamed {
                log_misnamed(event, report, &announced, expectation);
            }
            let rewritten = rewritten.as_ref().map(ShownRewrite);
            let rewritten = rewritten.as_ref().map(tracing::field::display);
            let not_by = expectation.denied_iif.map(|iif| interfaces.name(iif));
            debug!(%client, %server, kind, announced, %expect, not_by, rewritten, "announcement");
        }
        Decision::Refuse(reason) => {
            let (hint, reason) = (hint_on_refusal(*reason, report), reason.as_str());
            warn!(%client, %server, kind, announced, reason, "announcement refused: {hint}");
        }
    }
}

/// Tells that a server has named another host, and was taken instead.
fn log_misnamed(
    event: &Event,
    report: &AnnouncementReport,
    announced: &str,
    expectation: &Expectation,
) {
    let (client, server, kind) = (event.client, event.server, report.kind.as_str());
    let (expect, hint) = (Shown(expectation), hint_on_address(report));
    info!(
        %client, %server, kind, announced, %expect,
        "the server names an address that is not its own: its own is opened and announced instead; \
         {hint}"
    );
}

fn log_command(event: &Event, report: &CommandReport) {
    let (client, server) = (event.client, event.server);
    let (command, rule) = (report.verb.as_str(), &*report.entry);
    match report.action {
        PolicyAction::Allow | PolicyAction::Log => {
            info!(%client, %server, command, rule, "command")
        }
        PolicyAction::Refuse => warn!(%client, %server, command, rule, "command refused"),
        PolicyAction::Reset => warn!(%client, %server, command, rule, "command: connection reset"),
    }
}

struct Shown<'a>(&'a Expectation);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let expectation = self.0;
        write!(f, "{}", expectation.source)?;
        if let Some(prefix) = expectation.source_prefix {
            write!(f, "/{prefix}")?;
        }
        write!(f, " -> {}", expectation.destination)?;
        if expectation.has_translated_destination() {
            write!(f, " (to {})", expectation.translated_destination)?;
        }
        if expectation.has_translated_source() {
            write!(f, " (from {})", expectation.translated_source)?;
        }
        Ok(())
    }
}

struct ShownRewrite<'a>(&'a RewriteReport);

impl std::fmt::Display for ShownRewrite<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({:+} bytes)",
            self.0.line.escape_debug(),
            self.0.delta
        )
    }
}
