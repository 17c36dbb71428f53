//! Lines on their way to the log: the threads that log never wait for its reader.
//!
//! A thread that logs puts its line into a bounded queue, and one thread writes. When the reader of
//! the log stands still, the queue fills up, and further lines are lost. They are counted, and the
//! log says how many once it is read again.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use tracing::{Level, Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;

use super::line_limiter::ABOUT_THE_LOG;

/// The most lines that wait. A line has a few hundred bytes.
const LINES_MAX: usize = 4096;

/// The most lines that wait when one at debug is to be added: the rest of the queue is for lines
/// that are limited by their kind.
const DETAILS_MAX: usize = LINES_MAX / 2;

/// The queue.
#[derive(Debug)]
pub(super) struct LineQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    lines: VecDeque<Vec<u8>>,
    lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Whoever logs writes.
    Direct,
    /// This thread writes.
    Queued(ThreadId),
    /// It writes what is left, and ends.
    Finishing(ThreadId),
    /// It did not end in time: nobody reads the log.
    Unread,
}

impl LineQueue {
    /// A queue that nobody reads from: lines are written by those who log them.
    pub(super) const fn new() -> Self {
        let state = State {
            phase: Phase::Direct,
            lines: VecDeque::new(),
            lost: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// From now on this thread writes, with [`write_to`](Self::write_to).
    pub(super) fn begin(&self, writer: ThreadId) {
        self.state().phase = Phase::Queued(writer);
    }

    /// Writes lines until [`finish`](Self::finish), and calls `after_each` after each, and after
    /// each `tick` without one.
    pub(super) fn write_to(
        &self,
        out: &mut dyn Write,
        tick: Duration,
        mut after_each: impl FnMut(),
    ) {
        let own = thread::current().id();
        let is_finishing = |state: &State| state.phase == Phase::Finishing(own);
        loop {
            let mut state = self.wait(self.state(), tick, |state| {
                state.lines.is_empty() && !is_finishing(state)
            });
            let line = state.lines.pop_front();
            let lost = std::mem::take(&mut state.lost);
            let is_over = line.is_none() && lost == 0 && is_finishing(&state);
            if is_over {
                state.phase = Phase::Direct;
            }
            drop(state);
            if is_over {
                self.changed.notify_all();
                return;
            }
            if let Some(line) = line {
                // Nothing is left to do when the log is closed.
                out.write_all(&line).ok();
            }
            if lost > 0 {
                warn!(target: ABOUT_THE_LOG, "nobody read the log: {lost} lines were lost");
            }
            after_each();
        }
    }

    /// Has everything written that waits, for `most` at most.
    pub(super) fn finish(&self, most: Duration) {
        let mut state = self.state();
        if let Phase::Queued(writer) = state.phase {
            state.phase = Phase::Finishing(writer);
            self.changed.notify_all();
            state = self.wait(state, most, |state| {
                matches!(state.phase, Phase::Finishing(_))
            });
            if state.phase != Phase::Direct {
                state.phase = Phase::Unread;
            }
        }
    }

    /// Takes a line, and never waits unless no thread writes yet.
    fn put(&self, line: &[u8], most: usize) {
        let mut state = self.state();
        match state.phase {
            Phase::Direct => {
                drop(state);
                io::stderr().write_all(line).ok();
            }
            Phase::Queued(writer) | Phase::Finishing(writer) => {
                // The writer says little, and only what must not be lost.
                let is_writer = thread::current().id() == writer;
                if is_writer || state.lines.len() < most {
                    state.lines.push_back(line.to_vec());
                    self.changed.notify_all();
                } else {
                    state.lost = state.lost.saturating_add(1);
                }
            }
            Phase::Unread => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        most: Duration,
        is_to_wait: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self
            .changed
            .wait_timeout_while(state, most, |state| is_to_wait(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Makes a writer for each line.
pub(super) struct QueueWriter(pub(super) &'static LineQueue);

/// One line on its way into the queue.
pub(super) struct LineWriter {
    queue: &'static LineQueue,
    most: usize,
}

impl MakeWriter<'_> for QueueWriter {
    type Writer = LineWriter;

    fn make_writer(&self) -> LineWriter {
        LineWriter {
            queue: self.0,
            most: LINES_MAX,
        }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> LineWriter {
        let is_detail = *metadata.level() > Level::INFO;
        LineWriter {
            queue: self.0,
            most: if is_detail { DETAILS_MAX } else { LINES_MAX },
        }
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.put(line, self.most);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, time::Instant};

    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
    use tracing_subscriber::{fmt, layer::SubscriberExt};

    use super::*;
    use crate::io::clock;

    /// More than a pipe and the queue hold.
    const MANY: usize = LINES_MAX + 1000;

    fn new_queue() -> &'static LineQueue {
        Box::leak(Box::new(LineQueue::new()))
    }

    /// Runs with a log that a thread writes into a pipe, whose other end comes back.
    fn with_pipe(queue: &'static LineQueue, log: impl FnOnce(File)) {
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        fcntl_setpipe_size(&writes, 4096).unwrap();
        let layer = fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .with_writer(QueueWriter(queue));
        let subscriber = tracing_subscriber::registry().with(layer);
        let dispatch = tracing::Dispatch::new(subscriber);
        let own = dispatch.clone();
        let writer = thread::spawn(move || {
            tracing::dispatcher::with_default(&own, || {
                queue.write_to(&mut File::from(writes), Duration::from_millis(10), || ());
            });
        });
        queue.begin(writer.thread().id());
        tracing::dispatcher::with_default(&dispatch, || log(File::from(reads)));
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_nobody_reads_and_what_is_lost_is_told_once_somebody_does() {
        let queue = new_queue();
        with_pipe(queue, |mut reads| {
            for number in 0..MANY {
                warn!(number, "a line");
            }
            let reader = thread::spawn(move || {
                let mut text = String::new();
                reads.read_to_string(&mut text).unwrap();
                text
            });
            queue.finish(Duration::from_secs(60));
            let text = reader.join().unwrap();
            let written = text.lines().filter(|line| line.contains("a line")).count();
            let told = text.lines().find(|line| line.contains("nobody read"));
            let told = told.expect("that lines were lost is told");
            let lost = MANY - written;
            assert!(lost > 0);
            assert_eq!(
                told.trim(),
                format!("WARN nobody read the log: {lost} lines were lost")
            );
        });
    }

    #[test]
    fn the_end_of_the_process_waits_for_a_reader_and_not_for_ever() {
        let queue = new_queue();
        with_pipe(queue, |reads| {
            for number in 0..1000 {
                warn!(number, "a line");
            }
            let (begun, most): (Instant, _) = (clock::now(), Duration::from_millis(200));
            queue.finish(most);
            let took = clock::now() - begun;
            assert!(took >= most && took < most * 50, "{took:?}");
            warn!("a line that nobody waits for");
            drop(reads);
        });
    }

    #[test]
    fn details_leave_room_for_what_matters() {
        let queue = new_queue();
        with_pipe(queue, |mut reads| {
            for number in 0..MANY {
                tracing::debug!(number, "a detail");
            }
            warn!("stopping");
            let reader = thread::spawn(move || {
                let mut text = String::new();
                reads.read_to_string(&mut text).unwrap();
                text
            });
            queue.finish(Duration::from_secs(60));
            assert!(reader.join().unwrap().contains("WARN stopping\n"));
        });
    }
}
