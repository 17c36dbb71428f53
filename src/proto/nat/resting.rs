//! Outside endpoints whose last connection may still be in TIME-WAIT at its peer.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// For how long an endpoint rests after its use.
///
/// A server that connects from its port 20 cannot connect to the same endpoint again while its last
/// connection is in TIME-WAIT (RFC 9293 §3.6.1). Its transfer would fail with a 425. The same holds
/// for a client that always uses one port. Linux and BSD wait for a minute, Windows for two.
pub const REST: Duration = Duration::from_secs(120);

/// The most endpoints that rest. The one that has rested longest leaves first. They are those of
/// 270 transfers a second.
const RESTING_MAX: usize = 32_768;

/// The endpoints that rest, each towards the peer that has connected to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Resting {
    since: HashMap<(SocketAddr, IpAddr), Instant>,
    /// The same in the order in which they began to rest. What began anew is there twice.
    order: VecDeque<((SocketAddr, IpAddr), Instant)>,
}

impl Resting {
    /// An endpoint begins to rest towards a peer.
    pub(super) fn begin(&mut self, outside: SocketAddr, peer: IpAddr, now: Instant) {
        self.since.insert((outside, peer), now);
        self.order.push_back(((outside, peer), now));
        while let Some((key, since)) = self.order.front().copied()
            && (self.order.len() > RESTING_MAX || since + REST <= now)
        {
            self.order.pop_front();
            if self.since.get(&key) == Some(&since) {
                self.since.remove(&key);
            }
        }
    }

    /// Whether an endpoint rests towards a peer.
    pub(super) fn has(&self, outside: SocketAddr, peer: IpAddr, now: Instant) -> bool {
        let since = self.since.get(&(outside, peer));
        since.is_some_and(|since| *since + REST > now)
    }

    /// The endpoints that rest towards a peer. Those that have rested longest come first.
    pub(super) fn of_peer(&self, peer: IpAddr) -> impl Iterator<Item = SocketAddr> + '_ {
        let is_latest = move |(key, since): &&((SocketAddr, IpAddr), Instant)| {
            self.since.get(key) == Some(since)
        };
        let its_own = self.order.iter().filter(move |((_, of), _)| *of == peer);
        its_own.filter(is_latest).map(|((outside, _), _)| *outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], port))
    }

    #[test]
    fn an_endpoint_rests_towards_its_peer_for_a_time() {
        let mut resting = Resting::default();
        let [peer, other] = [7, 8].map(|last| IpAddr::from([198, 51, 100, last]));
        let now = crate::proto::test_origin();
        resting.begin(endpoint(5000), peer, now);
        assert!(resting.has(endpoint(5000), peer, now + REST / 2));
        assert!(!resting.has(endpoint(5000), other, now));
        assert!(!resting.has(endpoint(5001), peer, now));
        assert!(!resting.has(endpoint(5000), peer, now + REST));
    }

    #[test]
    fn what_began_anew_has_rested_for_a_shorter_time() {
        let mut resting = Resting::default();
        let peer = IpAddr::from([198, 51, 100, 7]);
        let now = crate::proto::test_origin();
        for (after, port) in [(0, 5000), (1, 5001), (2, 5000)] {
            resting.begin(endpoint(port), peer, now + Duration::from_secs(after));
        }
        let order: Vec<_> = resting.of_peer(peer).collect();
        assert_eq!(order, [endpoint(5001), endpoint(5000)]);
    }

    #[test]
    fn what_rests_is_bounded_and_forgotten_after_its_time() {
        let mut resting = Resting::default();
        let peer = IpAddr::from([198, 51, 100, 7]);
        let now = crate::proto::test_origin();
        for port in 1..=40_000 {
            resting.begin(endpoint(port), peer, now);
        }
        assert_eq!(resting.since.len(), RESTING_MAX);
        resting.begin(endpoint(1), peer, now + REST);
        assert_eq!((resting.since.len(), resting.order.len()), (1, 1));
    }
}
