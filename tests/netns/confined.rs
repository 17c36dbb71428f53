//! What the running daemon holds, read from /proc by somebody else.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::lab::Namespace;

/// An emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon, what it was started with, and its log.
pub(crate) struct Daemon {
    pub(crate) namespace: Namespace,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) process: Child,
    log: Receiver<String>,
}

/// A daemon that is still to be started.
pub(crate) struct Prepared {
    pub(crate) namespace: Namespace,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) command: Command,
}

impl Prepared {
    /// One that is started by this command (`ftp-alg run --config …` is appended) with this table
    /// `[process]`.
    pub(crate) fn new(starter: &[&str], process: &str) -> Self {
        let namespace = Namespace::new("confined");
        let directory = tempfile::tempdir().unwrap();
        // The user that it becomes has to reach its configuration.
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), everybody).unwrap();
        let config = directory.path().join("ftp-alg.toml");
        let flows = directory.path().join("flows");
        fs::create_dir(&flows).unwrap();
        // Who is that user from the start makes its directory in there itself.
        std::os::unix::fs::chown(&flows, Some(64999), Some(64999)).unwrap();
        let text = format!("[process]\n{process}\n[restart]\ndirectory = {flows:?}\n");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace.name()])
            .args(starter)
            .args([env!("CARGO_BIN_EXE_ftp-alg"), "run", "--config"])
            .arg(&config)
            .env_remove("RUST_LOG");
        Self {
            namespace,
            directory,
            command,
        }
    }

    pub(crate) fn start(mut self) -> Daemon {
        let mut process = self.command.stderr(Stdio::piped()).spawn().unwrap();
        let log = read_lines(process.stderr.take().unwrap());
        Daemon {
            namespace: self.namespace,
            directory: self.directory,
            process,
            log,
        }
    }
}

impl Daemon {
    fn start(starter: &[&str], process: &str) -> Self {
        Prepared::new(starter, process).start()
    }

    fn running(starter: &[&str], process: &str) -> (Self, String) {
        let daemon = Self::start(starter, process);
        let held = daemon.wait_for(" holds ");
        daemon.wait_for(" ready ");
        (daemon, held)
    }

    /// The next line with this in it.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            if line.contains(words) {
                return line;
            }
            seen.push(line);
        }
        panic!("no {words:?} in {seen:#?}");
    }

    /// A field of /proc/PID/status, of each thread.
    fn of_each_thread(&self, field: &str) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        tasks
            .map(|task| status(&task.unwrap().path(), field))
            .collect()
    }

    pub(crate) fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub(crate) fn tables(&self) -> String {
        self.namespace.run("nft", &["list", "tables"])
    }

    /// What all of them hold who are to read packets.
    #[track_caller]
    fn assert_confined(&self, uid: &str) {
        let ids = vec![[uid; 4].join("\t"); THREADS];
        assert_eq!(self.of_each_thread("Uid"), ids);
        assert_eq!(self.of_each_thread("Gid"), ids);
        for (field, expected) in [
            ("CapInh", "0000000000000000"),
            ("CapPrm", NET_ADMIN),
            ("CapEff", NET_ADMIN),
            ("CapBnd", NET_ADMIN),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(self.of_each_thread(field), [expected; THREADS], "{field}");
        }
    }
}

/// The control plane, two workers, and those of the log, the table and the entries.
const THREADS: usize = 6;

/// Bit 12, of `linux/capability.h`.
const NET_ADMIN: &str = "0000000000001000";

fn read_lines(stderr: ChildStderr) -> Receiver<String> {
    let (lines, log) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    log
}

fn status(task: &Path, field: &str) -> String {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(":"));
    line.unwrap_or_default().trim().to_owned()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs root"]
