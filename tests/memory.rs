//! The memory of a connection, counted at the allocator.

#[path = "harness/mod.rs"]
#[expect(dead_code, reason = "each test uses a part of the harness")]
mod harness;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use ftp_alg::proto::{
    alg::{Alg, InboundPacket},
    budget::Limits,
    egress::{Egress, PacketId, Verdict},
    event::{Decision, Event, EventKind},
    flow::{LOCAL_ACK_DELAY, Settings},
    kernel::PaperKernel,
    net::{ConntrackTuples, Direction, Tuple},
};

use self::harness::{
    frame::{ACK, Frame, PSH, RST, SYN},
    origin,
};

/// Counts the allocations of one thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(allocations: usize, bytes: isize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + allocations);
    BYTES.set(BYTES.get() + bytes);
}

#[expect(unsafe_code, reason = "an allocator cannot be had without")]
// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One connection's packets, made one after the other.
struct Talk {
    tuples: ConntrackTuples,
    next: [u32; 2],
}

impl Talk {
    fn new(nth: u32) -> Self {
        let client = Ipv4Addr::from(0x0a00_0000 + nth / 4);
        let port = 40_000 + (nth % 4) as u16;
        let original = Tuple::new((client, port).into(), "198.51.100.7:21".parse().unwrap());
        let reply = Tuple::new(
            original.destination,
            (
                Ipv4Addr::from(0xcb00_7101 + nth / 60_000),
                (nth % 60_000) as u16 + 1024,
            )
                .into(),
        );
        Self {
            tuples: ConntrackTuples::new(original, reply),
            next: [1000, 5000],
        }
    }

    fn greets(&mut self) -> Vec<u8> {
        let mut frame = self.frame(Direction::Reply);
        frame.flags = SYN | ACK;
        frame.seq = frame.seq.wrapping_sub(1);
        frame.encode()
    }

    fn says(&mut self, direction: Direction, line: &str) -> Vec<u8> {
        let mut frame = self.frame(direction);
        frame.payload = format!("{line}\r\n").into_bytes();
        self.next[direction as usize] += frame.payload.len() as u32;
        frame.encode()
    }

    fn frame(&self, direction: Direction) -> Frame {
        let tuple = self.tuples.of(direction);
        let mut frame = Frame::new(tuple.source, tuple.destination);
        frame.flags = ACK | PSH;
        frame.seq = self.next[direction as usize];
        frame.ack = self.next[!direction as usize];
        frame.timestamps = Some((7, 9));
        frame
    }

    /// A login, and a transfer in passive mode that is over.
    fn session(&mut self) -> Vec<Vec<u8>> {
        use Direction::{Original, Reply};
        vec![
            self.greets(),
            self.says(Reply, "220-a server that says a little more than it has to"),
            self.says(Reply, "220 as they do, in two lines"),
            self.says(Original, "USER anonymous"),
            self.says(Reply, "331 Please specify the password."),
            self.says(Original, "PASS someone@example.org"),
            self.says(Reply, "230 Login successful."),
            self.says(Original, "PASV"),
            self.says(Reply, "227 Entering Passive Mode (198,51,100,7,19,137)."),
            self.says(Original, "RETR a/file/of/some/name"),
            self.says(
                Reply,
                "150 Opening BINARY mode data connection (1234 bytes).",
            ),
            self.says(Reply, "226 Transfer complete."),
        ]
    }
}

/// Hands a packet to the core, and says whether it passed as it is.
fn handle(alg: &mut Alg, talk: &Talk, packet: &[u8]) -> bool {
    ask(alg, talk, packet).verdict == Verdict::Accept
}

fn ask(alg: &mut Alg, talk: &Talk, packet: &[u8]) -> Egress {
    ask_at(alg, talk, packet, origin())
}

fn ask_at(alg: &mut Alg, talk: &Talk, packet: &[u8], now: Instant) -> Egress {
    let inbound = InboundPacket::new(PacketId(1), packet);
    alg.handle_packet(&inbound, &mut PaperKernel(Some(talk.tuples)), now)
}

