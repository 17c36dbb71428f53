//! Configurations as operators write them, right and wrong.

use super::*;

fn refused(text: &str) -> String {
    Config::parse(text, "ftp-alg.toml")
        .expect_err(text)
        .to_string()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(Config::parse("", "x"), Ok(Config::default()));
}

#[test]
fn an_empty_table_means_its_defaults() {
    let text = "[expectation]\n[nat]\n[mark]\n[log]\n[control]\n";
    assert_eq!(Config::parse(text, "x"), Ok(Config::default()));
}

#[test]
fn metrics_are_served_only_where_the_table_is_written() {
    assert_eq!(Config::default().metrics, None);
    let config = Config::parse("[metrics]", "x").unwrap();
    assert_eq!(config.metrics, Some(Metrics::default()));
}

/// The second half of these ports.
fn shared(ports: RangeInclusive<u16>) -> Nat {
    let share = PortShare { part: 2, of: 2 };
    Nat { ports, share }
}

fn networks(written: &[&str]) -> Vec<IpNetwork> {
    let parsed = written.iter().map(|network| network.parse());
    parsed.collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_key_is_read() {
    let expected = Config {
        control_ports: vec![21, 2121, 8021],
        queues: 4..=7,
        backend: Backend::Conntrack,
        install_rules: false,
        when_absent: WhenAbsent::Drop,
        when_kernel_helps: WhenKernelHelps::Refuse,
        expectation: Expectation {
            timeout: Duration::from_secs(120),
            max_per_session: 3,
            early_servers: networks(&["10.0.0.5", "2001:db8::/32"]),
        },
        policy: Policy::default(),
        // Read by `command_policy::tests`.
        command_policy: Arc::default(),
        limits: Limits {
            session_commands: 1,
            session_bytes: 2 << 20,
            session_openings: 2,
            host_commands: 3,
            host_bytes: 1 << 30,
            host_openings: 4,
            host_sessions: 5,
            memory: 1 << 30,
        },
        process: Process {
            user: User::Named("nobody".to_owned()),
            seccomp: false,
            landlock: false,
        },
        nat: shared(30000..=31000),
        mark: Mark {
            data: 1,
            adjust: 2,
            opaque: 0x8000_0000,
        },
        log: Log {
            format: LogFormat::Json,
        },
        control: Control {
            socket: "/tmp/control.sock".into(),
        },
        metrics: Some(Metrics {
            listen: "[::1]:9200".parse().unwrap(),
        }),
        restart: Restart {
            directory: "/var/lib/ftp-alg".into(),
        },
    };
    assert_eq!(Config::parse(EVERY_KEY, "x"), Ok(expected));
}

const EVERY_KEY: &str = r#"
        control_ports = [2121, 21, 8021, 21]
        queue = "4-7"
        backend = "conntrack"
        install_rules = false
        when_absent = "drop"
        when_kernel_helps = "refuse"
        [expectation]
        timeout = "2m"
        max_per_session = 3
        early_servers = ["10.0.0.5", "2001:db8::/32"]
        [nat]
        ports = "30000-31000"
        share = "2/2"
        [mark]
        data = 0x1
        adjust = 2
        opaque = 0x80000000
        [log]
        format = "json"
        [control]
        socket = "/tmp/control.sock"
        [metrics]
        listen = "[::1]:9200"
        [restart]
        directory = "/var/lib/ftp-alg"
        [limits]
        session_commands = 1
        session_bytes = "2M"
        session_openings = 2
        host_commands = 3
        host_bytes = "1G"
        host_openings = 4
        host_sessions = 5
        memory = "1G"
        [process]
        user = "nobody"
        seccomp = false
        landlock = false
    "#;

#[test]
fn an_error_says_file_line_column_and_reason_on_one_line() {
    let cases = [
        (
            "quque = \"0\"",
            "ftp-alg.toml:1:1: unknown field `quque`, expected one of ",
        ),
        (
            "\n[nat]\nprots = \"1-2\"",
            "ftp-alg.toml:3:1: unknown field `prots`, expected `ports` or `share`",
        ),
        (
            "[nat]\nports = \"9-1\"",
            "ftp-alg.toml:2:9: `9-1` runs backwards",
        ),
        (
            "install_rules = \"yes\"",
            "ftp-alg.toml:1:17: invalid type: string \"yes\", expected a boolean",
        ),
        ("queue = 0-1", "ftp-alg.toml:1:9: "),
        (
            "queue = \"0\"\nqueue = \"1\"",
            "ftp-alg.toml:2:1: duplicate key",
        ),
    ];
    for (text, expected) in cases {
        let message = refused(text);
        assert!(message.starts_with(expected), "{text:?} gave {message:?}");
        assert_eq!(message.lines().count(), 1, "{message:?}");
    }
}

#[test]
fn columns_count_characters_not_bytes() {
    let text = "log = { format = \"text\" } # é\ncontrol = { socket = \"é\" }";
    assert!(refused(text).starts_with("ftp-alg.toml:2:22: `é` is not an absolute path"));
}

#[test]
fn a_value_that_makes_no_sense_is_refused_with_its_reason() {
    for (text, reason) in SENSELESS {
        let message = refused(text);
        assert!(message.contains(reason), "{text:?} gave {message:?}");
    }
}

const SENSELESS: &[(&str, &str)] = &[
    ("control_ports = []", "no control port"),
    ("control_ports = [0]", "0 is not a control port"),
    ("control_ports = [65536]", "65536 is not a control port"),
    ("queue = \"0-64\"", "65 queues"),
    ("queue = \"0-65535\"", "65536 queues"),
    ("queue = \"\"", "`` is not queue numbers"),
    ("queue = \"+1\"", "`+1` is not queue numbers"),
    ("queue = \"1-2-3\"", "`1-2-3` is not queue numbers"),
    ("queue = \"65536\"", "`65536` is not queue numbers"),
    (
        "backend = \"ipfw\"",
        "\"auto\", \"conntrack\", \"nftables\"",
    ),
    ("when_absent = \"Drop\"", "\"bypass\", \"drop\""),
    (
        "when_kernel_helps = \"step aside\"",
        "\"step-aside\", \"refuse\"",
    ),
    ("expectation.timeout = \"60\"", "`60` is not a time"),
    ("expectation.timeout = \"1d\"", "`1d` is not a time"),
    (
        "expectation.timeout = \"99ms\"",
        "is not between 100ms and 60 minutes",
    ),
    ("expectation.timeout = \"61m\"", "is not between"),
    (
        "expectation.timeout = \"18446744073709551615h\"",
        "is not a time",
    ),
    ("expectation.max_per_session = 0", "from 1 to 16"),
    (
        "expectation.early_servers = [\"10.0.0.1\", \"here\"]",
        "`here` is not a network",
    ),
    ("expectation.max_per_session = 300", "from 1 to 16"),
    ("nat.ports = \"0-100\"", "port 0"),
    ("nat.ports = \"0-0\"", "port 0"),
    ("nat.share = \"0/2\"", "is not a share"),
    ("nat.share = \"3/2\"", "is not a share"),
    ("nat.share = \"1/17\"", "is not a share"),
    ("nat.share = \"half\"", "is not a share"),
    ("nat.ports = \"1-65536\"", "is not ports"),
    ("mark.data = 0", "0 is not a ct mark"),
    ("mark.data = -1", "-1 is not a ct mark"),
    ("mark.data = 0x100000000", "is not a ct mark"),
    (
        "mark.data = 0x60000000",
        "mark.data and mark.adjust share the bits 0x20000000",
    ),
    ("log.format = \"xml\"", "\"text\", \"json\""),
    ("control.socket = \"run/x\"", "is not an absolute path"),
    ("restart.directory = \"run\"", "is not an absolute path"),
    ("policy.tls_data = \"all\"", "\"none\", \"range\""),
    ("policy.tls_data = \"range\"", "needs tls_ports"),
    ("policy.tls_ports = \"1023-1025\"", "below 1024"),
    ("policy.tls_ports = \"50000-51024\"", "1025 ports"),
    (
        "control_ports = [50000]\npolicy.tls_ports = \"50000\"",
        "the control port 50000 is one of these",
    ),
    ("policy.tls_at_once = 0", "from 1 to 16"),
    ("policy.tls_at_once = 17", "from 1 to 16"),
    ("policy.tls_servers = [\"here\"]", "`here` is not a network"),
    (
        "policy.tls_implicit_ports = [990]",
        "990 is not one of control_ports",
    ),
    ("limits.host_sessions = 0", "0 is not a limit"),
    ("limits.memory = \"256\"", "`256` is not a size"),
    ("limits.memory = \"7M\"", "from 8M to 64G"),
    ("limits.session_bytes = \"0M\"", "from 1M to 2G"),
    ("limits.host_bytes = \"3G\"", "from 1M to 2G"),
    ("limits.host_bytes = \"16\"", "`16` is not a size"),
    ("limits.memory = \"65G\"", "from 8M to 64G"),
    ("limits.memory = \"99999999999999999999G\"", "is not a size"),
    ("process.user = \"\"", "`` is not a user's name"),
    ("process.user = \"a b\"", "`a b` is not a user's name"),
    (
        "metrics.listen = \"localhost:1\"",
        "is not an address and port",
    ),
    ("metrics.listen = \"127.0.0.1:0\"", "port 0"),
];

#[test]
fn the_ports_of_encrypted_sessions_are_given_only_where_they_are_asked_for() {
    let tls = |text: &str| Config::parse(text, "x").unwrap().policy.tls;
    let range = "[policy]\ntls_ports = \"50000-51023\"\n";
    assert_eq!(tls(range), Tls::default());
    assert_eq!(
        tls(&format!(
            "control_ports = [21, 990]\n{range}tls_data = \"range\"\ntls_at_once = 16\n\
             tls_servers = [\"10.0.0.5\"]\ntls_implicit_ports = [990]"
        )),
        Tls {
            ports: Some(50_000..=51_023),
            at_once: 16,
            servers: networks(&["10.0.0.5"]),
            implicit_ports: vec![990],
        }
    );
}

#[test]
fn a_fault_of_the_ports_of_encrypted_sessions_is_blamed_on_its_line() {
    for (text, place) in [
        ("[policy]\ntls_at_once = 4\ntls_data = \"range\"", "3:12"),
        ("[policy]\ntls_ports = \"20-30\"", "2:13"),
        (
            "control_ports = [2121]\npolicy.tls_ports = \"2100-2200\"",
            "2:20",
        ),
        ("[policy]\ntls_implicit_ports = [21, 990]", "2:27"),
    ] {
        let message = refused(text);
        assert!(
            message.starts_with(&format!("ftp-alg.toml:{place}: ")),
            "{message}"
        );
    }
}

#[test]
fn overlapping_marks_are_blamed_on_the_one_that_was_written() {
    let message = refused("[mark]\nopaque = 0x10000000");
    assert!(message.starts_with("ftp-alg.toml:2:10: "), "{message}");
    let message = refused("[mark]\ndata = 1\nadjust = 3\n");
    assert!(message.starts_with("ftp-alg.toml:3:10: "), "{message}");
}

#[test]
fn a_time_may_be_written_in_four_units() {
    for (written, milliseconds) in [
        ("500ms", 500),
        ("60s", 60_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
    ] {
        let config = Config::parse(&format!("expectation.timeout = \"{written}\""), "x").unwrap();
        assert_eq!(
            config.expectation.timeout,
            Duration::from_millis(milliseconds)
        );
    }
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(message.contains("x.toml: cannot be read: No such file or directory"));
    fs::write(&path, b"queue = \"0\"\nbackend = \"\xff\"").unwrap();
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(
        message.ends_with("x.toml:2:12: not UTF-8, which TOML must be"),
        "{message}"
    );
}

/// The commented file that operators start from.
const EXAMPLE: &str = include_str!("../../../packaging/ftp-alg.toml");

#[test]
fn the_example_file_says_the_defaults() {
    assert_eq!(Config::parse(EXAMPLE, "x"), Ok(Config::default()));
    let with_metrics = EXAMPLE
        .replace("#[metrics]", "[metrics]")
        .replace("#listen", "listen");
    let config = Config::parse(&with_metrics, "x").unwrap();
    assert_eq!(config.metrics, Some(Metrics::default()));
}

#[test]
fn the_example_file_has_every_key() {
    let keys = [
        "control_ports",
        "queue",
        "backend",
        "install_rules",
        "when_absent",
        "when_kernel_helps",
        "timeout",
        "max_per_session",
        "early_servers",
        "ports",
        "unproven_servers",
        "privileged_ports",
        "third_party_data",
        "unsolicited_replies",
        "after_epsv_all",
        "tls_data",
        "tls_ports",
        "tls_at_once",
        "tls_servers",
        "tls_implicit_ports",
        "session_commands",
        "session_bytes",
        "session_openings",
        "host_commands",
        "host_bytes",
        "host_openings",
        "host_sessions",
        "memory",
        "user",
        "seccomp",
        "landlock",
        "data",
        "adjust",
        "opaque",
        "format",
        "socket",
        "directory",
        "#listen",
    ];
    for key in keys {
        let is_there = EXAMPLE
            .lines()
            .any(|line| line.starts_with(&format!("{key} = ")));
        assert!(is_there, "{key}");
    }
}

#[test]
fn what_weakens_a_safe_default_is_read_and_named() {
    let weakening = [
        ("expectation.early_servers", "[\"10.0.0.1\"]"),
        ("policy.unproven_servers", "[\"10.0.0.6\"]"),
        ("policy.privileged_ports", "[\"10.0.0.0/24\"]"),
        ("policy.third_party_data", "[\"192.0.2.0/24\"]"),
        ("policy.unsolicited_replies", "[\"10.0.0.7\"]"),
        ("policy.after_epsv_all", "[\"10.0.0.8\"]"),
        ("limits.session_commands", "5001"),
        ("limits.session_bytes", "\"9M\""),
        ("limits.session_openings", "2001"),
        ("limits.host_commands", "50001"),
        ("limits.host_bytes", "\"17M\""),
        ("limits.host_openings", "20001"),
        ("limits.host_sessions", "4097"),
        ("process.seccomp", "false"),
        ("process.landlock", "false"),
    ];
    for (key, value) in weakening {
        let config = Config::parse(&format!("{key} = {value}"), "x").unwrap();
        let weakened: Vec<_> = config
            .weakened_defaults()
            .iter()
            .map(|weakened| weakened.key)
            .collect();
        assert_eq!(weakened, [key]);
    }
    assert_eq!(Config::default().weakened_defaults(), []);
    let encrypted = "[policy]\ntls_data = \"range\"\ntls_ports = \"50000-50099\"";
    let encrypted = Config::parse(encrypted, "x").unwrap().weakened_defaults();
    assert_eq!(encrypted.first().unwrap().key, "policy.tls_data");
    let implicit = Config::parse("policy.tls_implicit_ports = [21]", "x");
    let implicit = implicit.unwrap().weakened_defaults();
    assert_eq!(implicit.first().unwrap().key, "policy.tls_implicit_ports");
    let policy = Config::parse("policy.third_party_data = [\"192.0.2.0/24\"]", "x")
        .unwrap()
        .policy;
    assert_eq!(policy.third_party_data, networks(&["192.0.2.0/24"]));
}
