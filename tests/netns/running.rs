//! A daemon that runs for long: a log that nobody reads, a service manager that asks, and what is
//! left of network namespaces.

use std::{
    fs,
    io::{self, BufRead, BufReader, PipeReader, Write, pipe},
    os::unix::{fs::MetadataExt, fs::PermissionsExt, net::UnixDatagram},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, kill_process},
};

use super::{confined::Prepared, lab::Namespace};

/// An emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

const USER: &str = "user = \"64999\"";

/// The number of a namespace.
fn number_of(namespace: &Namespace) -> String {
    let path = format!("/run/netns/{}", namespace.name());
    fs::metadata(path).unwrap().ino().to_string()
}

fn read_until_ready(reads: PipeReader) -> PipeReader {
    let mut lines = BufReader::with_capacity(1, reads);
    let mut line = String::new();
    while !line.contains(" ready ") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it has ended");
    }
    lines.into_inner()
}

#[test]
#[ignore = "needs root"]
fn a_daemon_whose_log_nobody_reads_ends_in_order_all_the_same() {
    let mut prepared = Prepared::new(&[], USER);
    let (reads, mut writes) = pipe().unwrap();
    prepared.command.stderr(writes.try_clone().unwrap());
    let mut process = prepared.command.spawn().unwrap();
    let reads = read_until_ready(reads);
    // Whoever writes one more byte waits.
    fcntl_setfl(&reads, OFlags::NONBLOCK).unwrap();
    fill(&mut writes);
    assert!(
        prepared
            .namespace
            .run("nft", &["list", "tables"])
            .contains("ftp_alg")
    );
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let ends = wait(|| process.try_wait().unwrap());
    process.kill().unwrap();
    process.wait().unwrap();
    drop(reads);
    assert!(ends.expect("it ends").success());
    let tables = prepared.namespace.run("nft", &["list", "tables"]);
    assert!(!tables.contains("ftp_alg"), "{tables}");
}

/// Writes as much as the pipe takes.
fn fill(writes: &mut io::PipeWriter) {
    // A description of its own, so that the daemon's writes still wait.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(writes));
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    let own = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
    let mut own = fs::File::from(own);
    while own.write(b"x").is_ok() {}
}

fn wait<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
    let until = Instant::now() + PATIENCE / 3;
    loop {
        let found = look();
        #[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
        let is_late = Instant::now() > until;
        if found.is_some() || is_late {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs root"]
fn the_service_manager_hears_again_and_again_that_the_workers_are_well() {
    let mut prepared = Prepared::new(&[], USER);
    let path = prepared.directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    prepared
        .command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "500000");
    let _daemon = prepared.start();
    for expected in ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"] {
        let mut told = [0; 100];
        let count = manager.recv(&mut told).unwrap();
        let told = String::from_utf8_lossy(&told[..count]);
        assert_eq!(told.trim_end(), expected);
    }
}

#[test]
#[ignore = "needs root"]
fn what_was_saved_in_a_namespace_that_is_gone_is_removed_and_nothing_else() {
    let living = Namespace::new("living");
    let living_number = number_of(&living);
    // The daemon is told of all processes in a PID namespace of its own.
    let starter = ["unshare", "--pid", "--fork", "--mount-proc"];
    let prepared = Prepared::new(&starter, USER);
    let flows = prepared.directory.path().join("flows");
    let flow = "10.0.0.2:40000-203.0.113.1:21";
    // The kernel gives the number of a namespace that is gone to the next one. 1 is nobody's.
    for directory in [&living_number, "1", "2", "notes"] {
        fs::create_dir(flows.join(directory)).unwrap();
        fs::write(flows.join(directory).join(flow), "{}").unwrap();
    }
    fs::write(flows.join("2/notes"), "").unwrap();
    let daemon = prepared.start();
    daemon.wait_for(" ready ");
    // unshare waits for its child, which outlives it.
    let parent = daemon.process.id();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let child = children.trim().parse().ok().and_then(Pid::from_raw);
    kill_process(child.expect("it has one child"), Signal::KILL).unwrap();
    for (directory, is_kept) in [
        (&*living_number, true),
        ("1", false),
        ("2", true),
        ("notes", true),
    ] {
        assert_eq!(flows.join(directory).exists(), is_kept, "{directory}");
    }
    assert!(flows.join(&living_number).join(flow).exists());
    assert!(flows.join("2").join(flow).exists());
}

#[test]
#[ignore = "needs root"]
fn its_directory_is_removed_in_the_end_unless_something_is_saved_there() {
    for is_empty in [true, false] {
        let mut daemon = Prepared::new(&[], USER).start();
        daemon.wait_for(" ready ");
        let flows = daemon.directory.path().join("flows");
        let own = flows.join(number_of(&daemon.namespace));
        assert!(own.exists());
        if !is_empty {
            fs::write(own.join("10.0.0.2:40000-203.0.113.1:21"), "{}").unwrap();
        }
        daemon.tell(Signal::TERM);
        assert!(daemon.process.wait().unwrap().success());
        assert_eq!(own.exists(), !is_empty);
    }
}

#[test]
#[ignore = "needs root"]
fn it_warns_of_a_directory_on_a_disk() {
    let prepared = Prepared::new(&[], USER);
    let path = prepared.directory.path().to_path_buf();
    let kind = std::process::Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(path)
        .output()
        .unwrap();
    let is_in_memory = kind.stdout.starts_with(b"tmpfs");
    let daemon = prepared.start();
    let first = daemon.wait_for(if is_in_memory { " ready " } else { "tmpfs" });
    assert_eq!(
        first.contains("`restart.directory` is on a disk"),
        !is_in_memory
    );
}
