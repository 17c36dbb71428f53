//! How many packets the queues of this network namespace have lost, as the kernel counts them.
//!
//! The kernel drops a packet in silence when a queue is full. It tells the reader only when the
//! socket's buffer was full, and not how many packets were lost. Its own counters are complete.

use std::{
    fs::File,
    io::{self, Read, Seek},
};

/// One line a queue (`nfqnl_seq_show` in the kernel). It is readable for root alone.
const COUNTERS: &str = "/proc/thread-self/net/netfilter/nfnetlink_queue";

/// What one queue has lost since it was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLosses {
    /// The queue's number.
    pub queue: u16,
    /// Packets that found no place in the queue, or none in its socket. The count wraps.
    pub packets: u32,
}

/// The kernel's counters, open, so that a process without root's rights can go on reading them.
#[derive(Debug)]
pub struct LossCounters(File);

impl LossCounters {
    /// Opens the counters of the calling thread's network namespace.
    ///
    /// # Errors
    /// When this process may not read them, or no queue was ever bound on this machine.
    pub fn open() -> io::Result<Self> {
        File::open(COUNTERS).map(Self)
    }

    /// The losses of every queue that is bound.
    ///
    /// # Errors
    /// When the kernel's table cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<QueueLosses>> {
        let mut text = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut text)?;
        Ok(text.lines().filter_map(parse).collect())
    }
}

/// Reads the two kinds of loss: packets that found no place in the queue, and packets that found
/// none in the socket.
///
/// ```text
///     0  31337     2 2 65535     5     7      812  1
/// ```
fn parse(line: &str) -> Option<QueueLosses> {
    let mut fields = line.split_whitespace();
    let queue = fields.next()?.parse().ok()?;
    let mut lost = fields.skip(4).map(str::parse::<u32>);
    let (queue_full, socket_full) = (lost.next()?.ok()?, lost.next()?.ok()?);
    Some(QueueLosses {
        queue,
        packets: queue_full.wrapping_add(socket_full),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_loss_are_counted_and_a_line_that_is_cut_is_passed_over() {
        let line = "    3  31337     2 2 65535     5     7      812  1";
        let losses = QueueLosses {
            queue: 3,
            packets: 12,
        };
        assert_eq!(parse(line), Some(losses));
        assert_eq!(parse("    3  31337     2 2 65535     5"), None);
        assert_eq!(parse(""), None);
    }
}
