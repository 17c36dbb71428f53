//! What is no FTP stays so for as long as conntrack knows the connection: through hours of silence,
//! an eviction, and a restart of the process.

use std::time::Duration;

use ftp_alg::proto::{
    budget::Limits, event::EventKind, flow::Settings, ftp::Role, saved_flow::SavedFlow,
};

use crate::{
    command_policy::deny,
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        frame::{ACK, SYN},
        kernel::IIFS,
        link::Link,
        topology::Topology,
    },
    play::play_open,
};

const TOPOLOGY: Topology = Topology::Routed;

/// What has to be outlived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ordeal {
    Nothing,
    Silence,
    Eviction,
    Restart,
}

const ORDEALS: [Ordeal; 4] = [
    Ordeal::Nothing,
    Ordeal::Silence,
    Ordeal::Eviction,
    Ordeal::Restart,
];

/// How a browser's request comes, whose server greets like one of FTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// In one piece.
    Whole,
    /// Its first line looks like a begun announcement, which is acknowledged locally.
    Withheld,
}

fn browse(request: Request, settings: Settings) -> Link {
    browse_with(request, settings, |_| {})
}

fn browse_with(request: Request, settings: Settings, prepare: impl FnOnce(&mut Link)) -> Link {
    let mut link = Link::new(settings);
    prepare(&mut link);
    let turns = match request {
        Request::Whole => vec![client("POST / HTTP/1.1\r\nHost: x\r\n"), server("wait")],
        Request::Withheld => vec![
            client("PORT 1 / HTTP/1.1\r\nHost: x\r\n").cut(&[6], Duration::from_millis(20)),
            server("wait"),
        ],
    };
    link.add(TOPOLOGY.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    link
}

fn undergo(ordeal: Ordeal, settings: Settings, link: &mut Link) {
    match ordeal {
        Ordeal::Nothing => {}
        Ordeal::Silence => link.run_for(Duration::from_secs(4 * 3600)),
        Ordeal::Eviction => {
            let limits = Limits {
                memory: 0,
                ..Limits::default()
            };
            link.kernel.alg.handle_settings(Settings {
                limits,
                ..settings.clone()
            });
            link.add(TOPOLOGY.tuples(1), &Script::open(&after_login(&[])));
            link.run_for(Duration::from_millis(100));
            link.kernel.alg.handle_settings(settings);
        }
        Ordeal::Restart => link.kernel.restart(settings),
    }
}

/// The server answers a login, and the browser's body has one, with an announcement.
fn attack(link: &mut Link) {
    link.server_says(&[Turn::new(
        Role::Server,
        "331 and?\r\n230 welcome\r\n200 ok\r\n",
    )]);
    link.run_for(Duration::from_millis(50));
    let body = "USER a\r\nPASS b\r\nPORT 10,0,0,2,19,137\r\nDELE x\r\n";
    link.client_says(&[Turn::new(Role::Client, body)]);
    link.run_for(Duration::from_millis(50));
}

#[test]
fn a_browser_is_not_taken_for_a_client_of_ftp_whatever_happens_meanwhile() {
    for request in [Request::Whole, Request::Withheld] {
        for (ordeal, policy) in ORDEALS.into_iter().flat_map(|it| [(it, false), (it, true)]) {
            let settings = if policy { deny() } else { Settings::default() };
            let case = format!("{request:?}, {ordeal:?}, policy: {policy}");
            let mut link = browse(request, settings.clone());
            undergo(ordeal, settings, &mut link);
            attack(&mut link);
            assert_eq!(link.kernel.expected, [], "{case}");
            assert_eq!(link.faults(), Vec::<&String>::new(), "{case}");
            let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
            assert!(heard.contains("PASS b\r\n"), "{case}: {heard}");
            assert_eq!(heard.contains("DELE"), !policy, "{case}: {heard}");
        }
    }
}

#[test]
fn what_is_no_ftp_leaves_the_queue_and_stays_out_of_it() {
    let mut link = browse(Request::Whole, Settings::default());
    let tuples = TOPOLOGY.tuples(0);
    assert!(link.kernel.is_untouched(&tuples));
    let is_told = EventKind::NotFtp {
        is_left_alone: true,
    };
    assert!(link.kernel.event_kinds().contains(&is_told));
    assert_eq!(link.kernel.alg.flow_count(), 0);
    let queued = link.kernel.queued;
    attack(&mut link);
    assert_eq!(link.kernel.queued, queued);
    // A packet that was in the queue when the connection was marked.
    let late = link
        .client()
        .odd(|frame| frame.payload = b"PORT 10,0,0,2,19,137\r\n".to_vec());
    let now = link.now;
    link.kernel.handle_queued(&late.encode(), &tuples, now);
    assert_eq!(link.kernel.poll_frames(), [late]);
    assert_eq!(link.kernel.alg.flow_count(), 0);
    assert_eq!(link.kernel.expected, []);
    assert_eq!(link.kernel.saved.len(), 0);
}

#[test]
fn what_cannot_be_marked_is_followed_on() {
    let mut link = browse_with(Request::Whole, Settings::default(), |link| {
        link.kernel.refuses_mark = true;
    });
    attack(&mut link);
    assert_eq!(link.kernel.alg.flow_count(), 1);
    assert_eq!(link.kernel.expected, []);
    link.kernel.refuses_mark = false;
    link.client_says(&[client("x")]);
    link.run_for(Duration::from_millis(50));
    assert!(link.kernel.is_untouched(&TOPOLOGY.tuples(0)));
}

/// An expectation that was open before, on a connection that was picked up in its middle, and a
/// line that was written anew.
#[test]
fn what_is_refuted_late_keeps_its_lines_and_loses_its_expectations() {
    for topology in [Topology::Routed, Topology::SnatSameLength, Topology::Snat] {
        let mut link = play_open(topology, &[client("NOOP"), server("200 ok")]);
        link.kernel.restart(Settings::default());
        link.client_says(&[
            client("PORT 10,0,0,2,4,5"),
            client("GET / HTTP/1.1").pipelined(),
        ]);
        link.run_for(Duration::from_millis(50));
        assert_eq!(link.kernel.expected.len(), 1, "{topology:?}");
        assert_eq!(link.kernel.live.len(), 0, "{topology:?}");
        undergo(Ordeal::Restart, Settings::default(), &mut link);
        link.client_says(&[client("PORT 10,0,0,2,4,6"), client("x").pipelined()]);
        link.run_for(Duration::from_millis(50));
        assert_eq!(link.kernel.expected.len(), 1, "{topology:?}");
        assert_eq!(link.faults(), Vec::<&String>::new(), "{topology:?}");
        assert!(link.server().received.ends_with(b"x\r\n"), "{topology:?}");
        assert!(link.client().is_acknowledged(), "{topology:?}");
    }
}

/// Conntrack believes a SYN in the client's name from anywhere, because no SYN is queued, and the
/// server's answer to it begins the connection anew under the same entry.
#[test]
fn a_server_that_forges_its_browsers_handshake_does_not_undo_it() {
    for (policy, restarts) in [(false, false), (true, false), (true, true)] {
        let settings = if policy { deny() } else { Settings::default() };
        let mut link = browse(Request::Whole, settings.clone());
        if restarts {
            undergo(Ordeal::Restart, settings, &mut link);
        }
        let next = link.client().next_to_send();
        let syn = link.client().odd(|frame| {
            frame.flags = SYN;
            frame.seq = next.wrapping_sub(1);
        });
        link.send_forged(&syn, IIFS.reply);
        link.run_for(Duration::from_millis(2));
        link.server().send_odd(|frame| {
            frame.flags = SYN | ACK;
            (frame.seq, frame.ack) = (frame.seq.wrapping_sub(1), next);
        });
        link.run_for(Duration::from_millis(5));
        for turn in after_login(&[client("PORT 10,0,0,2,19,137"), server("200 ok")]) {
            match turn.from {
                Role::Client => link.client_says(&[turn]),
                Role::Server => link.server_says(&[turn]),
            }
            link.run_for(Duration::from_millis(10));
        }
        assert_eq!(link.kernel.expected, [], "{policy} {restarts}");
    }
}

#[test]
fn a_flow_that_was_saved_by_an_earlier_version_may_still_be_ftp() {
    let link = browse(Request::Withheld, Settings::default());
    let saved = link
        .kernel
        .saved
        .values()
        .next()
        .cloned()
        .expect("it is kept");
    assert!(saved.is_refuted);
    let text = String::from_utf8(saved.encode()).unwrap();
    let earlier = text.replace("\"is_refuted\":true,", "");
    assert_ne!(earlier, text);
    let read = SavedFlow::parse(earlier.as_bytes()).unwrap();
    assert!(!read.is_refuted);
    assert_eq!(read.streams, saved.streams);
}
