//! What the core costs: `cargo bench --bench core`.
//!
//! * a packet without FTP effect: the bound is 300 ns;
//! * a line parsed;
//! * an announcement rewritten, kernel answers included;
//! * ten thousand expectations and connections that expire.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use divan::{Bencher, black_box};
use etherparse::PacketBuilder;
use ftp_alg::proto::{
    alg::{Alg, InboundPacket},
    budget::Limits,
    egress::PacketId,
    flow::{IDLE_MAX, Settings},
    ftp::{Command, ReplyLine},
    kernel::PaperKernel,
    net::{ConntrackTuples, Tuple},
};

fn main() {
    divan::main();
}

/// The origin of the fake clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a fake clock needs an origin, and there is no other Instant to be had"
)]
fn origin() -> Instant {
    Instant::now()
}

/// The `nth` client behind 203.0.113.1 talks to 198.51.100.7.
fn tuples(nth: u32) -> ConntrackTuples {
    let client = Ipv4Addr::from(0x0a00_0000 + nth);
    let original = Tuple::new(
        (client, 40_000).into(),
        (Ipv4Addr::new(198, 51, 100, 7), 21).into(),
    );
    let outside = (Ipv4Addr::new(203, 0, 113, 1), 10_000 + nth as u16);
    let reply = Tuple::new(original.destination, outside.into());
    ConntrackTuples::new(original, reply)
}

fn packet(nth: u32, seq: u32, line: &[u8]) -> Vec<u8> {
    let client = Ipv4Addr::from(0x0a00_0000 + nth).octets();
    let mut packet = Vec::new();
    PacketBuilder::ipv4(client, [198, 51, 100, 7], 64)
        .tcp(40_000, 21, seq, 64_000)
        .ack(1)
        .psh()
        .write(&mut packet, line)
        .expect("it fits");
    packet
}

/// What the server says to the `nth` client, and how far it has heard.
fn reply(nth: u32, seq: u32, ack: u32, line: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([198, 51, 100, 7], [203, 0, 113, 1], 64)
        .tcp(21, 10_000 + nth as u16, seq, 64_000)
        .ack(ack)
        .psh()
        .write(&mut packet, line)
        .expect("it fits");
    packet
}

fn handle(alg: &mut Alg, nth: u32, packet: &[u8], now: Instant) {
    let inbound = InboundPacket::new(PacketId(1), packet);
    black_box(alg.handle_packet(&inbound, &mut PaperKernel(Some(tuples(nth))), now));
}

fn new_alg() -> Alg {
    // Time stands still here, and nobody may spend more in no time than a burst.
    let settings = Settings {
        limits: Limits {
            session_commands: u32::MAX,
            session_openings: u32::MAX,
            host_commands: u32::MAX,
            host_openings: u32::MAX,
            session_bytes: u32::MAX,
            host_bytes: u32::MAX,
            ..Limits::default()
        },
        ..Settings::default()
    };
    Alg::new(settings, Arc::default())
}

/// A repeated command: read, looked up, compared, let through.
#[divan::bench(sample_size = 1000)]
fn packet_without_ftp_effect(bencher: Bencher<'_, '_>) {
    let now = origin();
    let mut alg = new_alg();
    let line = b"SIZE some/file/name\r\n";
    handle(&mut alg, 0, &packet(0, 1, line), now);
    let packets: Vec<_> = (0..100_000_u32)
        .map(|nth| packet(0, 1 + nth * line.len() as u32, line))
        .collect();
    let mut at = 1;
    bencher.bench_local(|| {
        handle(&mut alg, 0, &packets[at % packets.len()], now);
        at += 1;
    });
}

#[divan::bench(args = ["SIZE some/file/name", "PORT 10,0,0,2,19,137", "EPRT |2|2001:db8::2|5001|"])]
fn command_parsed(line: &str) -> Command {
    Command::parse(black_box(line.as_bytes()))
}

#[divan::bench(args = ["226 Transfer complete.", "227 Entering Passive Mode (10,0,0,5,19,137)."])]
fn reply_parsed(line: &str) -> Option<ReplyLine> {
    ReplyLine::parse(black_box(line.as_bytes()))
}

/// PORT through NAT with the same length and its answer: translated, expected, rewritten, and
/// withdrawn by the next one. The server acknowledges each line with its answer.
#[divan::bench(sample_size = 100)]
fn announcement_rewritten(bencher: Bencher<'_, '_>) {
    let now = origin();
    let mut alg = new_alg();
    let (line, answer) = (b"PORT 10,0,0,0,19,137\r\n", b"200 ok\r\n");
    handle(&mut alg, 0, &packet(0, 1, b"NOOP\r\n"), now);
    handle(&mut alg, 0, &reply(0, 1, 7, b"200 ok\r\n"), now);
    let packets: Vec<_> = (0..100_000_u32)
        .map(|nth| {
            let (seq, replied) = (7 + nth * line.len() as u32, 9 + nth * answer.len() as u32);
            let asked = packet(0, seq, line);
            (asked, reply(0, replied, seq + line.len() as u32, answer))
        })
        .collect();
    let mut at = 0;
    bencher.bench_local(|| {
        let (asked, answered) = &packets[at % packets.len()];
        handle(&mut alg, 0, asked, now);
        handle(&mut alg, 0, answered, now);
        at += 1;
    });
}

/// Ten thousand connections, each with an expectation, are withdrawn and forgotten.
#[divan::bench(sample_count = 20)]
fn ten_thousand_flows_expire(bencher: Bencher<'_, '_>) {
    let now = origin();
    bencher
        .with_inputs(|| {
            let mut alg = new_alg();
            for nth in 0..10_000 {
                let line = b"NOOP\r\nPORT 10,0,0,0,19,137\r\n";
                handle(&mut alg, nth, &packet(nth, 1, line), now);
            }
            alg
        })
        .bench_local_values(|mut alg| {
            let later = now + IDLE_MAX + Duration::from_secs(1);
            while alg.flow_count() > 0 {
                black_box(alg.handle_timeout(&mut PaperKernel(None), later));
            }
            alg
        });
}
