//! Segmentation does not matter. In any network each end receives the same bytes as with one line
//! in each segment and no loss. The same data connections are expected.
//!
//! The normal run has [`CASES`] cases; `FTP_ALG_CASES=1000000` makes it a long one, and
//! `--nocapture` shows how many were run.

mod cases;
#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "each test uses a part of the harness")]
mod harness;
mod regressions;

use std::cell::Cell;

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use self::cases::any_case;

/// The number of schedules of the normal run.
const CASES: u32 = 10_000;

#[test]
fn any_schedule_gives_the_same_as_one_segment_for_each_line() {
    let asked = std::env::var("FTP_ALG_CASES").ok();
    let cases = asked.and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    };
    // The normal run is always the same. The longer mode tries new schedules.
    let mut runner = match std::env::var_os("FTP_ALG_CASES") {
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
        Some(_) => TestRunner::new(config),
    };
    let checked = Cell::new(0_u32);
    let verdict = runner.run(&any_case(), |case| {
        checked.set(checked.get() + 1);
        case.check()
    });
    eprintln!("{} schedules were run", checked.get());
    if let Err(failure) = verdict {
        panic!("{failure}");
    }
    assert_eq!(checked.get(), cases, "none was left out");
}
