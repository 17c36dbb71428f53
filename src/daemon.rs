//! The daemon's side of the program: its configuration and its logging.

pub mod config;
pub mod logging;
mod report;
