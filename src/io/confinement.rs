//! Takes away from this process what it does not need once its sockets are open.
//!
//! Whoever finds a fault in what reads strangers' packets holds what the process holds. So it
//! keeps one capability, is nobody else's user, reaches the few files that it is told of
//! (Landlock), and may ask the kernel for a short list of things (seccomp). None of it can be
//! taken back, also not by a new program: `no_new_privs` comes first.
//!
//! What is taken here holds for the calling thread and those that it starts afterwards, except for
//! the filter of system calls, which reaches all threads there are.

mod account;
mod capabilities;
mod files;
mod holdings;
mod syscalls;

pub use account::{Account, AccountError};
pub use capabilities::keep_only;
pub use files::{Fence, FenceError, Reach, fence};
pub use holdings::{Holdings, holdings};
pub use rustix::thread::CapabilitySet;
pub use syscalls::{FilterError, allowed_count, filter};

use std::io;

/// Makes sure that no program that this process starts gets more than it has, and that nobody but
/// root reads its memory, which holds what users of FTP send in the clear.
///
/// # Errors
/// The kernel refuses (it never does since 3.5).
pub fn give_up_privileges_to_come() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
