//! The threads of the workers: started under a name, watched for their end, and joined.
//!
//! A worker ends when it is told to stop. If it ends for any other reason, nobody reads its queue
//! any more, so its reason is reported here and the whole daemon ends: the service manager then
//! starts a new one. A panic is such a reason. It is caught, because the other workers would
//! otherwise go on as if nothing had happened.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    thread::{self, JoinHandle},
};

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;
use tracing::error;

/// The threads of all workers.
#[derive(Debug)]
pub(super) struct Supervisor {
    threads: Vec<JoinHandle<()>>,
    report: mpsc::UnboundedSender<anyhow::Error>,
    reports: mpsc::UnboundedReceiver<anyhow::Error>,
}

impl Supervisor {
    /// A supervisor without threads.
    pub(super) fn new() -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        Self {
            threads: Vec::new(),
            report,
            reports,
        }
    }

    /// Starts a thread of this name.
    ///
    /// # Errors
    /// The kernel refuses to start one.
    pub(super) fn start(
        &mut self,
        name: String,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let report = self.report.clone();
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            // Nothing of the worker is looked at after a panic: it is dropped with the closure.
            let reason = match panic::catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => anyhow!("{name} ended on its own"),
                Ok(Err(error)) => error.context(format!("{name} failed")),
                Err(payload) => anyhow!("{name} panicked: {}", message_of(&*payload)),
            };
            // Nobody listens while the daemon stops, and then it is no news.
            report.send(reason).ok();
        });
        self.threads.push(thread.context("cannot start a worker")?);
        Ok(())
    }

    /// Waits until a worker ends without being told to, and says why.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        let reason = self.reports.recv().await;
        reason.unwrap_or_else(|| anyhow!("no worker is left"))
    }

    /// Waits until every thread has ended. They must have been told to stop.
    pub(super) fn join(self) {
        for thread in self.threads {
            // The thread has caught and reported a panic of its worker.
            thread.join().ok();
        }
    }
}

/// Makes every panic of this process a line of its log, with its thread and its place.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        error!(
            thread = thread.name().unwrap_or("unnamed"),
            location = panic.location().map(tracing::field::display),
            "panic: {}",
            message_of(panic.payload())
        );
    }));
}

/// What `panic!` was given, if it was text.
fn message_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// The reason that the daemon would end with, if one worker does this and another one waits.
    fn failure(work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> String {
        let (stop, stopped): (_, Receiver<()>) = channel();
        let mut supervisor = Supervisor::new();
        let waits = move || {
            stopped.recv().ok();
            Ok(())
        };
        supervisor.start("worker-0".to_owned(), waits).unwrap();
        supervisor.start("worker-1".to_owned(), work).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let reason = runtime.unwrap().block_on(supervisor.failure());
        drop(stop);
        supervisor.join();
        format!("{reason:#}")
    }

    #[test]
    fn a_panic_of_one_worker_is_noticed_while_the_others_go_on() {
        let number = 7;
        assert_eq!(
            failure(move || panic!("packet {number} is odd")),
            "worker-1 panicked: packet 7 is odd"
        );
        assert_eq!(failure(|| panic!("odd")), "worker-1 panicked: odd");
        assert_eq!(
            failure(|| panic::panic_any(7)),
            "worker-1 panicked: without a message"
        );
    }

    #[test]
    fn an_error_and_an_end_without_one_are_noticed() {
        assert_eq!(
            failure(|| Err(anyhow!("no such queue"))),
            "worker-1 failed: no such queue"
        );
        assert_eq!(failure(|| Ok(())), "worker-1 ended on its own");
    }

    #[test]
    fn a_thread_has_the_name_that_it_is_started_under() {
        let (tell, told) = channel();
        let mut supervisor = Supervisor::new();
        let says_its_name = move || Ok(tell.send(thread::current().name().map(str::to_owned))?);
        supervisor
            .start("worker-5".to_owned(), says_its_name)
            .unwrap();
        assert_eq!(told.recv().unwrap().as_deref(), Some("worker-5"));
        supervisor.join();
    }
}
