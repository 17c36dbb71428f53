//! Configurations as operators write them, right and wrong.

use std::{net::IpAddr, time::Duration};

use super::*;
use crate::{
    daemon::from_config::{params_of, settings_of},
    proto::{budget::Limits, flow::Settings, net::PublicAddresses},
    ruleset::{Backend, Params, QueueStatement},
};

fn parsed(text: &str) -> Config {
    Config::parse(text, "x").unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    Config::parse(text, "ftp-alg.toml")
        .expect_err(text)
        .to_string()
}

/// The keys in which two configurations differ.
fn changed(config: &Config, other: &Config) -> Vec<&'static str> {
    let mut config = config.clone();
    let changed = keys().filter(|key| (key.keep)(other, &mut config));
    changed.map(|key| key.name).collect()
}

#[test]
fn the_defaults_are_those_of_the_core_and_of_the_table() {
    let config = parsed("queue = \"0\"");
    let settings = settings_of(&config);
    assert_eq!(settings.tls.ports, None);
    let core = Settings {
        tls: settings.tls.clone(),
        ..Settings::default()
    };
    assert_eq!(format!("{settings:?}"), format!("{core:?}"));
    let params = params_of(
        &Config::default(),
        QueueStatement::default(),
        Backend::default(),
    );
    assert_eq!(params, Params::default());
}

#[test]
fn an_empty_table_means_its_defaults() {
    let text = "[expectation]\n[nat]\n[policy]\n[limits]\n[process]\n[mark]\n[label]\n[log]\n\
                [restart]\n";
    assert_eq!(parsed(text), Config::default());
}

#[test]
fn each_key_is_read_into_its_own_place() {
    let sampled: Vec<_> = SAMPLES.iter().map(|(key, _)| *key).collect();
    for key in keys() {
        let name = key.name;
        assert!(sampled.contains(&name), "SAMPLES has no value of {name}");
    }
    let declared: Vec<_> = keys().map(|key| key.name).collect();
    assert_eq!(
        sampled, declared,
        "SAMPLES has other keys, or another order"
    );
    for (key, value) in SAMPLES {
        let mut text = format!("{key} = {value}\n");
        let mut expected = vec![*key];
        if *key == "policy.tls_data" {
            text += "policy.tls_ports = \"50000\"";
            expected.push("policy.tls_ports");
        }
        assert_eq!(changed(&parsed(&text), &Config::default()), expected);
    }
}

/// A value of each key that is not its default.
const SAMPLES: &[(&str, &str)] = &[
    ("control_ports", "[2121, 21, 8021, 21]"),
    ("queue", "\"4-7\""),
    ("backend", "\"conntrack\""),
    ("install_rules", "false"),
    ("table_owner", "false"),
    ("when_absent", "\"drop\""),
    ("when_kernel_helps", "\"refuse\""),
    ("command_policy", "[{ action = \"log\" }]"),
    ("expectation.timeout", "\"2m\""),
    ("expectation.max_per_session", "3"),
    ("nat.ports", "\"30000-31000\""),
    ("nat.avoid_ports", "[5060, 50000]"),
    ("nat.public", "{ \"172.31.0.4\" = \"203.0.113.9\" }"),
    ("nat.share", "\"2/2\""),
    ("policy.unproven_servers", "[\"10.0.0.6\"]"),
    ("policy.privileged_ports", "[\"10.0.0.0/24\"]"),
    ("policy.third_party_data", "[\"192.0.2.0/24\"]"),
    (
        "policy.data_sources",
        "[\"198.51.100.9/29\", \"2001:db8::/64\"]",
    ),
    ("policy.unsolicited_replies", "[\"10.0.0.7\"]"),
    ("policy.after_epsv_all", "[\"2001:db8::/32\"]"),
    ("policy.login_directory", "\"/\""),
    ("policy.tls_data", "\"range\""),
    ("policy.tls_ports", "\"50000-51023\""),
    ("policy.tls_at_once", "16"),
    ("policy.tls_servers", "[\"10.0.0.5\"]"),
    ("policy.tls_implicit_ports", "[21]"),
    ("limits.session_commands", "1"),
    ("limits.session_bytes", "\"2M\""),
    ("limits.session_openings", "2"),
    ("limits.host_commands", "3"),
    ("limits.host_bytes", "\"1G\""),
    ("limits.host_openings", "4"),
    ("limits.host_sessions", "5"),
    ("limits.memory", "\"1G\""),
    ("process.user", "\"nobody\""),
    ("process.seccomp", "false"),
    ("process.landlock", "false"),
    ("mark.data", "0x1"),
    ("label.data", "0"),
    ("label.adjust", "2"),
    ("label.opaque", "100"),
    ("log.format", "\"json\""),
    ("restart.directory", "\"/var/lib/ftp-alg\""),
];

