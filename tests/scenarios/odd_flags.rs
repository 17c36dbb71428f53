//! Segments with flags that no honest TCP sends here: by each end or its neighbour, and in the name
//! of the other end, in the window and off it.
//!
//! Whatever comes, an honest session goes on unless its end believes the segment. What was refuted
//! stays refuted, a policy holds, an offset is kept, and no expectation is made.

use std::time::Duration;

use ftp_alg::proto::{flow::Settings, ftp::Role, net::IfIndex};

use crate::{
    command_policy::deny,
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        frame::{ACK, FIN, Frame, PSH, RST, SYN, URG},
        host::{Config, Host},
        kernel::IIFS,
        link::{Ends, Link},
        topology::Topology,
    },
    play::{decisions, heard_by, play_open},
};

const PORT: &str = "PORT 10,0,0,2,19,137";

/// Flags, and whether bytes come with them.
const ODD: [(u8, bool); 13] = [
    (SYN, false),
    (SYN, true),
    (SYN | ACK, false),
    (SYN | ACK, true),
    (SYN | ACK | FIN, true),
    (SYN | FIN, true),
    (RST, false),
    (RST | ACK, false),
    (RST | ACK, true),
    (FIN | ACK, false),
    (FIN, true),
    (PSH, true),
    (URG, true),
];

/// Distances from the right number.
const PLACES: [u32; 7] = [
    0,
    1,
    100,
    100u32.wrapping_neg(),
    1 << 20,
    (1u32 << 20).wrapping_neg(),
    1 << 30,
];

/// A segment, in the name of one end.
#[derive(Clone, Copy, Debug)]
struct Odd {
    flags: u8,
    has_bytes: bool,
    place: u32,
    name: Role,
    /// It comes by the interface of the end whose name it bears: that end has sent it, or a
    /// neighbour.
    is_own_side: bool,
}

impl Odd {
    fn all() -> impl Iterator<Item = Self> {
        let sent = |(flags, has_bytes)| PLACES.map(|place| (flags, has_bytes, place));
        let ends = [
            (Role::Client, true),
            (Role::Client, false),
            (Role::Server, true),
            (Role::Server, false),
        ];
        ODD.into_iter()
            .flat_map(sent)
            .flat_map(move |(flags, has_bytes, place)| {
                ends.map(|(name, is_own_side)| Self {
                    flags,
                    has_bytes,
                    place,
                    name,
                    is_own_side,
                })
            })
    }

    /// The end that believes it, if it comes that far.
    fn receiver(self) -> usize {
        match self.name {
            Role::Client => 1,
            Role::Server => 0,
        }
    }

    fn send(self, bytes: &[u8], link: &mut Link) {
        let sender = &mut link.hosts[1 - self.receiver()];
        let frame = sender.odd(|frame| {
            frame.flags = self.flags;
            frame.seq = frame.seq.wrapping_add(self.place);
            if self.has_bytes {
                frame.payload = bytes.to_vec();
            }
        });
        let (own, other) = match self.name {
            Role::Client => (IIFS.original, IIFS.reply),
            Role::Server => (IIFS.reply, IIFS.original),
        };
        link.send_forged(&frame, if self.is_own_side { own } else { other });
        link.run_for(Duration::from_millis(20));
    }

    /// Whether its receiver's TCP may end the session with it: nobody can keep a neighbour from
    /// that who knows the numbers.
    fn may_end(self) -> bool {
        let ends = self.flags & (RST | FIN) != 0 && self.flags & (SYN | ACK) != SYN;
        ends && self.is_own_side && self.flags & SYN == 0
    }
}

fn has_ended(host: &Host) -> bool {
    host.was_reset || host.has_heard_fin()
}

#[test]
fn an_honest_session_goes_on_with_its_offset_and_no_expectation_is_made() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut ended = 0;
    for odd in Odd::all() {
        for topology in [Topology::Routed, Topology::Snat] {
            let case = format!("{odd:?} {topology:?}");
            let mut link = play_open(topology, &turns);
            let before = link.kernel.live.len();
            odd.send(b"227 =10,0,0,2,4,7\r\n", &mut link);
            assert_eq!(link.kernel.expected.len(), 1, "{case}");
            if has_ended(&link.hosts[odd.receiver()]) {
                assert!(odd.may_end() && odd.place == 0, "{case}");
                ended += 1;
                continue;
            }
            assert_eq!(link.kernel.live.len(), before, "{case}");
            link.client_says(&[client("SYST")]);
            link.server_says(&[server("215 UNIX")]);
            link.run_for(Duration::from_secs(1));
            assert!(
                heard_by(Role::Server, &link).ends_with("SYST\r\n"),
                "{case}"
            );
            assert!(
                heard_by(Role::Client, &link).ends_with("215 UNIX\r\n"),
                "{case}"
            );
            assert_eq!(link.faults(), Vec::<&String>::new(), "{case}");
        }
    }
    // RST, RST/ACK with and without bytes, and FIN, of each end.
    assert!((6 * 2..=8 * 2).contains(&ended), "{ended}");
}

