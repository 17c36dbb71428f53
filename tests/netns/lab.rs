//! A gateway of network namespaces: an inside host, a gateway, an outside host.
//!
//! ```text
//! inside 10.0.0.2, fd00:1::2  --  .1 gateway .1  --  203.0.113.2, 2001:db8::2 outside
//! ```
//!
//! Namespaces are named after this process and a counter and removed on drop.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// How long a connection that should come about may take; one that should not is waited for
/// [`REFUSAL`].
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than one retransmission of a SYN.
pub(crate) const REFUSAL: Duration = Duration::from_millis(1300);

/// A network namespace.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(role: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("io{}-{number}-{role}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.run("ip", &["link", "set", "lo", "up"]);
        // While a link-local address is being checked for duplicates, nobody is asked for a
        // neighbour: for two seconds packets would go nowhere.
        namespace.run("sysctl", &["-qw", "net.ipv6.conf.default.accept_dad=0"]);
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a closure in a thread that lives in this namespace. Sockets it opens stay in it.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace exists");
        let entered = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter a namespace");
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join().unwrap())
    }

    /// Runs a command in this namespace, which must succeed; returns what it printed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.try_run(program, arguments);
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {output:?}"
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn try_run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.name, program])
            .args(arguments)
            .output()
            .expect("ip runs")
    }

    /// Loads an nft script; returns nft's complaints where it fails.
    pub(crate) fn load(&self, script: &str) -> Result<(), String> {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nft runs");
        std::io::Write::write_all(&mut nft.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let output = nft.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(())
        } else {
            Err(complaints)
        }
    }

    pub(crate) fn listen(&self, address: &str) -> TcpListener {
        // A command that another test starts holds our descriptors until it has exec'ed, a
        // listener that was closed meanwhile included.
        let listener = std::iter::repeat_with(|| self.inside(|| TcpListener::bind(address)))
            .inspect(|bound| {
                if bound.is_err() {
                    thread::sleep(PATIENCE / 100);
                }
            })
            .take(100)
            .find_map(Result::ok)
            .expect("the address is free");
        listener.set_nonblocking(true).unwrap();
        listener
    }

    /// Connects from any port.
    pub(crate) fn connect(&self, to: &str) -> std::io::Result<TcpStream> {
        self.connect_within(to, PATIENCE)
    }

    pub(crate) fn connect_within(
        &self,
        to: &str,
        patience: Duration,
    ) -> std::io::Result<TcpStream> {
        let to: SocketAddr = to.parse().unwrap();
        self.inside(|| TcpStream::connect_timeout(&to, patience))
    }

    pub(crate) fn ip(&self, arguments: &str) {
        self.run("ip", &arguments.split(' ').collect::<Vec<_>>());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Accepts one connection and tells who the peer appears to be.
pub(crate) fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    for _ in 0..PATIENCE.as_millis() / 10 {
        match listener.accept() {
            Ok(accepted) => return accepted,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("nobody connected to {:?}", listener.local_addr());
}

/// The three hosts.
pub(crate) struct Lab {
    pub(crate) inside: Namespace,
    pub(crate) gateway: Namespace,
    pub(crate) outside: Namespace,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self {
            inside: Namespace::new("in"),
            gateway: Namespace::new("gw"),
            outside: Namespace::new("out"),
        };
        lab.wire(
            &lab.inside,
            "in",
            ["10.0.0.2/24", "fd00:1::2/64"],
            ["10.0.0.1/24", "fd00:1::1/64"],
        );
        lab.wire(
            &lab.outside,
            "out",
            ["203.0.113.2/24", "2001:db8::2/64"],
            ["203.0.113.1/24", "2001:db8::1/64"],
        );
        for (host, v4, v6) in [
            (&lab.inside, "10.0.0.1", "fd00:1::1"),
            (&lab.outside, "203.0.113.1", "2001:db8::1"),
        ] {
            host.ip(&format!("route add default via {v4}"));
            host.ip(&format!("-6 route add default via {v6}"));
        }
        let forward = [
            "-qw",
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
        ];
        lab.gateway.run("sysctl", &forward);
        lab
    }

    fn wire(&self, host: &Namespace, link: &str, at_host: [&str; 2], at_gateway: [&str; 2]) {
        let gateway = &self.gateway;
        gateway.ip(&format!(
            "link add {link} type veth peer name eth0 netns {}",
            host.name
        ));
        for (namespace, device, addresses) in [(host, "eth0", at_host), (gateway, link, at_gateway)]
        {
            namespace.ip(&format!("addr add {} dev {device}", addresses[0]));
            namespace.ip(&format!("-6 addr add {} dev {device} nodad", addresses[1]));
            namespace.ip(&format!("link set {device} up"));
        }
    }

    /// The operator's rules: nothing is forwarded but control connections and expected data.
    pub(crate) fn guard(&self, more: &str) {
        let script = format!(
            "table inet operator {{
                chain forward {{
                    type filter hook forward priority 0; policy drop;
                    ct state established,related accept
                    ct mark & 0x10000000 != 0 accept
                    tcp dport 21 accept
                    meta l4proto ipv6-icmp accept
                }}
                {more}
            }}"
        );
        self.gateway.load(&script).unwrap();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .expect("the program exists");
    assert!(
        status.success(),
        "{program} {arguments:?}: these tests need root"
    );
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn endpoint(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