#[test]
fn values_mean_what_they_say() {
    let text: String = SAMPLES
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    let config = parsed(&text);
    assert_eq!(*config.control_ports, [21, 2121, 8021]);
    assert_eq!(*config.queue, 4..=7);
    assert_eq!(*config.backend, Some(Backend::Conntrack));
    assert_eq!(*config.process.user, Some("nobody".to_owned()));
    assert_eq!(config.label.opaque.number(), 100);
    assert_eq!(*config.restart.directory, *Path::new("/var/lib/ftp-alg"));
    let settings = settings_of(&config);
    assert_eq!(settings.expectation_timeout, Duration::from_secs(120));
    assert_eq!(settings.max_per_session, 3);
    assert_eq!(settings.ports, 30_000..=31_000);
    assert_eq!((config.nat.share.part, config.nat.share.of), (2, 2));
    assert_eq!(settings.tls.ports, Some(50_000..=51_023));
    assert_eq!(settings.tls.at_once, 16);
    let sources = ["198.51.100.8/29", "2001:db8::/64"].map(|one| one.parse().unwrap());
    assert_eq!(settings.data_sources, sources);
    let [outside, public] = ["172.31.0.4", "203.0.113.9"].map(|one| one.parse().unwrap());
    assert_eq!(settings.public, PublicAddresses::new([(outside, public)]));
    let server: IpAddr = "10.0.0.5".parse().unwrap();
    assert_eq!(settings.tls.servers, [server.into()]);
    let limits = Limits {
        session_commands: 1,
        session_bytes: 2 << 20,
        session_openings: 2,
        host_commands: 3,
        host_bytes: 1 << 30,
        host_openings: 4,
        host_sessions: 5,
        // A quarter for each of four workers.
        memory: 256 << 20,
    };
    assert_eq!(settings.limits, limits);
}

#[test]
fn a_reload_takes_what_it_may_and_names_the_rest() {
    let running = parsed("control_ports = [21, 990]\nexpectation.timeout = \"60s\"");
    let mut config = parsed("queue = \"3\"\nexpectation.timeout = \"2m\"\nmark.data = 1");
    let kept = config.keep_what_needs_a_restart(&running);
    assert_eq!(kept, ["control_ports", "queue", "mark.data"]);
    assert_eq!(changed(&config, &running), ["expectation.timeout"]);
    assert!(config.keep_what_needs_a_restart(&running).is_empty());
}

#[test]
fn an_example_of_a_key_without_a_default_is_one_of_its_values() {
    for key in keys() {
        assert_eq!(key.default.is_none(), key.example.is_some(), "{}", key.name);
        if let Some(example) = key.example {
            let config = parsed(&format!("{} = {example}", key.name));
            assert_eq!(changed(&config, &Config::default()), [key.name]);
        }
    }
}