#[test]
fn no_bytes_pass_beside_a_syn() {
    for odd in Odd::all().filter(|odd| odd.flags & SYN != 0) {
        let mut link = play_open(Topology::Routed, &[client("NOOP"), server("200 ok")]);
        odd.send(b"DELE x\r\n", &mut link);
        let is_bare = |frame: &Frame| {
            frame.flags & SYN == 0 || (frame.payload.is_empty() && frame.flags & FIN == 0)
        };
        // What conntrack calls invalid is not queued. Linux discards SYN/FIN.
        let is_valid = odd.flags & FIN == 0;
        assert!(!is_valid || link.delivered.iter().all(is_bare), "{odd:?}");
    }
}

#[test]
fn a_policy_holds_whatever_was_sent_before() {
    for odd in Odd::all() {
        let mut link = Link::new(deny());
        let turns = after_login(&[client("NOOP"), server("200 ok")]);
        link.add(Topology::Routed.tuples(0), &Script::open(&turns));
        link.run_for(Duration::from_millis(100));
        odd.send(b"DELE y\r\n", &mut link);
        link.client_says(&[client("DELE x")]);
        link.run_for(Duration::from_secs(1));
        let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
        assert!(!heard.contains("DELE"), "{odd:?}: {heard}");
    }
}

#[test]
fn what_was_refuted_stays_refuted() {
    for odd in Odd::all() {
        for settings in [Settings::default(), deny()] {
            let mut link = Link::new(settings);
            let turns = [client("POST / HTTP/1.1\r\nHost: x\r\n"), server("wait")];
            link.add(Topology::Routed.tuples(0), &Script::open(&turns));
            link.run_for(Duration::from_millis(50));
            odd.send(b"220 x\r\n331 x\r\n230 x\r\n", &mut link);
            link.server_says(&[Turn::new(Role::Server, "220 x\r\n331 x\r\n230 x\r\n")]);
            link.run_for(Duration::from_millis(20));
            let body = format!("USER a\r\nPASS b\r\n{PORT}\r\n");
            link.client_says(&[Turn::new(Role::Client, body)]);
            link.run_for(Duration::from_millis(50));
            assert_eq!(link.kernel.expected, [], "{odd:?}");
        }
    }
}

/// Both ends send SYN before they have seen the other's (RFC 9293 §3.5).
#[test]
fn a_simultaneous_open_is_read_from_its_start() {
    for (settings, heard) in [(Settings::default(), true), (deny(), false)] {
        let mut link = Link::new(settings);
        let turns = after_login(&[client(PORT), server("200 ok"), client("DELE x")]);
        link.add(Topology::Routed.tuples(0), &Script::open(&turns));
        let now = link.now;
        link.server().connect(now);
        link.run_for(Duration::from_secs(5));
        assert_eq!(decisions(&link), ["PORT expect"]);
        assert_eq!(link.faults(), Vec::<&String>::new());
        assert_eq!(heard_by(Role::Server, &link).contains("DELE"), heard);
    }
}

/// The client sends the SYN, and forges the server's answer from its own side, with numbers far
/// ahead: conntrack believes both.
#[test]
fn a_client_cannot_lead_its_lines_past_a_policy_with_a_handshake_of_its_own() {
    for (ahead, iif) in [1000, 1 << 17, 1 << 20, 1 << 30]
        .into_iter()
        .flat_map(|ahead| [(ahead, IfIndex(1)), (ahead, IfIndex(2))])
    {
        let mut link = Link::new(deny());
        let turns = after_login(&[client("NOOP"), server("200 ok")]);
        link.add(Topology::Routed.tuples(0), &Script::open(&turns));
        link.run_for(Duration::from_millis(100));
        let at = link.client().next_to_send().wrapping_add(ahead);
        link.client()
            .send_odd(|frame| (frame.flags, frame.seq) = (SYN, at));
        link.run_for(Duration::from_millis(2));
        let answer = link.server().odd(|frame| {
            (frame.flags, frame.ack) = (SYN | ACK, at.wrapping_add(1));
        });
        link.send_forged(&answer, iif);
        link.run_for(Duration::from_millis(2));
        link.client().send_odd(|frame| {
            frame.seq = at.wrapping_add(1);
            frame.payload = b"NOOP\r\n".to_vec();
        });
        link.run_for(Duration::from_millis(10));
        link.client_says(&[client("DELE x")]);
        link.run_for(Duration::from_secs(1));
        let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
        assert!(!heard.contains("DELE"), "{ahead} {iif:?}: {heard}");
    }
}

/// Fast Open (RFC 7413): what comes with a SYN/ACK is sent again without it.
#[test]
fn a_greeting_within_the_syn_ack_does_not_pass_with_it_and_is_read_later() {
    let mut link = Link::new(Settings::default());
    let turns = after_login(&[client(PORT), server("200 ok")]);
    link.add_with(
        Topology::Routed.tuples(0),
        Ends::alike(Config::default()),
        &Script::open(&turns),
    );
    link.run_for(Duration::from_micros(2500));
    let greeting = b"220 fast\r\n".to_vec();
    let isn = link.server().config.isn;
    let fast = link.server().odd(|frame| {
        (frame.flags, frame.seq) = (SYN | ACK, isn);
        frame.payload = greeting;
    });
    link.send_raw(&fast);
    link.run_for(Duration::from_secs(1));
    let passed = link
        .delivered
        .iter()
        .filter(|frame| frame.has(SYN) && frame.has(ACK));
    assert!(passed.clone().count() > 0 && passed.clone().all(|frame| frame.payload.is_empty()));
    assert_eq!(decisions(&link), ["PORT expect"]);
}