/// Whether one of these events is an opened pinhole.
fn is_opened(events: &[Event]) -> bool {
    events.iter().any(|event| {
        matches!(&event.kind, EventKind::Announcement(report)
            if matches!(report.decision, Decision::Expect { .. }))
    })
}

/// A core whose flows may take this number of bytes.
fn bounded(memory: usize) -> Alg {
    let limits = Limits {
        memory,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    Alg::new(settings, Arc::default())
}

/// A core without limits of rates, so that it takes all bytes at once.
fn unhurried() -> Alg {
    let limits = Limits {
        session_bytes: 2 << 30,
        session_commands: 1_000_000,
        host_bytes: 2 << 30,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    Alg::new(settings, Arc::default())
}

fn new_alg() -> Alg {
    Alg::new(Settings::default(), Arc::default())
}

#[test]
fn a_packet_without_ftp_effect_allocates_nothing() {
    let mut alg = new_alg();
    let mut talk = Talk::new(0);
    for packet in talk.session() {
        handle(&mut alg, &talk, &packet);
    }
    let mut packets = Vec::new();
    for _ in 0..1000 {
        packets.push(talk.says(Direction::Original, "SIZE a/file"));
        packets.push(talk.says(Direction::Reply, "213 4711"));
    }
    let (warming, measured) = packets.split_at(100);
    for packet in warming {
        assert!(handle(&mut alg, &talk, packet));
    }
    let before = ALLOCATIONS.get();
    for packet in measured {
        handle(&mut alg, &talk, packet);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

#[test]
fn an_idle_session_takes_less_than_two_kibibytes_and_a_hundred_thousand_less_than_200_mebibytes() {
    let sessions = 100_000;
    let before = BYTES.get();
    let mut alg = new_alg();
    for nth in 0..sessions {
        let mut talk = Talk::new(nth);
        for packet in talk.session() {
            handle(&mut alg, &talk, &packet);
        }
    }
    let taken = (BYTES.get() - before).unsigned_abs();
    let each = taken / sessions as usize;
    assert_eq!(alg.flow_count(), sessions as usize);
    assert!(each < 2048, "{each} bytes a session");
    assert!(taken < 200 << 20, "{taken} bytes in all");
    let counted = alg.memory_bytes();
    assert!(
        counted > taken * 8 / 10 && counted < taken * 12 / 10,
        "{counted} for {taken}"
    );
}

#[test]
fn a_hundred_thousand_half_open_sessions_stay_below_the_bound_and_an_honest_one_goes_on() {
    let bound = 16 << 20;
    let before = BYTES.get();
    let mut alg = bounded(bound);
    let mut honest = Talk::new(0);
    for packet in honest.session() {
        handle(&mut alg, &honest, &packet);
    }
    let mut most = 0;
    for nth in 1..100_000 {
        let mut talk = Talk::new(nth);
        let packet = talk.greets();
        handle(&mut alg, &talk, &packet);
        most = most.max(BYTES.get() - before);
    }
    assert!(
        most.unsigned_abs() < bound * 6 / 5,
        "{most} bytes at the most"
    );
    assert!(alg.memory_bytes() <= bound);
    assert!(
        alg.flow_count() > 10_000,
        "{} are followed",
        alg.flow_count()
    );
    // The core still knows the honest session and its login, and opens what it asks for.
    let asked = honest.says(Direction::Original, "PASV");
    let announced = honest.says(Direction::Reply, "227 (198,51,100,7,19,138)");
    handle(&mut alg, &honest, &asked);
    let events = ask(&mut alg, &honest, &announced).effects.events;
    assert!(is_opened(&events), "{events:?}");
}

#[test]
fn sessions_beyond_the_bound_evict_the_one_that_was_silent_for_longest() {
    let bound = 8 << 20;
    let before = BYTES.get();
    let mut alg = bounded(bound);
    let mut most = 0;
    for nth in 0..20_000 {
        let mut talk = Talk::new(nth);
        for packet in talk.session() {
            handle(&mut alg, &talk, &packet);
        }
        most = most.max(BYTES.get() - before);
    }
    assert!(
        most.unsigned_abs() < bound * 6 / 5,
        "{most} bytes at the most"
    );
    assert!(
        alg.flow_count() > 3_000,
        "{} are followed",
        alg.flow_count()
    );
}

#[test]
fn sessions_that_may_not_be_forgotten_do_not_keep_new_ones_out() {
    for held in [65, 1100] {
        let mut alg = bounded(16 << 20);
        // Each begins a command and waits: its bytes are acknowledged here, and exist only here.
        for nth in 0..held {
            let mut talk = Talk::new(nth);
            let mut begun = talk.frame(Direction::Original);
            begun.payload = b"PORT 1".to_vec();
            let greets = talk.greets();
            handle(&mut alg, &talk, &greets);
            handle(&mut alg, &talk, &begun.encode());
        }
        let mut kernel = PaperKernel(None);
        while alg.poll_timeout() <= Some(origin() + LOCAL_ACK_DELAY) {
            alg.handle_timeout(&mut kernel, origin() + LOCAL_ACK_DELAY);
        }
        for nth in held..30_000 {
            let mut talk = Talk::new(nth);
            let packet = talk.greets();
            handle(&mut alg, &talk, &packet);
        }
        let mut honest = Talk::new(30_000);
        for packet in honest.session() {
            handle(&mut alg, &honest, &packet);
        }
        let asked = honest.says(Direction::Original, "PASV");
        let announced = honest.says(Direction::Reply, "227 (198,51,100,7,19,138)");
        handle(&mut alg, &honest, &asked);
        let events = ask(&mut alg, &honest, &announced).effects.events;
        assert!(is_opened(&events), "behind {held}: {events:?}");
    }
}

#[test]
fn closed_sessions_are_forgotten_before_an_open_one() {
    let mut alg = bounded(16 << 20);
    let mut honest = Talk::new(0);
    for packet in honest.session() {
        handle(&mut alg, &honest, &packet);
    }
    // What is closed now is kept for longer than the time after which the open one is looked at.
    let later = origin() + Duration::from_secs(200);
    for nth in 1..30_000 {
        let mut talk = Talk::new(nth);
        let greets = talk.greets();
        let mut resets = talk.frame(Direction::Original);
        resets.flags = RST;
        ask_at(&mut alg, &talk, &greets, later);
        ask_at(&mut alg, &talk, &resets.encode(), later);
    }
    let asked = honest.says(Direction::Original, "PASV");
    let announced = honest.says(Direction::Reply, "227 (198,51,100,7,19,138)");
    ask_at(&mut alg, &honest, &asked, later);
    let events = ask_at(&mut alg, &honest, &announced, later).effects.events;
    assert!(is_opened(&events), "{events:?}");
}

#[test]
fn a_line_of_a_gibibyte_takes_no_more_than_a_line() {
    for direction in Direction::BOTH {
        let before = BYTES.get();
        let mut alg = unhurried();
        let mut talk = Talk::new(0);
        for packet in talk.session() {
            handle(&mut alg, &talk, &packet);
        }
        let mut frame = talk.frame(direction);
        frame.payload = vec![b'x'; 8960];
        let mut packet = frame.encode();
        let mut most = 0;
        for _ in 0..(1 << 30) / 8960 {
            assert!(handle(&mut alg, &talk, &packet));
            most = most.max(BYTES.get() - before);
            frame.seq = frame.seq.wrapping_add(8960);
            // The sequence number, behind an IPv4 header and the ports.
            packet[24..28].copy_from_slice(&frame.seq.to_be_bytes());
        }
        let most = most.unsigned_abs();
        // The packet at hand, its copy, and the kept bytes of the stream.
        assert!(most < 128 << 10, "{most} bytes in direction {direction:?}");
        assert!(alg.memory_bytes() < 64 << 10, "{}", alg.memory_bytes());
    }
}
