//! `tls_data = "range"` with the running daemon: what an encrypted session's client may open.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Lab, REFUSAL, accept};

/// An emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

const SERVER: &str = "203.0.113.2";

/// The daemon on a lab's gateway, behind whose inside everything is masqueraded.
struct Gateway {
    lab: Lab,
    daemon: Child,
    _folder: tempfile::TempDir,
}

impl Gateway {
    fn start(policy: &str) -> Self {
        let lab = Lab::new();
        lab.guard("chain nat { type nat hook postrouting priority 100; oifname out masquerade; }");
        let folder = tempfile::tempdir().unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).unwrap();
        let config = folder.path().join("ftp-alg.toml");
        let flows = folder.path().join("flows");
        let text = format!(
            "[process]\nuser = \"64999\"\n[restart]\nfolder = {flows:?}\n[policy]\n{policy}\n"
        );
        fs::write(&config, text).unwrap();
        let mut daemon = Command::new("ip")
            .args(["netns", "exec", lab.gateway.name()])
            .args([env!("CARGO_BIN_EXE_ftp-alg"), "run", "--config"])
            .arg(&config)
            .stderr(Stdio::piped())
            .env_remove("RUST_LOG")
            .spawn()
            .unwrap();
        let log = BufReader::new(daemon.stderr.take().unwrap());
        let (ready, is_ready) = mpsc::channel();
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("{line}");
                if line.contains(" ready ") {
                    let _ = ready.send(());
                }
            }
        });
        is_ready.recv_timeout(PATIENCE).expect("the daemon starts");
        Self {
            lab,
            daemon,
            _folder: folder,
        }
    }

    /// A control connection that has gone encrypted, by both its ends.
    fn encrypted(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let to = listener.local_addr().unwrap().to_string();
        let mut client = self.lab.inside.connect(&to).unwrap();
        let (mut server, _) = accept(listener);
        server.set_nonblocking(false).unwrap();
        say(&mut server, &mut client, b"220 hello\r\n");
        say(&mut client, &mut server, b"AUTH TLS\r\n");
        say(&mut server, &mut client, b"234 go on\r\n");
        say(&mut client, &mut server, b"\x16\x03\x01\x00\x05hello");
        (client, server)
    }

    /// Whether a data connection to this endpoint comes about, and who the server takes for its
    /// client.
    fn comes_to(&self, listener: &TcpListener) -> Option<String> {
        let to = listener.local_addr().unwrap().to_string();
        let connected = self.lab.inside.connect_within(&to, REFUSAL).ok()?;
        let (_, peer) = accept(listener);
        drop(connected);
        Some(peer.ip().to_string())
    }

    fn listen(&self, port: u16) -> TcpListener {
        self.lab.outside.listen(&format!("{SERVER}:{port}"))
    }

    fn grants(&self) -> usize {
        let set = ["list", "set", "inet", "ftp_alg", "tls4"];
        let listing = self.lab.gateway.run("nft", &set);
        listing.matches(" . 203.0.113.").count()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let _ = self.daemon.wait();
    }
}

fn say(from: &mut TcpStream, to: &mut TcpStream, words: &[u8]) {
    from.write_all(words).unwrap();
    let mut heard = vec![0; words.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

const RANGE: &str = "tls_data = \"range\"\ntls_ports = \"50000-50009\"\ntls_at_once = 2";

#[test]
#[ignore = "needs root"]
fn a_session_may_open_its_range_on_its_server_while_it_lives_and_nothing_else() {
    let gateway = Gateway::start(RANGE);
    gateway.lab.outside.ip("addr add 203.0.113.3/24 dev eth0");
    let (control, data) = (gateway.listen(21), gateway.listen(50_003));
    assert_eq!(gateway.comes_to(&data), None, "before any session");
    let (client, server) = gateway.encrypted(&control);
    assert_eq!(gateway.grants(), 1);
    for _ in 0..3 {
        let seen = gateway.comes_to(&data);
        assert_eq!(seen.as_deref(), Some("203.0.113.1"));
    }
    let beyond = gateway.listen(50_010);
    assert_eq!(gateway.comes_to(&beyond), None, "outside the range");
    let other = gateway.lab.outside.listen("203.0.113.3:50003");
    assert_eq!(gateway.comes_to(&other), None, "another server");
    drop((client, server));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(gateway.grants(), 0);
    assert_eq!(gateway.comes_to(&data), None, "after the session");
}

#[test]
#[ignore = "needs root"]
fn a_third_connection_at_a_time_waits_for_the_end_of_another() {
    let gateway = Gateway::start(RANGE);
    let (control, data) = (gateway.listen(21), gateway.listen(50_003));
    let _session = gateway.encrypted(&control);
    let to = format!("{SERVER}:50003");
    let open = || {
        let client = gateway.lab.inside.connect_within(&to, REFUSAL).ok()?;
        Some((client, accept(&data).0))
    };
    let (first, second) = (open(), open());
    assert!(first.is_some() && second.is_some());
    assert!(open().is_none());
    drop(first);
    assert!(open().is_some());
}

#[test]
#[ignore = "needs root"]
fn without_the_key_an_encrypted_session_opens_nothing() {
    let gateway = Gateway::start("tls_data = \"none\"");
    let (control, data) = (gateway.listen(21), gateway.listen(50_003));
    let _session = gateway.encrypted(&control);
    assert_eq!(gateway.comes_to(&data), None);
}

#[test]
#[ignore = "needs root"]
fn what_is_in_the_clear_again_is_read_again() {
    let gateway = Gateway::start(RANGE);
    let (control, data) = (gateway.listen(21), gateway.listen(40_000));
    let (mut client, mut server) = gateway.encrypted(&control);
    // Nothing of this is queued, or read: the mark and the first octet see to it.
    say(&mut client, &mut server, b"\x17\x03\x03\x00\x02 a");
    say(&mut server, &mut client, b"\x17\x03\x03\x00\x02 b");
    say(&mut client, &mut server, b"EPSV\r\n");
    say(&mut server, &mut client, b"229 go (|||40000|)\r\n");
    assert!(gateway.comes_to(&data).is_some());
    assert_eq!(gateway.grants(), 0);
}
