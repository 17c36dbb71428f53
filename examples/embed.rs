//! A host of the core: `cargo run --no-default-features --example embed`.
//!
//! A host gives the core each packet of a control connection, a kernel to ask, and the time. It
//! gets a verdict and what else leaves. A real host implements `Kernel` for its own packet filter.
//! This one has a kernel on paper, and one client behind NAT that logs in and announces a data
//! port.

use std::{io::Write, net::SocketAddr, sync::Arc, time::Instant};

use ftp_alg::proto::{
    alg::{Alg, InboundPacket},
    egress::{PacketId, Verdict},
    flow::Settings,
    kernel::PaperKernel,
    net::{ConntrackTuples, SeqNumber, Tuple},
    packet::{Flags, Injected},
};

const DIALOGUE: [(usize, &str); 4] = [
    (1, "220 hello\r\n"),
    (0, "USER ann\r\nPASS secret\r\n"),
    (1, "331 and?\r\n230 welcome\r\n"),
    (0, "PORT 10,0,0,2,19,137\r\n"),
];

#[expect(clippy::disallowed_methods, reason = "the host reads the clock")]
pub(crate) fn main() {
    let ends = ["10.0.0.2:40000", "198.51.100.7:21", "203.0.113.1:40000"];
    let [client, server, public] = ends.map(|end| end.parse::<SocketAddr>().expect("an end"));
    let tuple = |source, destination| Tuple::new(source, destination);
    let tuples = [tuple(client, server), tuple(server, public)];
    let mut kernel = PaperKernel(Some(ConntrackTuples::new(tuples[0], tuples[1])));
    let mut alg = Alg::new(Settings::default(), Arc::default());
    let mut next = [SeqNumber(1); 2];
    for (from, line) in DIALOGUE {
        let packet = Injected {
            tuple: tuples[from],
            seq: next[from],
            ack: Some(next[1 - from]),
            flags: Flags::PSH,
            window: 64_000,
            timestamps: None,
            payload: line.as_bytes(),
        };
        let bytes = &packet.encode().expect("it fits");
        next[from] = next[from].plus(line.len() as u32);
        let inbound = InboundPacket::new(PacketId(0), bytes);
        let egress = alg.handle_packet(&inbound, &mut kernel, Instant::now());
        let packet = match &egress.verdict {
            Verdict::Replace(packet) => packet,
            Verdict::Accept | Verdict::Drop => bytes,
        };
        let sent = packet[40..].escape_ascii();
        writeln!(std::io::stdout(), "{line:?} leaves as {sent}").expect("stdout");
    }
}
