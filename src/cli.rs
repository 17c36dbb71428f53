//! The command line: what can be asked for, and how the answer and the exit status come out.
//!
//! Exit status: 0 success, 1 something failed while running, 2 bad usage or configuration.
//! An error is one line on stderr that says what, where, and what to do.

mod adopt;
mod after_help;
mod check;
mod completions;
mod failure;
mod man;
mod replay;
mod rules;
mod run;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};

use after_help::after_help;
use failure::Failure;

/// FTP NAT and firewall helper (ALG): reads FTP control connections from an NFQUEUE, rewrites
/// announced addresses where NAT makes them wrong, and opens exactly the announced data connection.
#[derive(Parser)]
#[command(name = "ftp-alg", version, subcommand_required = true)]
#[command(arg_required_else_help = true)]
#[command(after_help = after_help!("ftp-alg run --config /etc/ftp-alg.toml"))]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Adopt(adopt::Adopt),
    Rules(rules::Rules),
    Replay(replay::Replay),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.run(),
            Self::Check(check) => check.run(out),
            Self::Adopt(adopt) => adopt.run(out),
            Self::Rules(rules) => rules.run(out),
            Self::Replay(replay) => replay.run(out),
            Self::Completions(completions) => completions.run(Arguments::command(), out),
            Self::Man(man) => man.run(Arguments::command()),
        }
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::report_usage(&error),
    };
    let mut out = io::stdout().lock();
    let outcome = arguments
        .command
        .run(&mut out)
        .and_then(|()| out.flush().map_err(Failure::from));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
