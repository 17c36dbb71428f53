//! The state of the core, as far as it can make a difference, read from its `Debug` text.
//!
//! Two states of the world are one if this text is equal too. It leaves out what never matters
//! here: the quota, which `Rule::Limits` watches, and the time at which the last packet came. Times
//! are counted from now on, so that it does not matter when something happened.

use std::{fmt::Write, time::Instant};

use ftp_alg::proto::alg::Alg;

/// The text of the one connection that the core follows; empty where it follows none.
#[derive(PartialEq, Eq)]
pub(crate) struct CoreText(String);

impl CoreText {
    pub(crate) fn of(alg: &Alg) -> Self {
        let mut text = String::with_capacity(4096);
        write!(text, "{alg:?}").expect("a string takes all");
        let Some(from) = text.find("flow: Flow {") else {
            return Self(String::new());
        };
        let to = from
            + text[from..]
                .find(", scheduled: ")
                .expect("an entry of the table");
        let flow = &text[from..to];
        let (before, quota) = flow.split_once("quota: Quota {").expect("its quota");
        let (_, after) = quota
            .split_once("tls: ")
            .expect("what stands behind its quota");
        let (life, rest) = before.split_once(", seen: ").expect("its last packet");
        let (_, rest) = rest
            .split_once("ingress: ")
            .expect("what stands behind its life");
        Self([life, rest, after].concat())
    }

    /// The text with times counted from `now`.
    pub(crate) fn relative_to(&self, now: Instant) -> String {
        let now = nanoseconds(&format!("{now:?}"));
        let mut parts = self.0.split("Instant {");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (at, rest) = part.split_once('}').expect("a time");
            let from_now = nanoseconds(at) - now;
            write!(text, "{from_now}{rest}").expect("a string takes all");
        }
        text
    }
}

/// The seconds and nanoseconds in the text of an `Instant`, together.
fn nanoseconds(text: &str) -> i128 {
    let mut numbers = text
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|word| !word.is_empty())
        .map(|word| word.parse::<i128>().expect("digits"));
    let mut next = || numbers.next().expect("seconds and nanoseconds");
    next() * 1_000_000_000 + next()
}
