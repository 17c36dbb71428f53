//! Drops the privileges that this process does not need once its sockets are open.
//!
//! An attacker who exploits a bug of the packet parsers has the privileges of this process. So the
//! process keeps one capability, runs as a user of its own, reaches a few files (Landlock), and may
//! make the system calls of a short list (seccomp). No program that it starts regains anything,
//! because `no_new_privs` is set.
//!
//! Each restriction holds for the calling thread and the threads that it starts afterwards. Only
//! the filter of system calls reaches all threads that exist.

mod account;
mod capabilities;
mod credentials;
mod files;
mod syscalls;

pub use account::{Account, AccountError};
pub use capabilities::keep_capabilities;
pub use credentials::ProcessCredentials;
pub use files::{AllowedPaths, LandlockError, LandlockStatus, install_landlock};
pub use rustix::thread::CapabilitySet;
pub use syscalls::{SeccompError, allowed_syscalls, install_seccomp};

use std::io;

/// Forbids every program that this process starts to gain privileges, and everybody but root to
/// read its memory: that memory holds what users of FTP send in the clear.
///
/// # Errors
/// The kernel refuses. Linux never does since 3.5.
pub fn forbid_new_privileges() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
