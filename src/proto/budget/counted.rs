//! How many sessions there are of those that a rule counts.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// How many sessions a rule lets be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCount {
    /// Of one host.
    pub of_host: u32,
    /// Of all hosts together.
    pub of_all: u32,
}

/// The sessions of each rule that counts them, by its name: a reload goes on counting. There is an entry
/// for each host with such a session and one for all, so that there are never more than twice as
/// many as sessions.
#[derive(Debug, Default)]
pub(super) struct CountedSessions(HashMap<(Arc<str>, Option<IpAddr>), u32>);

impl CountedSessions {
    /// Counts a session, unless there are enough.
    pub(super) fn begin(&mut self, rule: &Arc<str>, host: IpAddr, most: SessionCount) -> bool {
        let is_full =
            self.count(rule, Some(host)) >= most.of_host || self.count(rule, None) >= most.of_all;
        if !is_full {
            for whose in [Some(host), None] {
                let count = self.0.entry((Arc::clone(rule), whose)).or_default();
                *count = count.saturating_add(1);
            }
        }
        !is_full
    }

    /// A session that was counted is over.
    pub(super) fn end(&mut self, rule: &Arc<str>, host: IpAddr) {
        for whose in [Some(host), None] {
            let key = (Arc::clone(rule), whose);
            if let Some(count) = self.0.get_mut(&key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.0.remove(&key);
                }
            }
        }
    }

    fn count(&self, rule: &Arc<str>, whose: Option<IpAddr>) -> u32 {
        let key = (Arc::clone(rule), whose);
        self.0.get(&key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_for_their_host_and_for_all_and_forgotten_when_they_end() {
        let mut counted = CountedSessions::default();
        let rule: Arc<str> = "few".into();
        let [first, second] = ["10.0.0.1", "10.0.0.2"].map(|host| host.parse().unwrap());
        let most = SessionCount {
            of_host: 2,
            of_all: 3,
        };
        assert!(counted.begin(&rule, first, most));
        assert!(counted.begin(&rule, first, most));
        assert!(!counted.begin(&rule, first, most), "its host has two");
        assert!(
            counted.begin(&"another".into(), first, most),
            "another rule counts its own"
        );
        assert!(counted.begin(&rule, second, most));
        assert!(!counted.begin(&rule, second, most), "there are three");
        counted.end(&rule, first);
        assert!(counted.begin(&rule, second, most));
        for host in [first, second, second] {
            counted.end(&rule, host);
        }
        counted.end(&"another".into(), first);
        assert!(counted.0.is_empty());
    }
}
