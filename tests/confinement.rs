//! What a confined process can still do, and what not: tried by a process that confines itself as
//! the daemon does, since nobody can be asked to try it for us.
#![expect(
    clippy::print_stdout,
    reason = "the child tells the test what it found"
)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{net::UnixDatagram, process::CommandExt},
    path::Path,
    process::Command,
};

use ftp_alg::io::confinement::{
    AllowedPaths, CapabilitySet, LandlockStatus, ProcessCredentials, forbid_new_privileges,
    install_landlock, install_seccomp, keep_capabilities,
};

/// Tells the process that this test starts what it may reach.
const DIRECTORY: &str = "FTP_ALG_TEST_CONFINED_TO";

/// What is tried, and what comes of it. `EACCES` is Landlock's answer, `EPERM` the filter's.
const TRIED: &[(&str, &str)] = &[
    ("read the configuration", "done"),
    ("read the configuration put in its place", "done"),
    ("save a flow", "done"),
    ("replace a memory", "done"),
    ("forget a connection", "done"),
    ("speak to the service manager", "done"),
    ("read /etc/passwd", "EACCES"),
    ("read /etc/shadow", "EACCES"),
    ("list the directory above", "EACCES"),
    ("write beside the configuration", "EACCES"),
    ("link a memory to another file", "EPERM"),
    ("run a program", "EPERM"),
    ("run a program in place of this one", "EPERM"),
    ("start a thread", "EPERM"),
    ("listen on TCP", "EPERM"),
    ("connect by TCP", "EPERM"),
    ("send by UDP", "EPERM"),
    ("become root", "EPERM"),
];

#[test]
fn a_confined_process_reaches_what_it_needs_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (found, is_fenced) = try_in_a_child(directory.path());
    // Without Landlock these are the matter of the user's rights, and this user may be root.
    let is_expected = |outcome: &str| is_fenced || outcome != "EACCES";
    let expected = TRIED.iter().filter(|(_, outcome)| is_expected(outcome));
    for (what, outcome) in expected {
        assert_eq!(
            found.get(*what).map(String::as_str),
            Some(*outcome),
            "{what}"
        );
    }
    assert_eq!(found.len(), TRIED.len());
}

fn try_in_a_child(directory: &Path) -> (BTreeMap<String, String>, bool) {
    fs::create_dir(directory.join("kept")).unwrap();
    fs::create_dir(directory.join("configuration")).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "the_confined_process",
        ])
        .env(DIRECTORY, directory)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let tried = printed
        .lines()
        .filter_map(|line| line.strip_prefix("tried: "));
    let found = tried.filter_map(|line| line.split_once(": "));
    let found = found.map(|(what, outcome)| (what.to_owned(), outcome.to_owned()));
    (found.collect(), printed.contains("fenced: true"))
}

#[test]
#[ignore = "a part of the test above, in a process of its own"]
fn the_confined_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let (kept, config) = (
        directory.join("kept"),
        directory.join("configuration/ftp-alg.toml"),
    );
    fs::write(&config, "").unwrap();
    fs::write(directory.join("configuration/new"), "").unwrap();
    let paths = AllowedPaths::open(&directory.join("configuration"), &kept).unwrap();
    keep_capabilities(CapabilitySet::NET_ADMIN).unwrap();
    forbid_new_privileges().unwrap();
    let is_fenced = matches!(
        install_landlock(&paths).unwrap(),
        LandlockStatus::Enforced(_)
    );
    println!("fenced: {is_fenced}");
    install_seccomp().unwrap();
    let held = ProcessCredentials::current();
    assert!(held.has_no_new_privs && held.is_filtered);
    assert!(
        ["net_admin", "none"].contains(&&*held.capabilities),
        "{held:?}"
    );
    try_all(&kept, &config);
    // Its other threads are the test harness's, which has nothing more to do.
    std::process::exit(0);
}

fn try_all(kept: &Path, config: &Path) {
    let memory = kept.join("10.0.0.2:40000-203.0.113.1:21");
    let new = memory.with_extension("new");
    let beside = config.with_file_name("beside");
    report("read the configuration", fs::read(config));
    report(
        "read the configuration put in its place",
        fs::read(config.with_file_name("new")),
    );
    report("save a flow", fs::write(&new, "{}"));
    report("replace a memory", fs::rename(&new, &memory));
    report(
        "link a memory to another file",
        fs::hard_link(&memory, &new),
    );
    report("forget a connection", fs::remove_file(&memory));
    report("speak to the service manager", UnixDatagram::unbound());
    report("read /etc/passwd", File::open("/etc/passwd"));
    report("read /etc/shadow", File::open("/etc/shadow"));
    report("list the directory above", File::open("/"));
    report("write beside the configuration", fs::write(beside, ""));
    report("run a program", Command::new("/bin/true").status());
    report::<()>(
        "run a program in place of this one",
        Err(Command::new("/bin/true").exec()),
    );
    report("start a thread", std::thread::Builder::new().spawn(|| {}));
    report("listen on TCP", TcpListener::bind("127.0.0.1:0"));
    report("connect by TCP", TcpStream::connect("127.0.0.1:21"));
    report("send by UDP", UdpSocket::bind("127.0.0.1:0"));
    let root = rustix::process::Uid::ROOT;
    report(
        "become root",
        rustix::thread::set_thread_uid(root).map_err(io::Error::from),
    );
}

fn report<T>(what: &str, outcome: io::Result<T>) {
    let outcome = match outcome.map_err(|error| error.raw_os_error()) {
        Ok(_) => "done".to_owned(),
        Err(Some(libc::EACCES)) => "EACCES".to_owned(),
        Err(Some(libc::EPERM)) => "EPERM".to_owned(),
        Err(other) => format!("{other:?}"),
    };
    println!("tried: {what}: {outcome}");
}