#[test]
fn an_error_says_file_line_column_and_reason_on_one_line() {
    let cases = [
        (
            "quque = \"0\"",
            "ftp-alg.toml:1:1: unknown field `quque`, expected one of ",
        ),
        (
            "\n[nat]\nprots = \"1-2\"",
            "ftp-alg.toml:3:1: unknown field `prots`, expected one of `ports`, ",
        ),
        (
            "[nat]\nports = \"9-1\"",
            "ftp-alg.toml:2:9: `9-1` runs backwards",
        ),
        (
            "install_rules = \"yes\"",
            "ftp-alg.toml:1:17: invalid type: string \"yes\", expected a boolean",
        ),
        (
            "[metrics]\nlisten = \"127.0.0.1:9121\"",
            "ftp-alg.toml:1:2: unknown field `metrics`",
        ),
        (
            "[control]\nsocket = \"/run/ftp-alg/control.sock\"",
            "ftp-alg.toml:1:2: unknown field `control`",
        ),
        (
            "[expectation]\nearly_servers = []",
            "ftp-alg.toml:2:1: unknown field `early_servers`",
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
    let text = "log = { format = \"text\" } # é\nrestart = { directory = \"é\" }";
    assert!(refused(text).starts_with("ftp-alg.toml:2:25: `é` is not an absolute path"));
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
    ("control_ports = [0]", "0 is not from 1 to 65535"),
    ("control_ports = [65536]", "65536 is not from 1 to 65535"),
    ("queue = \"0-64\"", "65 queues"),
    ("queue = \"0-65535\"", "65536 queues"),
    (
        "queue = \"65530-65535\"",
        "queues 65534 and 65535 are the daemon's own",
    ),
    ("queue = \"\"", "`` is not queue numbers"),
    ("queue = \"+1\"", "`+1` is not queue numbers"),
    ("queue = \"1-2-3\"", "`1-2-3` is not queue numbers"),
    ("queue = \"65536\"", "`65536` is not queue numbers"),
    (
        "backend = \"ipfw\"",
        "\"auto\", \"conntrack\", \"nftables\"",
    ),
    ("when_absent = \"Drop\"", "expected `bypass` or `drop`"),
    (
        "when_kernel_helps = \"step aside\"",
        "expected `step-aside` or `refuse`",
    ),
    ("expectation.timeout = \"60\"", "`60` is not a time"),
    (
        "expectation.timeout = \"1d\"",
        "is not between 100ms and 1h",
    ),
    (
        "expectation.timeout = \"99ms\"",
        "is not between 100ms and 1h",
    ),
    ("expectation.timeout = \"61m\"", "is not between"),
    (
        "expectation.timeout = \"18446744073709551615h\"",
        "is not a time",
    ),
    ("expectation.max_per_session = 0", "from 1 to 16"),
    ("expectation.max_per_session = 300", "from 1 to 16"),
    ("nat.ports = \"0-100\"", "port 0"),
    ("nat.ports = \"0-0\"", "port 0"),
    ("nat.share = \"0/2\"", "is not a share"),
    ("nat.share = \"3/2\"", "is not a share"),
    ("nat.share = \"1/17\"", "is not a share"),
    ("nat.share = \"half\"", "is not a share"),
    ("nat.ports = \"1-65536\"", "is not ports"),
    ("nat.avoid_ports = [65536]", "expected u16"),
    (
        "nat.public = { here = \"203.0.113.9\" }",
        "invalid IP address",
    ),
    (
        "nat.public = { \"172.31.0.4\" = \"here\" }",
        "invalid IP address",
    ),
    (
        "nat.public = { \"172.31.0.4\" = \"0.0.0.0\" }",
        "0.0.0.0 is no address of a host",
    ),
    (
        "nat.public = { \"172.31.0.4\" = \"2001:db8::9\" }",
        "not of one IP version",
    ),
    (
        "nat.public = { \"172.31.0.4\" = \"172.31.0.4\" }",
        "is its own public address",
    ),
    (
        "nat.public = { \"172.31.0.4\" = \"203.0.113.9\", \"172.31.0.5\" = \"203.0.113.9\" }",
        "203.0.113.9 is the public address of 172.31.0.4 and of 172.31.0.5",
    ),
    (
        "policy.data_sources = [\"198.51.100.9\"]",
        "198.51.100.9/32 is one address",
    ),
    ("policy.data_sources = [\"198.0.0.0/15\"]", "is too large"),
    ("policy.data_sources = [\"2001:db8::/47\"]", "is too large"),
    ("mark.data = 0", "0 is no bit of a ct mark"),
    ("mark.data = -1", "integer `-1`, expected u32"),
    (
        "mark.data = 0x100000000",
        "integer `4294967296`, expected u32",
    ),
    (
        "mark.adjust = 0x20000000",
        "mark.adjust is label.adjust now",
    ),
    ("mark.opaque = 1", "mark.opaque is label.opaque now"),
    ("label.data = 128", "128 is not the number of a label's bit"),
    ("label.data = -1", "-1 is not the number of a label's bit"),
    (
        "label.opaque = 126",
        "label.adjust and label.opaque are the same bit 126",
    ),
    ("log.format = \"xml\"", "expected `text` or `json`"),
    ("restart.directory = \"run\"", "is not an absolute path"),
    ("policy.tls_data = \"all\"", "expected `none` or `range`"),
    ("policy.tls_data = \"range\"", "needs tls_ports"),
    ("policy.tls_ports = \"1023-1025\"", "below 1024"),
    ("policy.tls_ports = \"50000-51024\"", "1025 ports"),
    (
        "control_ports = [50000]\npolicy.tls_ports = \"50000\"",
        "the control port 50000 is one of these",
    ),
    ("policy.tls_at_once = 0", "from 1 to 16"),
    ("policy.tls_at_once = 17", "from 1 to 16"),
    ("policy.tls_servers = [\"here\"]", "invalid address: here"),
    (
        "policy.tls_implicit_ports = [990]",
        "990 is not one of control_ports",
    ),
    ("limits.host_sessions = 0", "0 is not from 1 to 1000000"),
    ("limits.memory = \"256\"", "`256` is not a size"),
    ("limits.memory = \"7M\"", "from 8M to 64G"),
    ("limits.session_bytes = \"0M\"", "from 1M to 2G"),
    ("limits.host_bytes = \"3G\"", "from 1M to 2G"),
    ("limits.host_bytes = \"16\"", "`16` is not a size"),
    ("limits.memory = \"65G\"", "from 8M to 64G"),
    ("limits.memory = \"99999999999999999999G\"", "is not a size"),
    ("process.user = \"\"", "`` is not a user's name"),
    ("process.user = \"a b\"", "`a b` is not a user's name"),
];

#[test]
fn the_ports_of_encrypted_sessions_are_given_only_where_they_are_asked_for() {
    let ports = "policy.tls_ports = \"50000-50099\"\n";
    assert_eq!(parsed(ports).policy.granted_ports(), None);
    let config = parsed(&format!("{ports}policy.tls_data = \"range\""));
    assert_eq!(config.policy.granted_ports(), Some(&(50_000..=50_099)));
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
        ("[nat]\npublic = { \"10.0.0.1\" = \"::1\" }", "2:10"),
        ("[nat]\navoid_ports = [1, 70000]", "2:19"),
        (
            "[policy]\ndata_sources = [\"10.0.0.0/24\", \"10.0.0.0/8\"]",
            "2:32",
        ),
    ] {
        let message = refused(text);
        assert!(
            message.starts_with(&format!("ftp-alg.toml:{place}: ")),
            "{message}"
        );
    }
}

#[test]
fn a_bit_named_twice_is_blamed_on_the_key_that_was_written() {
    let message = refused("[label]\nopaque = 125");
    assert!(message.starts_with("ftp-alg.toml:2:10: "), "{message}");
    let message = refused("[label]\ndata = 1\nadjust = 1\n");
    assert!(message.starts_with("ftp-alg.toml:3:10: "), "{message}");
}

#[test]
fn a_key_that_has_moved_is_blamed_where_it_stands_in_whatever_table() {
    let message = refused("[mark]\ndata = 1\nopaque = 2\n");
    assert!(message.starts_with("ftp-alg.toml:3:10: "), "{message}");
    assert!(message.contains("label.opaque"), "{message}");
}

#[test]
fn a_time_may_be_written_in_four_units() {
    for (written, milliseconds) in [
        ("500ms", 500),
        ("60s", 60_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
    ] {
        let config = parsed(&format!("expectation.timeout = \"{written}\""));
        let timeout = Duration::from_millis(milliseconds);
        assert_eq!(*config.expectation.timeout, timeout);
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

#[test]
fn what_weakens_a_safe_default_is_named() {
    let weakened = |text: &str| {
        let config = parsed(text);
        config
            .weakened_defaults()
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
    };
    assert!(weakened("").is_empty());
    for text in [
        "policy.unproven_servers = [\"10.0.0.6\"]",
        "policy.privileged_ports = [\"10.0.0.0/24\"]",
        "policy.third_party_data = [\"192.0.2.0/24\"]",
        "policy.data_sources = [\"198.51.100.8/29\"]",
        "policy.unsolicited_replies = [\"10.0.0.7\"]",
        "policy.after_epsv_all = [\"10.0.0.8\"]",
        "policy.tls_data = \"range\"\npolicy.tls_ports = \"50000-50099\"",
        "policy.tls_implicit_ports = [21]",
        "limits.session_commands = 5001",
        "limits.session_bytes = \"9M\"",
        "limits.session_openings = 2001",
        "limits.host_commands = 50001",
        "limits.host_bytes = \"17M\"",
        "limits.host_openings = 20001",
        "limits.host_sessions = 4097",
        "process.seccomp = false",
        "process.landlock = false",
    ] {
        let key = text.split(" = ").next().unwrap();
        assert_eq!(weakened(text), [key]);
    }
    let stricter: String = SAMPLES
        .iter()
        .filter(|(key, _)| key.starts_with("limits.") && !key.ends_with("host_bytes"))
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    assert!(weakened(&stricter).is_empty());
}
