//! Thins out the lines of one kind, and says how many were left out.
//!
//! A kind is a place in the source: all refused announcements are of one kind. Of each kind ten
//! lines may come at once, and then one a second. What a peer can cause again and again cannot fill
//! the log, and cannot hide a line of another kind. Lines at debug and trace are not limited:
//! nobody gets them without asking.
//!
//! The kinds are as many as the source has, so their table is bounded.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Metadata, Subscriber, callsite,
    field::{Field, Visit},
    info, warn,
};
use tracing_subscriber::{Layer, layer::Context};

use crate::proto::budget::TokenBucket;

/// The lines of a kind in a second. [`TokenBucket`] lets the lines of ten seconds come at once.
const RATE: u32 = 1;

/// How long lines are left out before the log says how many.
const REPORT_AFTER: Duration = Duration::from_secs(10);

/// The longest name of a kind, in characters.
const NAME_MAX: usize = 120;

/// The target of lines that no limit concerns: they are about the log itself.
pub(super) const ABOUT_THE_LOG: &str = "ftp_alg::log";

/// Counts the lines of each kind.
#[derive(Debug)]
pub(super) struct LineLimiter {
    is_on: AtomicBool,
    kinds: Mutex<Vec<Kind>>,
}

#[derive(Debug)]
struct Kind {
    callsite: callsite::Identifier,
    level: Level,
    bucket: TokenBucket,
    left_out: Option<LeftOut>,
}

/// The lines of a kind that were left out since the log last said how many.
#[derive(Clone, Debug)]
struct LeftOut {
    lines: u64,
    since: Instant,
    name: String,
}

impl LineLimiter {
    /// A limiter that lets everything through until [`begin`](Self::begin).
    pub(super) const fn new() -> Self {
        Self {
            is_on: AtomicBool::new(false),
            kinds: Mutex::new(Vec::new()),
        }
    }

    /// Limits from now on.
    pub(super) fn begin(&self) {
        self.is_on.store(true, Ordering::Release);
    }

    /// Limits nothing any more, and says what was left out.
    pub(super) fn end(&self) {
        self.is_on.store(false, Ordering::Release);
        self.report_if(|_| true);
    }

    /// Says how many lines were left out, of each kind that has waited for long enough.
    pub(super) fn report(&self, now: Instant) {
        let is_due = |since| now.saturating_duration_since(since) >= REPORT_AFTER;
        self.report_if(is_due);
    }

    fn report_if(&self, is_due: impl Fn(Instant) -> bool) {
        let mut found = Vec::new();
        for kind in self.kinds().iter_mut() {
            let taken = kind.left_out.take_if(|left_out| is_due(left_out.since));
            found.extend(taken.map(|left_out| (kind.level, left_out)));
        }
        // The lock is free again: these lines come here, too.
        for (level, LeftOut { lines, name, .. }) in found {
            let words = format!("{lines} more lines of this kind were left out");
            if level == Level::INFO {
                info!(target: ABOUT_THE_LOG, kind = name, "{words}");
            } else {
                warn!(target: ABOUT_THE_LOG, kind = name, "{words}");
            }
        }
    }

    /// Whether a line may be written. `name` gives the words that are common to its kind.
    fn admit(&self, metadata: &Metadata<'_>, name: impl FnOnce() -> String, now: Instant) -> bool {
        let level = *metadata.level();
        let is_limited = self.is_on.load(Ordering::Acquire)
            && level <= Level::INFO
            && metadata.target() != ABOUT_THE_LOG;
        if !is_limited {
            return true;
        }
        let callsite = metadata.callsite();
        let mut kinds = self.kinds();
        let known = kinds.iter().position(|kind| kind.callsite == callsite);
        let place = known.unwrap_or_else(|| {
            kinds.push(Kind {
                callsite,
                level,
                bucket: TokenBucket::FULL,
                left_out: None,
            });
            kinds.len() - 1
        });
        let kind = &mut kinds[place];
        let is_admitted = kind.bucket.take(1, RATE, now);
        if !is_admitted {
            let begun = || LeftOut {
                lines: 0,
                since: now,
                name: name(),
            };
            kind.left_out.get_or_insert_with(begun).lines += 1;
        }
        is_admitted
    }

