//! `ftp-alg replay` on captures built here: what it prints, and how it ends.

use std::{fs, process::Command};

use etherparse::PacketBuilder;
use serde_json::{Value, json};

const CLIENT: &str = "10.0.0.2:40001";
const OUTSIDE: &str = "203.0.113.1:40001";
const SERVER: &str = "198.51.100.7:21";

/// One end of the recorded connection, and how far its stream has come.
struct End {
    address: &'static str,
    sent: u32,
}

/// A capture in the making: a raw IPv4 pcap file, a frame a millisecond.
struct Recording {
    file: Vec<u8>,
    frames: u32,
    client: End,
    server: End,
}

impl Recording {
    /// Begins with the handshake: three frames.
    fn of(client: &'static str, server: &'static str) -> Self {
        let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 101_u32];
        let mut recording = Self {
            file: header.map(u32::to_le_bytes).concat(),
            frames: 0,
            client: End {
                address: client,
                sent: 1000,
            },
            server: End {
                address: server,
                sent: 9000,
            },
        };
        let (client, server) = (1000, 9000);
        recording.segment(true, client, b"", |tcp| tcp.syn());
        recording.segment(false, server, b"", |tcp| tcp.syn().ack(client + 1));
        recording.segment(true, client + 1, b"", |tcp| tcp.ack(server + 1));
        recording.client.sent += 1;
        recording.server.sent += 1;
        recording
    }

    fn client(self, line: &str) -> Self {
        self.line(true, line)
    }

    fn server(self, line: &str) -> Self {
        self.line(false, line)
    }

    fn line(mut self, from_client: bool, line: &str) -> Self {
        let (sender, receiver) = self.ends(from_client);
        let (seq, ack) = (sender.sent, receiver.sent);
        sender.sent += u32::try_from(line.len()).unwrap();
        self.segment(from_client, seq, line.as_bytes(), |tcp| tcp.psh().ack(ack));
        self
    }

    fn ends(&mut self, from_client: bool) -> (&mut End, &End) {
        if from_client {
            (&mut self.client, &self.server)
        } else {
            (&mut self.server, &self.client)
        }
    }

    fn segment(
        &mut self,
        from_client: bool,
        seq: u32,
        payload: &[u8],
        flags: impl FnOnce(Tcp) -> Tcp,
    ) {
        let (sender, receiver) = self.ends(from_client);
        let (source, destination) = (parts(sender.address), parts(receiver.address));
        let ip = PacketBuilder::ipv4(source.0, destination.0, 64);
        let tcp = flags(ip.tcp(source.1, destination.1, seq, 64240));
        let mut packet = Vec::new();
        tcp.write(&mut packet, payload).unwrap();
        let length = u32::try_from(packet.len()).unwrap();
        let header = [1_700_000_000, self.frames * 1000, length, length];
        self.file.extend(header.map(u32::to_le_bytes).concat());
        self.file.extend(packet);
        self.frames += 1;
    }
}

type Tcp = etherparse::PacketBuilderStep<etherparse::TcpHeader>;

fn parts(address: &str) -> ([u8; 4], u16) {
    let address: std::net::SocketAddrV4 = address.parse().unwrap();
    (address.ip().octets(), address.port())
}

/// A whole session: login, one passive transfer, one active.
fn session(client: &'static str, server: &'static str) -> Vec<u8> {
    Recording::of(client, server)
        .server("220 ready\r\n")
        .client("USER anna\r\n")
        .server("331 password\r\n")
        .client("PASS secret\r\n")
        .server("230 in\r\n")
        .client("PASV\r\n")
        .server("227 Entering Passive Mode (198,51,100,7,200,10)\r\n")
        .client("PORT 10,0,0,2,156,66\r\n")
        .server("200 PORT command successful\r\n")
        .file
}

const PASV_FRAME: u64 = 10;
const PORT_FRAME: u64 = 11;

struct Outcome {
    lines: Vec<Value>,
    errors: String,
    status: Option<i32>,
}

/// Replays captures as JSON, from a directory in which they have these names.
fn replay(arguments: &[&str], captures: &[(&str, &[u8])]) -> Outcome {
    let (text, errors, status) = run(&[&["--json"], arguments].concat(), captures);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    Outcome {
        lines: lines.collect(),
        errors,
        status,
    }
}

