//! `ftp-alg replay`: runs captures through the core that the daemon runs.
//!
//! Each capture is a gateway of its own: nothing is remembered from one to the next.

mod gateway;
mod nat_mapping;
mod output_line;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    gateway::ReplayGateway,
    nat_mapping::{Mapping, Mappings},
    output_line::{AnnouncementLine, Counts, Form, OutputLine, PolicyLine, SummaryLine},
};
use super::{Failure, after_help, failure::say};
use crate::{
    daemon::config::Config,
    io::pcap::{Capture, CaptureError},
    proto::{
        command_policy::PolicyAction,
        event::{Decision, Event, EventKind},
    },
};

/// Run pcap and pcapng captures through the core, without privileges.
///
/// Prints each announcement of a data connection with what the daemon would have decided, and a
/// summary of each capture. A capture that cannot be read to its end is reported on stderr, after
/// what could be read.
///
/// Only connections to `control_ports` of the configuration are sessions; the default is port 21.
#[derive(Args)]
#[command(after_help = after_help!(
    "ftp-alg replay --json --nat 10.0.0.2=203.0.113.1 inside.pcap"
))]
pub(super) struct Replay {
    /// Decide as this configuration says; the defaults otherwise.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Translate as a gateway with this address (or prefix) inside and outside; may be repeated.
    #[arg(long, value_name = "INSIDE=OUTSIDE")]
    nat: Vec<Mapping>,
    /// The files to read; standard input cannot be read.
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
}

/// What is printed on one capture, and counted while it is.
struct Printer<'a> {
    form: Form,
    file: &'a str,
    out: &'a mut dyn Write,
    counts: Counts,
}

impl Replay {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        let mut are_whole = true;
        for path in &self.captures {
            are_whole &= self.replay(path, &config, out)?;
        }
        if are_whole {
            Ok(())
        } else {
            Err(Failure::Reported)
        }
    }

    /// Replays one capture; gives whether it could be read to its end.
    fn replay(&self, path: &Path, config: &Config, out: &mut dyn Write) -> Result<bool, Failure> {
        let file = path.display().to_string();
        let form = if self.json { Form::Json } else { Form::Text };
        let mut printer = Printer {
            form,
            file: &file,
            out,
            counts: Counts::default(),
        };
        let mut gateway = ReplayGateway::new(config, Mappings::new(&self.nat));
        let end = replay_frames(path, &mut gateway, &mut printer)?;
        if let Err(error) = &end {
            printer.counts.errors += 1;
            say(&format!("{file}: {error}"));
        }
        printer.print_summary()?;
        Ok(end.is_ok())
    }
}

/// The outer error ends the program, the inner one only this capture.
fn replay_frames(
    path: &Path,
    gateway: &mut ReplayGateway,
    printer: &mut Printer<'_>,
) -> Result<Result<(), CaptureError>, Failure> {
    let mut capture = match Capture::open(path) {
        Ok(capture) => capture,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        let frame = match capture.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        printer.counts.packets += 1;
        match frame.data {
            Ok(packet) => gateway.handle_packet(frame.number, packet, frame.timestamp),
            Err(_) => printer.counts.skipped += 1,
        }
        while let Some(event) = gateway.poll_event() {
            printer.print(&event)?;
        }
    }
}

impl Printer<'_> {
    fn print(&mut self, event: &Event) -> Result<(), Failure> {
        match &event.kind {
            EventKind::Started { .. } => self.counts.sessions += 1,
            EventKind::Announcement(report) => {
                self.counts.announcements += 1;
                match report.decision {
                    Decision::Expect { .. } if !report.is_misnamed => self.counts.expected += 1,
                    Decision::Expect { .. } | Decision::Refuse(_) => self.counts.refused += 1,
                }
                let line = AnnouncementLine::new(self.file, event, report);
                self.form.write(self.out, &OutputLine::Announcement(line))?;
            }
            EventKind::Command(report) => {
                let is_refused =
                    matches!(report.action, PolicyAction::Refuse | PolicyAction::Reset);
                self.counts.commands_refused += u64::from(is_refused);
                let line = PolicyLine::new(self.file, event, report);
                self.form.write(self.out, &OutputLine::Command(line))?;
            }
            EventKind::KernelHelper { .. }
            | EventKind::UnknownOffset
            | EventKind::Withdrawn { .. }
            | EventKind::Replaced { .. }
            | EventKind::Aborted
            | EventKind::Slowed
            | EventKind::TooManySessions
            | EventKind::Opaque
            | EventKind::NotFtp { .. }
            | EventKind::Readable
            | EventKind::TlsOpened { .. }
            | EventKind::TlsRefused { .. }
            | EventKind::PartialLineExpired
            | EventKind::EndlessReply { .. }
            | EventKind::LostSync { .. }
            | EventKind::Forged { .. }
            | EventKind::Ended => {}
        }
        Ok(())
    }

    fn print_summary(&mut self) -> Result<(), Failure> {
        let line = SummaryLine {
            file: self.file,
            counts: self.counts,
        };
        Ok(self.form.write(self.out, &OutputLine::Summary(line))?)
    }
}