    fn kinds(&self) -> std::sync::MutexGuard<'_, Vec<Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a limiter before all layers below it.
pub(super) struct LimitLayer {
    limiter: &'static LineLimiter,
    clock: fn() -> Instant,
}

impl LimitLayer {
    /// A layer with this limiter and this clock.
    pub(super) const fn new(limiter: &'static LineLimiter, clock: fn() -> Instant) -> Self {
        Self { limiter, clock }
    }
}

impl<S: Subscriber> Layer<S> for LimitLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let name = || {
            let mut message = Message(String::new());
            event.record(&mut message);
            message.0
        };
        self.limiter.admit(event.metadata(), name, (self.clock)())
    }
}

/// The words of a line, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").chars().take(NAME_MAX).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io, sync::Arc};

    use tracing::debug;
    use tracing_subscriber::{fmt, layer::SubscriberExt};

    use super::*;
    use crate::proto::test_origin;

    thread_local! {
        static SECONDS: Cell<u64> = const { Cell::new(0) };
    }

    fn test_clock() -> Instant {
        test_origin() + Duration::from_secs(SECONDS.get())
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are written while `log` runs with a limiter of its own.
    fn lines(log: impl FnOnce(&'static LineLimiter)) -> Vec<String> {
        let limiter: &'static LineLimiter = Box::leak(Box::new(LineLimiter::new()));
        limiter.begin();
        let written = Written::default();
        let writer = written.clone();
        let layer = fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry()
            .with(layer)
            .with(LimitLayer::new(limiter, test_clock));
        tracing::subscriber::with_default(subscriber, || log(limiter));
        let text = written.0.lock().unwrap().clone();
        let text = String::from_utf8(text).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn refuse(port: u32) {
        warn!(port, "announcement refused");
    }

    #[test]
    fn two_hundred_lines_of_a_kind_are_eleven_whose_numbers_add_up() {
        let lines = lines(|limiter| {
            (0..200).for_each(refuse);
            limiter.end();
        });
        assert_eq!(lines.len(), 11, "{lines:#?}");
        assert_eq!(lines[0], "WARN announcement refused port=0");
        assert_eq!(
            lines[10],
            "WARN 190 more lines of this kind were left out kind=\"announcement refused\""
        );
    }

    #[test]
    fn the_log_says_after_ten_seconds_how_many_were_left_out_and_then_begins_anew() {
        let lines = lines(|limiter| {
            (0..15).for_each(refuse);
            SECONDS.set(9);
            limiter.report(test_clock());
            SECONDS.set(10);
            limiter.report(test_clock());
            limiter.report(test_clock());
            (20..31).for_each(refuse);
            SECONDS.set(0);
            limiter.end();
        });
        let about_the_log = lines.iter().filter(|line| line.contains("left out"));
        let about_the_log: Vec<_> = about_the_log.collect();
        assert_eq!(about_the_log.len(), 2, "{lines:#?}");
        assert!(about_the_log[0].contains(" 5 more lines"), "{lines:#?}");
        assert!(about_the_log[1].contains(" 1 more lines"), "{lines:#?}");
    }

    #[test]
    fn a_flood_hides_no_line_of_another_kind_and_debug_is_not_limited() {
        let lines = lines(|_| {
            (0..100).for_each(refuse);
            info!("stopping");
            (0..100).for_each(|port| debug!(port, "announcement"));
        });
        assert!(lines.contains(&"INFO stopping".to_owned()), "{lines:#?}");
        let details = lines.iter().filter(|line| line.starts_with("DEBUG"));
        assert_eq!(details.count(), 100);
    }

    #[test]
    fn before_the_workers_begin_nothing_is_limited() {
        let lines = lines(|limiter| {
            limiter.end();
            (0..100).for_each(refuse);
        });
        assert_eq!(lines.len(), 100);
    }
}
