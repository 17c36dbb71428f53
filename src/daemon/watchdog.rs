//! Watches whether a worker is stuck: whether one packet keeps it busy for too long.
//!
//! A worker that waits for packets is well, however long it waits. One that is stuck reads its
//! queue no more, and does not end either. The service manager can only start a new process, so it
//! hears that this one is well for as long as no worker is stuck (`WatchdogSec=`).

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::{info, warn};

use crate::io::clock;

/// How long one packet, or one batch of deadlines, may take. The kernel may take five seconds for
/// an answer, and a packet may need two.
const BUSY_MAX: Duration = Duration::from_secs(12);

/// How often the workers are looked at, at the least.
const INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Says since when a worker is busy.
#[derive(Debug)]
pub(super) struct Heartbeat {
    origin: Instant,
    /// Milliseconds from `origin`, plus one; 0 while it waits.
    busy_since: AtomicU64,
}

impl Heartbeat {
    fn new(origin: Instant) -> Self {
        Self {
            origin,
            busy_since: AtomicU64::new(0),
        }
    }

    /// The worker begins with one packet, or with one batch of deadlines.
    pub(super) fn begin(&self, now: Instant) {
        let since = now.saturating_duration_since(self.origin).as_millis() as u64;
        self.busy_since.store(since + 1, Ordering::Relaxed);
    }

    /// The worker waits.
    pub(super) fn rest(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    fn busy_for(&self, now: Instant) -> Duration {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1);
        since.map_or(Duration::ZERO, |since| {
            now.saturating_duration_since(self.origin + Duration::from_millis(since))
        })
    }
}

/// Watches all workers.
#[derive(Debug)]
pub(super) struct Watchdog {
    workers: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    queue: u16,
    heartbeat: Arc<Heartbeat>,
    is_stuck: bool,
}

impl Watchdog {
    /// Watches the workers of these queues.
    pub(super) fn new(queues: RangeInclusive<u16>) -> Self {
        let origin = clock::now();
        let workers = queues.map(|queue| Watched {
            queue,
            heartbeat: Arc::new(Heartbeat::new(origin)),
            is_stuck: false,
        });
        Self {
            workers: workers.collect(),
        }
    }

    /// What the workers report to, in the order of their queues.
    pub(super) fn heartbeats(&self) -> Vec<Arc<Heartbeat>> {
        let of = |worker: &Watched| Arc::clone(&worker.heartbeat);
        self.workers.iter().map(of).collect()
    }

    /// Whether no worker is stuck. The log says which one is, and when it goes on.
    pub(super) fn check(&mut self, now: Instant) -> bool {
        for worker in &mut self.workers {
            let busy = worker.heartbeat.busy_for(now);
            let is_stuck = busy > BUSY_MAX;
            let was_stuck = std::mem::replace(&mut worker.is_stuck, is_stuck);
            let thread = format!("worker-{}", worker.queue);
            match (was_stuck, is_stuck) {
                (false, true) => warn!(
                    thread,
                    seconds = busy.as_secs(),
                    "a worker is stuck: its queue is not read"
                ),
                (true, false) => info!(thread, "a worker that was stuck goes on"),
                (true, true) | (false, false) => {}
            }
        }
        self.workers.iter().all(|worker| !worker.is_stuck)
    }
}

/// How often to look at the workers: often enough for the service manager, where it wants to hear
/// of them.
pub(super) fn interval() -> Duration {
    let wanted = sd_notify::watchdog_enabled().filter(|wanted| !wanted.is_zero());
    wanted.map_or(INTERVAL_MAX, |wanted| INTERVAL_MAX.min(wanted / 2))
}

/// Tells the service manager that all workers are well, if it wants to know.
pub(super) fn tell_well() {
    if sd_notify::watchdog_enabled().is_some()
        && let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog])
    {
        warn!(%error, "systemd could not be told that the workers are well");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_one_packet_keeps_busy_is_stuck_until_it_goes_on() {
        let mut watchdog = Watchdog::new(0..=1);
        let workers = watchdog.heartbeats();
        let now = clock::now();
        workers.iter().for_each(|worker| worker.begin(now));
        let soon = now + BUSY_MAX - Duration::from_secs(1);
        assert!(watchdog.check(soon), "they may take their time");
        let late = now + BUSY_MAX + Duration::from_secs(1);
        workers[0].begin(late);
        assert!(!watchdog.check(late), "the other one is stuck");
        assert!(!watchdog.check(late), "it still is");
        workers[1].begin(late);
        assert!(watchdog.check(late));
    }

    #[test]
    fn a_worker_that_waits_for_hours_is_not_stuck() {
        let mut watchdog = Watchdog::new(7..=7);
        let hours = Duration::from_secs(36 * 3600);
        let now = clock::now();
        assert!(watchdog.check(now + hours), "it has had nothing to do");
        let worker = &watchdog.heartbeats()[0];
        worker.begin(now);
        worker.rest();
        assert!(watchdog.check(now + hours));
    }
}
