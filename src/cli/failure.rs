//! How a subcommand fails: the exit status and the one line on stderr.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::daemon::config::ConfigError;

/// Something failed while running.
const FAILED: u8 = 1;

/// The command line or the configuration is at fault.
const BAD_INPUT: u8 = 2;

/// Why a subcommand ends without success.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration is at fault: its message already says where.
    Config(ConfigError),
    /// Something failed while running.
    Running(anyhow::Error),
    /// What failed was said where it arose.
    Reported,
    /// Nobody reads what is written (`… | head`): that is no failure of ours.
    OutputClosed,
}

impl Failure {
    /// Says what failed and gives the exit status.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::Config(error) => {
                say_plainly(&error.to_string());
                ExitCode::from(BAD_INPUT)
            }
            Self::Running(error) => {
                say(&format!("{error:#}"));
                ExitCode::from(FAILED)
            }
            Self::Reported => ExitCode::from(FAILED),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Running(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Running(anyhow::Error::new(error).context("cannot write to stdout"))
        }
    }
}

/// Prints help and version as clap lays them out, and a usage error as one line.
pub(super) fn report_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr()
        || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        // Nothing is left to do when even that cannot be written.
        let _ = error.print();
    } else {
        say(&usage_line(&error.render().to_string()));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD_INPUT))
}

/// Writes one line to stderr, with the program's name.
pub(super) fn say(message: &str) {
    say_plainly(&format!("ftp-alg: {message}"));
}

/// Writes one line to stderr. `FILE:LINE:COLUMN:` comes first, where editors look for it.
fn say_plainly(message: &str) {
    // A daemon that has failed has to end, also where nobody reads what it says.
    let stderr = io::stderr();
    let mut waits = [PollFd::new(&stderr, PollFlags::OUT)];
    let most = Timespec {
        tv_sec: 2,
        tv_nsec: 0,
    };
    if poll(&mut waits, Some(&most)) == Ok(0) {
        return;
    }
    // Nothing is left to do when stderr is closed.
    let _ = writeln!(stderr.lock(), "{message}");
}

/// clap's message up to its usage block, on one line, with where to look next.
fn usage_line(rendered: &str) -> String {
    let message = rendered.trim_start_matches("error: ");
    let paragraphs = message
        .split("\n\n")
        .take_while(|text| !text.starts_with("Usage:") && !text.starts_with("For more"));
    let words: Vec<_> = paragraphs.flat_map(str::split_whitespace).collect();
    format!("{}; --help shows what is meant", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_becomes_one_line_without_the_usage_block() {
        let rendered = "error: the following required arguments were not provided:\n  \
                        --config <FILE>\n\nUsage: ftp-alg check --config <FILE>\n\n\
                        For more information, try '--help'.\n";
        assert_eq!(
            usage_line(rendered),
            "the following required arguments were not provided: --config <FILE>; \
             --help shows what is meant"
        );
    }

    #[test]
    fn a_reader_that_goes_away_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(failure, Failure::OutputClosed));
    }
}