/// Standard output, standard error and exit status.
fn run(arguments: &[&str], captures: &[(&str, &[u8])]) -> (String, String, Option<i32>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in captures {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_ftp-alg"))
        .current_dir(&directory)
        .arg("replay")
        .args(arguments)
        .args(
            captures
                .iter()
                .map(|(name, _)| name)
                .filter(|name| name.ends_with("pcap")),
        )
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

fn summary(file: &str, packets: u64, sessions: u64, expected: u64) -> Value {
    json!({
        "type": "summary", "file": file, "packets": packets, "sessions": sessions,
        "announcements": expected, "expected": expected, "refused": 0, "errors": 0, "skipped": 0
    })
}

#[test]
fn a_routed_session_expects_both_its_data_connections() {
    let outcome = replay(&[], &[("a.pcap", &session(CLIENT, SERVER))]);
    let pasv = json!({
        "type": "announcement", "file": "a.pcap", "frame": PASV_FRAME, "client": CLIENT,
        "server": SERVER, "from": "server", "kind": "PASV", "address": "198.51.100.7",
        "port": 51210, "decision": "expect", "reason": null,
        "expectation": {"src": "10.0.0.2", "dst": "198.51.100.7", "port": 51210},
        "rewritten": null
    });
    let port = json!({
        "type": "announcement", "file": "a.pcap", "frame": PORT_FRAME, "client": CLIENT,
        "server": SERVER, "from": "client", "kind": "PORT", "address": "10.0.0.2",
        "port": 40002, "decision": "expect", "reason": null,
        "expectation": {"src": "198.51.100.7", "dst": "10.0.0.2", "port": 40002},
        "rewritten": null
    });
    assert_eq!(outcome.lines, [pasv, port, summary("a.pcap", 12, 1, 2)]);
    assert_eq!((outcome.status, outcome.errors.as_str()), (Some(0), ""));
}

#[test]
fn a_translated_client_announces_its_outside_address() {
    let arguments = ["--nat", "10.0.0.2=203.0.113.1"];
    let outcome = replay(&arguments, &[("a.pcap", &session(CLIENT, SERVER))]);
    let port = &outcome.lines[1];
    let rewritten = &port["rewritten"];
    assert_eq!(port["decision"], "expect");
    assert_eq!(rewritten["address"], "203.0.113.1");
    assert_eq!(port["expectation"]["src"], "198.51.100.7");
    assert_eq!(port["expectation"]["dst"], "203.0.113.1");
    assert_eq!(port["expectation"]["port"], rewritten["port"]);
    let line = rewritten["line"].as_str().unwrap();
    assert!(line.starts_with("PORT 203,0,113,1,"), "{line}");
    let longer = line.len() as i64 - "PORT 10,0,0,2,156,66".len() as i64;
    assert_eq!(rewritten["delta"], longer);
}

#[test]
fn a_translated_server_announces_its_outside_address() {
    let capture = Recording::of("192.0.2.5:40001", "10.0.0.9:21")
        .server("220 ready\r\n")
        .client("USER ann\r\n")
        .server("230 welcome\r\n")
        .client("PASV\r\n")
        .server("227 Entering Passive Mode (10,0,0,9,200,10)\r\n")
        .file;
    let arguments = ["--nat", "10.0.0.0/24=203.0.113.0/24"];
    let outcome = replay(&arguments, &[("a.pcap", &capture)]);
    let line = &outcome.lines[0];
    assert_eq!(line["server"], "203.0.113.9:21");
    assert_eq!(line["address"], "10.0.0.9");
    assert_eq!(line["rewritten"]["address"], "203.0.113.9");
    assert_eq!(line["expectation"]["src"], "192.0.2.5");
}

#[test]
fn a_capture_from_outside_the_gateway_is_the_same_session() {
    let arguments = ["--nat", "10.0.0.2=203.0.113.1"];
    let inside = replay(&arguments, &[("a.pcap", &session(CLIENT, SERVER))]);
    let outside = replay(&arguments, &[("a.pcap", &session(OUTSIDE, SERVER))]);
    assert_eq!(inside.lines, outside.lines);
}

#[test]
fn a_syn_ack_in_mid_connection_begins_nothing() {
    let mut recording = Recording::of(CLIENT, SERVER)
        .client("POST / HTTP/1.1\r\n")
        .server("wait\r\n");
    let (seq, ack) = (recording.server.sent - 1, recording.client.sent);
    recording.segment(false, seq, b"", |tcp| tcp.syn().ack(ack));
    let capture = recording
        .server("220 ready\r\n")
        .client("USER anna\r\n")
        .server("230 in\r\n")
        .client("PORT 10,0,0,2,156,66\r\n")
        .file;
    let outcome = replay(&[], &[("a.pcap", &capture)]);
    assert_eq!(outcome.lines[0]["reason"], "not_ftp", "{:?}", outcome.lines);
    assert_eq!(outcome.lines[1]["sessions"], 1);
}

#[test]
fn a_third_party_address_is_refused() {
    let capture = Recording::of(CLIENT, SERVER)
        .server("220 ready\r\n")
        .client("PORT 192,0,2,99,156,66\r\n")
        .file;
    let outcome = replay(&[], &[("a.pcap", &capture)]);
    assert_eq!(outcome.lines[0]["decision"], "refuse");
    assert_eq!(outcome.lines[0]["reason"], "third_party_address");
    assert_eq!(outcome.lines[0]["expectation"], Value::Null);
    assert_eq!(outcome.lines[1]["refused"], 1);
    assert_eq!(outcome.status, Some(0));
}

/// The named host gets nothing, and the port opens at the server that has named it.
#[test]
fn a_foreign_address_of_a_server_is_refused_and_the_server_is_expected_in_its_place() {
    let capture = Recording::of(CLIENT, SERVER)
        .server("220 ready\r\n")
        .client("USER anna\r\n")
        .server("230 in\r\n")
        .client("PASV\r\n")
        .server("227 Entering Passive Mode (10,9,9,9,195,80)\r\n")
        .file;
    let outcome = replay(&[], &[("a.pcap", &capture)]);
    let line = &outcome.lines[0];
    assert_eq!(line["decision"], "refuse", "{line}");
    assert_eq!(line["reason"], "third_party_address");
    assert_eq!(line["address"], "10.9.9.9");
    let (server, _) = SERVER.split_once(':').unwrap();
    assert_eq!(line["expectation"]["dst"], server);
    assert_eq!(line["rewritten"]["address"], server);
    assert_eq!(
        (&outcome.lines[1]["expected"], &outcome.lines[1]["refused"]),
        (&0.into(), &1.into())
    );
}

#[test]
fn another_control_port_is_followed_where_the_configuration_has_it() {
    let capture = session(CLIENT, "198.51.100.7:2121");
    let config = "control_ports = [21, 2121]".as_bytes();
    let captures = [("a.pcap", &capture[..]), ("c.toml", config)];
    assert_eq!(replay(&[], &captures).lines, [summary("a.pcap", 12, 0, 0)]);
    let outcome = replay(&["--config", "c.toml"], &captures);
    assert_eq!(outcome.lines[2], summary("a.pcap", 12, 1, 2));
}

#[test]
fn a_cut_capture_gives_what_was_before_the_cut_and_fails() {
    let whole = session(CLIENT, SERVER);
    let cut = &whole[..whole.len() - 1];
    let outcome = replay(&[], &[("a.pcap", cut), ("b.pcap", &whole)]);
    assert_eq!(outcome.status, Some(1));
    assert_eq!(
        outcome.lines.len(),
        6,
        "the other capture is read all the same"
    );
    assert_eq!(outcome.lines[2]["packets"], 11);
    assert_eq!(outcome.lines[2]["errors"], 1);
    assert_eq!(outcome.lines[5], summary("b.pcap", 12, 1, 2));
    let reason = "ftp-alg: a.pcap: it was cut: the file ends in the middle of frame 12, at byte ";
    assert!(outcome.errors.starts_with(reason), "{}", outcome.errors);
    assert_eq!(outcome.errors.lines().count(), 1);
}

#[test]
fn what_is_not_a_capture_fails_with_a_reason() {
    let cases: [(&[u8], &str); 3] = [
        (b"220 ready\r\n", "neither a pcap nor a pcapng"),
        (b"", "the file is empty"),
        (b"\x1f\x8b\x08\x00", "compressed"),
    ];
    for (bytes, reason) in cases {
        let outcome = replay(&[], &[("a.pcap", bytes)]);
        assert_eq!(outcome.status, Some(1));
        assert!(outcome.errors.contains(reason), "{}", outcome.errors);
        assert_eq!(outcome.lines.len(), 1);
    }
    let outcome = replay(&["nowhere.pcap"], &[]);
    assert_eq!(outcome.status, Some(1));
    assert!(
        outcome
            .errors
            .starts_with("ftp-alg: nowhere.pcap: cannot be read: ")
    );
}

#[test]
fn an_unknown_link_type_fails_with_its_number() {
    let mut capture = session(CLIENT, SERVER);
    capture[20..24].copy_from_slice(&105_u32.to_le_bytes());
    let outcome = replay(&[], &[("a.pcap", &capture)]);
    assert_eq!(outcome.status, Some(1));
    assert!(
        outcome.errors.contains("link type 105"),
        "{}",
        outcome.errors
    );
    assert_eq!(outcome.lines[0]["skipped"], 12);
}

#[test]
fn the_readable_form_never_shows_a_password() {
    let (text, ..) = run(&[], &[("a.pcap", &session(CLIENT, SERVER))]);
    assert!(
        text.contains("PASV of the server, 198.51.100.7:51210: expect"),
        "{text}"
    );
    assert!(
        text.contains("1 sessions, 2 announcements: 2 expected, 0 refused"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn a_mapping_that_makes_no_sense_is_bad_usage() {
    let outcome = replay(&["--nat", "10.0.0.2=2001:db8::1"], &[("a.pcap", b"")]);
    assert_eq!(outcome.status, Some(2));
    assert!(
        outcome
            .errors
            .contains("both sides must be IPv4, or both IPv6")
    );
    assert_eq!(outcome.errors.lines().count(), 1);
}
