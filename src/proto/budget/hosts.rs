//! The token buckets and the number of sessions of each host.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use super::{Limits, SessionCount, TokenBucket, counted::CountedSessions};

/// The most hosts that have an account of their own. All others share one account. So a flood from
/// many addresses has the budget of one host, and no host that was there before suffers.
pub const HOSTS_MAX: usize = 65_536;

/// The accounts of hosts that have sessions or buckets that are not full.
#[derive(Clone, Debug, Default)]
pub struct HostTable {
    hosts: HashMap<IpAddr, Account>,
    /// The account of all hosts beyond [`HOSTS_MAX`].
    others: Account,
    /// The sessions that entries of the command policy count.
    counted: CountedSessions,
    /// When the table was last searched for idle hosts.
    swept_at: Option<Instant>,
}

/// The cost of one segment of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentCost {
    /// Lines that end in it; at least one.
    pub commands: u32,
    /// Bytes; at least [`SEGMENT_MIN`](super::SEGMENT_MIN).
    pub bytes: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    sessions: u32,
    commands: TokenBucket,
    bytes: TokenBucket,
    pinholes: TokenBucket,
}

impl HostTable {
    /// Counts a session of a host; `false` where the host has as many as it may have.
    pub fn begin_session(&mut self, host: IpAddr, limits: &Limits, now: Instant) -> bool {
        let account = self.account(host, now);
        let is_admitted = account.sessions < limits.host_sessions;
        if is_admitted {
            account.sessions = account.sessions.saturating_add(1);
        }
        is_admitted
    }

    /// Counts a session of a host, also beyond its limit.
    pub fn resume_session(&mut self, host: IpAddr, now: Instant) {
        let account = self.account(host, now);
        account.sessions = account.sessions.saturating_add(1);
    }

    /// Records the end of a session that was counted.
    pub fn end_session(&mut self, host: IpAddr, now: Instant) {
        let host = prefix_of(host);
        // A session that began when the table was full was counted among the others, although its
        // host may have an account by now.
        let own = self.hosts.get_mut(&host);
        let own = own.filter(|account| account.sessions > 0);
        let account = own.unwrap_or(&mut self.others);
        account.sessions = account.sessions.saturating_sub(1);
        // Most hosts are idle when their last session ends. So the table rarely needs a search.
        if self.hosts.get(&host).is_some_and(|own| own.is_idle(now)) {
            self.hosts.remove(&host);
        }
    }

    /// Charges a host for a segment of a client; `false` where the segment has to wait.
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
            .take(cost.commands, limits.host_commands, now)
            && account.bytes.take(cost.bytes, limits.host_bytes, now)
    }

    /// Charges a host for a pinhole; `false` where it is one too many.
    pub fn charge_pinhole(&mut self, host: IpAddr, limits: &Limits, now: Instant) -> bool {
        let account = self.account(host, now);
        account.pinholes.take(1, limits.host_openings, now)
    }

    /// Counts a session for a policy entry; `false` where the entry has as many as it allows.
    pub fn begin_counted(&mut self, entry: &Arc<str>, host: IpAddr, most: SessionCount) -> bool {
        self.counted.begin(entry, prefix_of(host), most)
    }

    /// Records the end of a session that was counted for a policy entry.
    pub fn end_counted(&mut self, entry: &Arc<str>, host: IpAddr) {
        self.counted.end(entry, prefix_of(host));
    }

    /// How many hosts have an account of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether no host has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    fn account(&mut self, host: IpAddr, now: Instant) -> &mut Account {
        let host = prefix_of(host);
        // Only a new host may find the table full. Known hosts keep their accounts in a flood.
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(&host) {
            self.sweep(now);
            if self.hosts.len() >= HOSTS_MAX {
                return &mut self.others;
            }
        }
        self.hosts.entry(host).or_default()
    }

    /// Forgets the idle hosts, but at most once a second.
    fn sweep(&mut self, now: Instant) {
        // A search takes time in proportion to the table. Without this limit a flood of new
        // addresses would pay for one with each packet.
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
        let buckets = [&self.commands, &self.bytes, &self.pinholes];
        self.sessions == 0 && buckets.iter().all(|bucket| bucket.is_full(now))
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
    fn each_host_has_its_own_limit_of_sessions() {
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
    fn an_idle_host_is_forgotten() {
        let (mut hosts, now) = (HostTable::default(), crate::proto::test_origin());
        hosts.begin_session(host("10.0.0.1"), &limits(), now);
        assert!(hosts.charge_pinhole(host("10.0.0.1"), &limits(), now));
        hosts.end_session(host("10.0.0.1"), now);
        assert_eq!(hosts.len(), 1, "its bucket is not full");
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
        assert_eq!(hosts.len(), 1, "the others are idle");
    }
}
