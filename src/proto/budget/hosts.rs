//! What the sessions of each host have spent together.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use super::{Budget, Limits, SessionCount, counted::CountedSessions};

/// How many hosts are told apart. Those beyond share one account: a flood from many addresses is
/// held to one host's budget, and no host that was there before suffers by it.
pub const HOSTS_MAX: usize = 65_536;

/// The hosts that have sessions, or have spent something that has not come in again.
#[derive(Debug, Default)]
pub struct HostTable {
    hosts: HashMap<IpAddr, Account>,
    /// Of the hosts that found no place.
    others: Account,
    /// Of the rules that count sessions.
    counted: CountedSessions,
    /// No sooner than now is it worth to look for hosts that can be forgotten.
    swept_at: Option<Instant>,
}

/// The cost of one segment of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentCost {
    /// Lines that end in it; one at the least.
    pub commands: u32,
    /// Bytes; [`SEGMENT_MIN`](super::SEGMENT_MIN) at the least.
    pub bytes: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    sessions: u32,
    commands: Budget,
    bytes: Budget,
    openings: Budget,
}

impl HostTable {
    /// Counts a session of a host, unless it has enough of them.
    pub fn begin_session(&mut self, host: IpAddr, limits: &Limits, now: Instant) -> bool {
        let account = self.account(host, now);
        let is_admitted = account.sessions < limits.host_sessions;
        if is_admitted {
            account.sessions = account.sessions.saturating_add(1);
        }
        is_admitted
    }

    /// Counts a session of a host, however many it has.
    pub fn resume_session(&mut self, host: IpAddr, now: Instant) {
        let account = self.account(host, now);
        account.sessions = account.sessions.saturating_add(1);
    }

    /// A session that was counted is over.
    pub fn end_session(&mut self, host: IpAddr, now: Instant) {
        let host = prefix_of(host);
        // One that began when there was no room for its host is among the others.
        let own = self.hosts.get_mut(&host);
        let own = own.filter(|account| account.sessions > 0);
        let account = own.unwrap_or(&mut self.others);
        account.sessions = account.sessions.saturating_sub(1);
        if self.hosts.get(&host).is_some_and(|own| own.is_idle(now)) {
            self.hosts.remove(&host);
        }
    }

    /// Charges a host for a segment of its client; `false` where the segment has to wait.
    pub fn charge_segment(
        &mut self,
        host: IpAddr,
        cost: SegmentCost,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        let account = self.account(host, now);
        account
            .commands
            .spend(cost.commands, limits.host_commands, now)
            && account.bytes.spend(cost.bytes, limits.host_bytes, now)
    }

    /// Spends an opening of a host; `false` where it is one too many.
    pub fn spend_opening(&mut self, host: IpAddr, limits: &Limits, now: Instant) -> bool {
        let account = self.account(host, now);
        account.openings.spend(1, limits.host_openings, now)
    }

    /// Counts a session for a rule, unless the rule has enough of them.
    pub fn begin_counted(&mut self, rule: &Arc<str>, host: IpAddr, most: SessionCount) -> bool {
        self.counted.begin(rule, prefix_of(host), most)
    }

    /// A session that was counted for a rule is over.
    pub fn end_counted(&mut self, rule: &Arc<str>, host: IpAddr) {
        self.counted.end(rule, prefix_of(host));
    }

    /// How many hosts are told apart now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    fn account(&mut self, host: IpAddr, now: Instant) -> &mut Account {
        let host = prefix_of(host);
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(&host) {
            self.sweep(now);
            if self.hosts.len() >= HOSTS_MAX {
                return &mut self.others;
            }
        }
        self.hosts.entry(host).or_default()
    }

    /// Forgets hosts without sessions that have all they may spend; once a second at most.
    fn sweep(&mut self, now: Instant) {
        if self
            .swept_at
            .is_none_or(|at| now.saturating_duration_since(at).as_secs() >= 1)
        {
            self.swept_at = Some(now);
            self.hosts.retain(|_, account| !account.is_idle(now));
        }
    }
}

impl Account {
    fn is_idle(&self, now: Instant) -> bool {
        let spent = [&self.commands, &self.bytes, &self.openings];
        self.sessions == 0 && spent.iter().all(|budget| budget.is_whole(now))
    }
}

fn prefix_of(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(_) => host,
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            Ipv6Addr::from(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    fn limits() -> Limits {
        Limits {
            host_commands: 1,
            host_openings: 1,
            host_sessions: 2,
            ..Limits::default()
        }
    }

    fn host(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn cost(commands: u32) -> SegmentCost {
        SegmentCost { commands, bytes: 1 }
    }

    #[test]
    fn a_host_has_so_many_sessions_and_another_host_its_own() {
        let (mut hosts, now) = (HostTable::default(), crate::proto::test_origin());
        let begin = |hosts: &mut HostTable, of| hosts.begin_session(host(of), &limits(), now);
        assert!(begin(&mut hosts, "10.0.0.1") && begin(&mut hosts, "10.0.0.1"));
        assert!(!begin(&mut hosts, "10.0.0.1"));
        assert!(begin(&mut hosts, "10.0.0.2"));
        hosts.end_session(host("10.0.0.1"), now);
        assert!(begin(&mut hosts, "10.0.0.1"));
        assert!(begin(&mut hosts, "2001:db8::1") && begin(&mut hosts, "2001:db8::ffff:1"));
        assert!(!begin(&mut hosts, "2001:db8::2"), "one host's 64 bits");
        assert!(begin(&mut hosts, "2001:db8:0:1::2"));
    }

    #[test]
    fn a_host_that_rests_is_forgotten() {
        let (mut hosts, now) = (HostTable::default(), crate::proto::test_origin());
        hosts.begin_session(host("10.0.0.1"), &limits(), now);
        assert!(hosts.spend_opening(host("10.0.0.1"), &limits(), now));
        hosts.end_session(host("10.0.0.1"), now);
        assert_eq!(hosts.len(), 1, "it has spent something");
        hosts.begin_session(host("10.0.0.1"), &limits(), now);
        hosts.end_session(host("10.0.0.1"), now + Duration::from_secs(2));
        assert!(hosts.is_empty());
    }

    #[test]
    fn hosts_beyond_the_bound_share_one_account_until_there_is_room() {
        let (mut hosts, now) = (HostTable::default(), crate::proto::test_origin());
        let nth = |nth: usize| IpAddr::from(Ipv4Addr::from(nth as u32));
        for number in 0..HOSTS_MAX {
            assert!(hosts.charge_segment(nth(number), cost(10), &limits(), now));
        }
        let late = [nth(HOSTS_MAX), nth(HOSTS_MAX + 1)];
        assert!(hosts.charge_segment(late[0], cost(10), &limits(), now));
        assert!(!hosts.charge_segment(late[1], cost(1), &limits(), now));
        assert_eq!(hosts.len(), HOSTS_MAX);
        let later = now + Duration::from_secs(11);
        assert!(hosts.charge_segment(late[1], cost(1), &limits(), later));
        assert_eq!(hosts.len(), 1, "the others have rested");
    }
}