fn all_threads_are_another_user_with_one_capability_and_a_filter_and_say_so() {
    let (daemon, held) = Daemon::running(&[], "user = \"64999\"");
    daemon.assert_confined("64999");
    assert_eq!(daemon.of_each_thread("Groups"), [""; THREADS]);
    // A thread names itself once it runs, which may be later than the daemon is ready.
    let expected = [
        "entry-keeper",
        "ftp-alg",
        "log",
        "table-watch",
        "worker-0",
        "worker-1",
    ];
    let names = || {
        let mut names = daemon.of_each_thread("Name");
        names.sort();
        names
    };
    for _ in 0..1000 {
        if names() == expected {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(names(), expected);
    for said in [
        "uid=64999",
        "capabilities=\"net_admin\"",
        "bounding=\"net_admin\"",
        "no_new_privs=true",
        "system calls",
        "landlock=on",
    ] {
        assert!(held.contains(said), "{said} is not in {held}");
    }
}

#[test]
#[ignore = "needs root"]
fn confined_it_reads_a_new_configuration_and_takes_its_table_away() {
    let (mut daemon, _) = Daemon::running(&[], "user = \"64999\"");
    assert!(daemon.tables().contains("ftp_alg"));
    // As editors do it: a new file in the old one's place.
    let config = daemon.directory.path().join("ftp-alg.toml");
    let reload = |daemon: &Daemon, changes: &str| {
        let text = fs::read_to_string(&config).unwrap() + changes;
        fs::write(config.with_extension("new"), text).unwrap();
        fs::rename(config.with_extension("new"), &config).unwrap();
        daemon.tell(Signal::HUP);
        daemon.wait_for("configuration reloaded")
    };
    let said = reload(&daemon, "[expectation]\ntimeout = \"2s\"\n");
    assert!(!said.contains("restart"), "{said}");
    let said = reload(&daemon, "[nat]\nports = \"40000\"\nshare = \"2/2\"\n");
    assert!(said.contains("need a restart"), "{said}");
    assert!(said.contains("keys=\"nat.share\""), "{said}");
    daemon.tell(Signal::TERM);
    assert!(daemon.process.wait().unwrap().success());
    assert!(!daemon.tables().contains("ftp_alg"));
}

#[test]
#[ignore = "needs root"]
fn a_process_that_was_killed_is_followed_by_one_that_may_do_all_again() {
    let (mut daemon, _) = Daemon::running(&[], "user = \"64999\"");
    let flows = daemon.directory.path().join("flows");
    let own = fs::read_dir(&flows)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    // Left by a process of another user, and a link that a stranger has put there.
    fs::write(own.join("rubbish"), "{").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", own.join("link")).unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid;
    assert_eq!(owner(&fs::metadata(&own).unwrap()), 64999);
    daemon.tell(Signal::KILL);
    daemon.process.wait().unwrap();
    let mut again = Command::new("ip")
        .args([
            "netns",
            "exec",
            daemon.namespace.name(),
            env!("CARGO_BIN_EXE_ftp-alg"),
        ])
        .args(["run", "--config"])
        .arg(daemon.directory.path().join("ftp-alg.toml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = read_lines(again.stderr.take().unwrap());
    let lines = std::iter::from_fn(|| log.recv_timeout(PATIENCE).ok());
    let ready = lines.into_iter().find(|line| line.contains(" ready "));
    kill_process(Pid::from_child(&again), Signal::TERM).unwrap();
    assert!(again.wait().unwrap().success());
    assert!(ready.is_some());
    assert!(!own.join("rubbish").exists());
    assert_eq!(owner(&fs::metadata("/etc/hostname").unwrap()), 0);
}

#[test]
#[ignore = "needs root"]
fn started_with_two_capabilities_as_its_own_user_it_keeps_one() {
    let starter = [
        "setpriv",
        "--reuid=64999",
        "--regid=64999",
        "--clear-groups",
        "--inh-caps=-all,+net_admin,+net_raw",
        "--ambient-caps=-all,+net_admin,+net_raw",
        "--bounding-set=-all,+net_admin,+net_raw",
    ];
    let (daemon, held) = Daemon::running(&starter, "user = \"64999\"");
    assert_eq!(daemon.of_each_thread("CapEff"), [NET_ADMIN; THREADS]);
    assert_eq!(daemon.of_each_thread("CapPrm"), [NET_ADMIN; THREADS]);
    assert!(held.contains("bounding=\"net_admin,net_raw\""), "{held}");
}

#[test]
#[ignore = "needs root"]
fn who_stays_root_has_one_capability_all_the_same() {
    let (daemon, held) = Daemon::running(&[], "user = \"root\"");
    daemon.assert_confined("0");
    assert!(held.contains("user=\"root\""), "{held}");
}

#[test]
#[ignore = "needs root"]
fn without_filter_and_landlock_it_says_so() {
    let off = "user = \"64999\"\nseccomp = false\nlandlock = false";
    let (daemon, held) = Daemon::running(&[], off);
    assert_eq!(daemon.of_each_thread("Seccomp"), ["0"; THREADS]);
    assert!(held.contains("off: process.seccomp is false"), "{held}");
    assert!(held.contains("off: process.landlock is false"), "{held}");
}

#[test]
#[ignore = "needs root"]
fn a_user_that_is_not_there_is_an_error_that_says_what_to_do() {
    let mut daemon = Daemon::start(&[], "user = \"nobody-has-this-name\"");
    let said = daemon.wait_for("nobody-has-this-name");
    assert!(said.contains("useradd --system"), "{said}");
    assert_eq!(daemon.process.wait().unwrap().code(), Some(1));
    assert!(!daemon.tables().contains("ftp_alg"));
}
