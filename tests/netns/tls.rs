//! `tls_data = "range"` with the running daemon: what an encrypted session's client may open.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use ftp_alg::{
    io::nftables::probe,
    ruleset::{Params, Ruleset},
};
use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Lab, Namespace, REFUSAL, accept};

/// An emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAM: &str = env!("CARGO_BIN_EXE_ftp-alg");

const SERVER: &str = "203.0.113.2";

/// The daemon on a lab's gateway, behind which everything that leaves by IPv4 is masqueraded.
pub(crate) struct Gateway {
    pub(crate) lab: Lab,
    daemon: Child,
    directory: tempfile::TempDir,
    /// Reads the daemon's log to its end.
    log: Option<thread::JoinHandle<String>>,
}

impl Gateway {
    fn start(policy: &str) -> Self {
        Self::prepare(policy, "").running()
    }

    /// All but the daemon, whose configuration has `first` as well.
    pub(crate) fn prepare(policy: &str, first: &str) -> Self {
        let lab = Lab::new();
        lab.guard(
            "chain nat {
                type nat hook postrouting priority 100; meta nfproto ipv4 oifname out masquerade;
            }
            chain output {
                type filter hook output priority 0; policy drop;
                ct state established,related accept
                ct mark & 0x10000000 != 0 accept
                tcp dport 21 accept
                meta l4proto ipv6-icmp accept
            }",
        );
        let directory = tempfile::tempdir().unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), everybody).unwrap();
        let config = directory.path().join("ftp-alg.toml");
        let flows = directory.path().join("flows");
        let text = format!(
            "{first}\n[process]\nuser = \"64999\"\n[restart]\ndirectory = {flows:?}\n\
             [policy]\n{policy}\n"
        );
        fs::write(&config, text).unwrap();
        let daemon = Command::new("true").spawn().unwrap();
        Self {
            lab,
            daemon,
            directory,
            log: None,
        }
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("ftp-alg.toml")
    }

    pub(crate) fn running(mut self) -> Self {
        let _ = self.daemon.wait();
        self.daemon = Command::new("ip")
            .args(["netns", "exec", self.lab.gateway.name()])
            .args([PROGRAM, "run", "--config"])
            .arg(self.config())
            .stderr(Stdio::piped())
            .env_remove("RUST_LOG")
            .spawn()
            .unwrap();
        let log = BufReader::new(self.daemon.stderr.take().unwrap());
        let (ready, is_ready) = mpsc::channel();
        self.log = Some(thread::spawn(move || {
            let mut told = String::new();
            for line in log.lines().map_while(Result::ok) {
                eprintln!("{line}");
                if line.contains(" ready ") {
                    let _ = ready.send(());
                }
                told += &line;
                told += "\n";
            }
            told
        }));
        is_ready.recv_timeout(PATIENCE).expect("the daemon starts");
        self
    }

    /// What the daemon has told, once it has ended.
    pub(crate) fn log(mut self) -> String {
        self.stop();
        let log = self.log.take().expect("it was running");
        log.join().unwrap()
    }

    fn stop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let _ = self.daemon.wait();
    }

    /// A control connection that has gone encrypted, by both its ends.
    fn encrypted(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        self.encrypted_of(&self.lab.inside, listener)
    }

    /// The same of a client that is there.
    fn encrypted_of(&self, client: &Namespace, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let to = listener.local_addr().unwrap().to_string();
        let mut client = client.connect(&to).unwrap();
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
        self.comes_from(&self.lab.inside, listener)
    }

    fn comes_from(&self, client: &Namespace, listener: &TcpListener) -> Option<String> {
        let to = listener.local_addr().unwrap().to_string();
        let connected = client.connect_within(&to, REFUSAL).ok()?;
        let (_, peer) = accept(listener);
        drop(connected);
        Some(peer.ip().to_string())
    }

    pub(crate) fn listen(&self, port: u16) -> TcpListener {
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
        if matches!(self.daemon.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

pub(crate) fn say(from: &mut TcpStream, to: &mut TcpStream, words: &[u8]) {
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

#[test]
#[ignore = "needs root"]
fn a_client_on_the_gateway_and_one_of_ipv6_have_the_same() {
    let gateway = Gateway::start(RANGE);
    let (control, data) = (gateway.listen(21), gateway.listen(50_003));
    let own = &gateway.lab.gateway;
    assert_eq!(gateway.comes_from(own, &data), None);
    let _session = gateway.encrypted_of(own, &control);
    let seen = gateway.comes_from(own, &data);
    assert_eq!(seen.as_deref(), Some("203.0.113.1"));

    let listen = |port| gateway.lab.outside.listen(&format!("[2001:db8::2]:{port}"));
    let (control, data) = (listen(21), listen(50_003));
    assert_eq!(gateway.comes_to(&data), None);
    let _session = gateway.encrypted(&control);
    assert_eq!(gateway.comes_to(&data).as_deref(), Some("fd00:1::2"));
    assert_eq!(gateway.comes_to(&listen(50_010)), None);
}

/// What `ftp-alg rules` prints, loaded by hand, and a daemon that loads nothing.
#[test]
#[ignore = "needs root"]
fn rules_of_iptables_do_the_same() {
    let mut gateway = Gateway::prepare(RANGE, "install_rules = false\nqueue = \"5\"");
    let script = gateway.directory.path().join("rules.sh");
    let line = format!(
        "{PROGRAM} rules --frontend iptables --config {} >{}; sh {1}",
        gateway.config().display(),
        script.display()
    );
    gateway.lab.gateway.run("sh", &["-ec", &line]);
    gateway = gateway.running();
    let (control, data) = (gateway.listen(21), gateway.listen(50_003));
    assert_eq!(gateway.comes_to(&data), None);
    let (mut client, mut server) = gateway.encrypted(&control);
    assert!(gateway.comes_to(&data).is_some());
    // The programs of -m bpf tell text from records.
    say(&mut client, &mut server, b"\x17\x03\x03\x00\x02 a");
    let announced = gateway.listen(40_000);
    say(&mut client, &mut server, b"EPSV\r\n");
    say(&mut server, &mut client, b"229 go (|||40000|)\r\n");
    assert!(gateway.comes_to(&announced).is_some());
    assert_eq!(gateway.comes_to(&data), None, "it is in the clear");
}

#[test]
#[ignore = "needs root"]
fn a_table_that_was_loaded_by_hand_keeps_no_grant_of_an_earlier_daemon() {
    let mut gateway = Gateway::prepare(RANGE, "install_rules = false");
    let load = || {
        let ruleset = Ruleset::build(&Params {
            queue_statement: probe().unwrap().choice().unwrap(),
            tls_ports: Some(50_000..=50_009),
            ..Params::default()
        });
        super::table::load(&ruleset).unwrap()
    };
    let _table = gateway.lab.gateway.inside(load);
    gateway = gateway.running();
    let control = gateway.listen(21);
    let _session = gateway.encrypted(&control);
    assert_eq!(gateway.grants(), 1);
    gateway.stop();
    assert_eq!(gateway.grants(), 1);
    gateway = gateway.running();
    assert_eq!(gateway.grants(), 0);
}
