//! Goes before other programs of the machine.

use rustix::process::{getpriority_process, setpriority_process};

/// As high as programs go that others wait for. Sessions wait for each of their packets' verdict,
/// and where processors are busy a program of the common priority is woken a millisecond late and
/// more, ten times the time that a verdict takes.
const NICENESS: i32 = -10;

/// Goes before other programs, unless somebody has chosen otherwise or the privilege is missing:
/// then a packet waits for its turn.
pub fn take_precedence() {
    if getpriority_process(None) == Ok(0) {
        // Without CAP_SYS_NICE it is the manager's to give (`Nice=` of the unit).
        let _ = setpriority_process(None, NICENESS);
    }
}
