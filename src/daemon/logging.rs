//! Writes the log to stderr, as text or JSON, filtered by `RUST_LOG`.
//!
//! The span of a line ([`session_span`]) tells its session. The log never gets the arguments of
//! USER, PASS and ACCT.
//!
//! Before the workers begin, each line is written by the thread that logs it. From then on a thread
//! of its own writes ([`LogThread`]), so that no packet waits for a reader of the log, and a flood
//! of one kind of line is thinned out.

mod line_limiter;
mod line_queue;

use std::{
    io::{self, IsTerminal},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use self::{
    line_limiter::{LimitLayer, LineLimiter},
    line_queue::{LineQueue, QueueWriter},
};
use super::config::LogFormat;
use crate::io::clock;

static LIMITER: LineLimiter = LineLimiter::new();
static QUEUE: LineQueue = LineQueue::new();

/// How often the thread of the log looks at what was left out.
const TICK: Duration = Duration::from_secs(1);

/// How long the end of the process waits for a reader of the log.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Starts logging for the whole process, at `info` unless `RUST_LOG` says otherwise.
///
/// # Errors
/// `RUST_LOG` is not a filter, or logging was started before.
pub fn start(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .context("RUST_LOG is not a log filter such as `info` or `ftp_alg=debug`")?;
    let lines = fmt::layer()
        .with_writer(QueueWriter(&QUEUE))
        .with_ansi(io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(LimitLayer::new(&LIMITER, clock::now))
        .with(filter)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging was started twice: {error}"))
}

/// The span in which everything about one session is logged: each line carries its id.
#[must_use]
pub fn session_span(id: u64) -> tracing::Span {
    tracing::info_span!("session", id)
}

/// The thread that writes the log. Dropping it tells what was left out, and waits until all lines
/// are written, for [`FLUSH_MAX`] at most.
#[derive(Debug)]
pub(super) struct LogThread(());

impl LogThread {
    /// Starts the thread. It has the privileges of the calling one.
    ///
    /// # Errors
    /// The kernel refuses to start one.
    pub(super) fn start() -> anyhow::Result<Self> {
        let writer = thread::Builder::new()
            .name("log".to_owned())
            .spawn(write_lines)
            .context("cannot start the thread of the log")?;
        QUEUE.begin(writer.thread().id());
        LIMITER.begin();
        Ok(Self(()))
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        LIMITER.end();
        QUEUE.finish(FLUSH_MAX);
    }
}

fn write_lines() {
    let mut next_tick = clock::now() + TICK;
    QUEUE.write_to(&mut io::stderr(), TICK, || {
        let now: Instant = clock::now();
        if now >= next_tick {
            next_tick = now + TICK;
            LIMITER.report(now);
        }
    });
}
