//! The number of sessions that each entry of the command policy counts.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// The most sessions that a policy entry allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCount {
    /// The sessions of one host.
    pub of_host: u32,
    /// The sessions of all hosts together.
    pub of_all: u32,
}

/// The number of sessions for each policy entry and host, and for each policy entry (`None`). There
/// are never more numbers than twice the sessions.
///
/// The name of the policy entry is the key, so that counting goes on after a reload.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedSessions(HashMap<(Arc<str>, Option<IpAddr>), u32>);

impl CountedSessions {
    /// Counts a session; `false` where there are as many as the entry allows.
    pub(super) fn begin(&mut self, entry: &Arc<str>, host: IpAddr, most: SessionCount) -> bool {
        let is_full =
            self.count(entry, Some(host)) >= most.of_host || self.count(entry, None) >= most.of_all;
        if !is_full {
            for host in [Some(host), None] {
                let count = self.0.entry((Arc::clone(entry), host)).or_default();
                *count = count.saturating_add(1);
            }
        }
        !is_full
    }

    /// Records the end of a session that was counted.
    pub(super) fn end(&mut self, entry: &Arc<str>, host: IpAddr) {
        for host in [Some(host), None] {
            let key = (Arc::clone(entry), host);
            if let Some(count) = self.0.get_mut(&key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.0.remove(&key);
                }
            }
        }
    }

    fn count(&self, entry: &Arc<str>, host: Option<IpAddr>) -> u32 {
        let key = (Arc::clone(entry), host);
        self.0.get(&key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_count_for_their_host_and_for_all_hosts_until_they_end() {
        let mut counted = CountedSessions::default();
        let entry: Arc<str> = "few".into();
        let [first, second] = ["10.0.0.1", "10.0.0.2"].map(|host| host.parse().unwrap());
        let most = SessionCount {
            of_host: 2,
            of_all: 3,
        };
        assert!(counted.begin(&entry, first, most));
        assert!(counted.begin(&entry, first, most));
        assert!(!counted.begin(&entry, first, most), "its host has two");
        assert!(
            counted.begin(&"another".into(), first, most),
            "another entry counts its own"
        );
        assert!(counted.begin(&entry, second, most));
        assert!(!counted.begin(&entry, second, most), "there are three");
        counted.end(&entry, first);
        assert!(counted.begin(&entry, second, most));
        for host in [first, second, second] {
            counted.end(&entry, host);
        }
        counted.end(&"another".into(), first);
        assert!(counted.0.is_empty());
    }
}
