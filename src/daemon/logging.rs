//! Writes the log to stderr, as text or JSON, filtered by `RUST_LOG`.
//!
//! The span of a line ([`session_span`]) tells its session. The log never gets the arguments of
//! USER, PASS and ACCT.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt};

use super::config::LogFormat;

/// Starts logging for the whole process, at `info` unless `RUST_LOG` says otherwise.
///
/// # Errors
/// `RUST_LOG` is not a filter, or logging was started before.
pub fn start(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .context("RUST_LOG is not a log filter such as `info` or `ftp_alg=debug`")?;
    let builder = fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter);
    let started = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging was started twice: {error}"))
}

/// The span in which everything about one session is logged: each line carries its id.
#[must_use]
pub fn session_span(id: u64) -> tracing::Span {
    tracing::info_span!("session", id)
}
