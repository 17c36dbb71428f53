//! What one queued packet costs, through `io::nfqueue` and through the crate `nfq`:
//! `unshare -n cargo run --release --example queue_cost` as root (it needs `iptables`).
//!
//! One datagram after another, and 64 under way at once, over the loopback interface.

use std::{
    net::UdpSocket,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use ftp_alg::io::nfqueue::{Queue, QueueEvent, QueueVerdict};

const PACKETS: u32 = 100_000;

fn main() -> Result<()> {
    run("ip link set lo up")?;
    run("iptables -I OUTPUT -p udp --dport 1001 -j NFQUEUE --queue-num 1")?;
    run("iptables -I OUTPUT -p udp --dport 1002 -j NFQUEUE --queue-num 2")?;
    let mut ours = Queue::open(1)?;
    thread::spawn(move || {
        while let Ok(QueueEvent::Packet(packet)) = ours.recv(Some(Duration::from_secs(9))) {
            let id = packet.id;
            ours.verdict(id, QueueVerdict::Accept)
                .expect("the socket works");
        }
    });
    let mut theirs = nfq::Queue::open()?;
    theirs.bind(2)?;
    thread::spawn(move || {
        while let Ok(mut packet) = theirs.recv() {
            packet.set_verdict(nfq::Verdict::Accept);
            theirs.verdict(packet).expect("the socket works");
        }
    });
    for _ in 0..3 {
        for (name, port) in [("io::nfqueue", 1001), ("nfq", 1002)] {
            for window in [1, 64] {
                let each = exchange(port, window)?;
                eprintln!(
                    "{name:<12} {window:>2} at once {:>6.2} µs",
                    each.as_secs_f64() * 1e6
                );
            }
        }
    }
    Ok(())
}

/// The time a datagram takes where `window` are under way.
fn exchange(port: u16, window: u32) -> Result<Duration> {
    let receiver = UdpSocket::bind(("127.0.0.1", port))?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    sender.connect(("127.0.0.1", port))?;
    let begun = now();
    for sent in 0..PACKETS {
        sender.send(&[0; 100])?;
        if sent >= window - 1 {
            receiver.recv(&mut [0; 200])?;
        }
    }
    Ok((now() - begun) / PACKETS)
}

fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    ensure!(
        Command::new(program).args(words).status()?.success(),
        "{line}"
    );
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}
