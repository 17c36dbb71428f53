//! Lets one daemon work in a network namespace at a time.

use super::{Queue, QueueError};
use crate::ruleset::LOCK_QUEUE;

/// Held while the daemon runs. Two daemons would take the table, the marks and the saved flows from
/// each other, whatever their queues.
///
/// A queue makes a good lock: it belongs to the network namespace, only a privileged process may
/// have it, and the kernel gives it back when that process ends.
#[derive(Debug)]
pub struct InstanceLock(#[expect(dead_code, reason = "held, not used")] Queue);

impl InstanceLock {
    /// Takes it.
    ///
    /// # Errors
    /// [`QueueError::Locked`] while another daemon has it.
    pub fn take() -> Result<Self, QueueError> {
        match Queue::open(LOCK_QUEUE) {
            Ok(queue) => Ok(Self(queue)),
            Err(QueueError::InUse(_)) => Err(QueueError::Locked),
            Err(error) => Err(error),
        }
    }
}
