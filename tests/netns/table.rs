//! Loading, reading back, removing.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use ftp_alg::{
    io::{
        cthelper,
        nftables::{ApplyError, Probe, Table, TableAccess, TableOwner, probe, tracks_bridges},
    },
    ruleset::{Backend, HELPER, Params, QueueStatement, Ruleset, WhenAbsent},
};

use super::lab::{Lab, Namespace};

/// What this kernel can load.
pub(crate) fn params(probe: &Probe) -> Params {
    let queue_statement = probe.choice().expect("a kernel with NFQUEUE");
    Params {
        queue_statement,
        ..Params::default()
    }
}

pub(crate) fn apply(namespace: &Namespace) -> Table {
    namespace.inside(|| load(&Ruleset::build(&params(&probe().unwrap()))).unwrap())
}

/// Loads a table that anybody may change, in this thread's namespace.
pub(crate) fn load(ruleset: &Ruleset) -> Result<Table, ApplyError> {
    let owner = TableOwner::open().unwrap();
    Table::apply(&owner, ruleset.clone(), TableAccess::Shared, &|_| false)
}

fn listing(namespace: &Namespace) -> String {
    namespace.run("nft", &["list", "ruleset"])
}

/// A kernel without nft's `queue` can neither load its text nor be compared by it.
fn without_queues(text: &str) -> String {
    let cut = |line: &str| match line.split_once("queue ") {
        Some((before, _)) => format!("{before}accept"),
        None => line.to_owned(),
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// Queues, fate without a daemon, backend, ports of encrypted sessions, networks of servers.
type Shape = (
    RangeInclusive<u16>,
    WhenAbsent,
    Backend,
    Option<RangeInclusive<u16>>,
    &'static [&'static str],
);

const NETWORKS: &[&str] = &[
    "198.51.100.8/29",
    "10.1.0.0/16",
    "2001:db8:1::/56",
    "2001:db8::/62",
];

const SHAPES: [Shape; 4] = [
    (0..=1, WhenAbsent::Bypass, Backend::Nftables, None, &[]),
    (
        7..=7,
        WhenAbsent::Drop,
        Backend::Nftables,
        Some(50_000..=50_099),
        NETWORKS,
    ),
    (
        3..=3,
        WhenAbsent::Bypass,
        Backend::Nftables,
        Some(50_000..=50_000),
        &["10.0.0.0/9"],
    ),
    (
        0..=1,
        WhenAbsent::Bypass,
        Backend::Conntrack,
        None,
        NETWORKS,
    ),
];

#[test]
#[ignore = "needs root"]
fn the_kernel_makes_the_same_of_our_text_and_of_our_messages() {
    let by_text = Namespace::new("b");
    let probe = by_text.inside(|| probe().unwrap());
    let native = probe.queue_statement.is_available();
    let has_helpers = probe.obstacle(Backend::Conntrack).is_none();
    if has_helpers {
        cthelper::register(HELPER).unwrap();
    }
    for (queues, when_absent, backend, tls_ports, networks) in SHAPES {
        if backend == Backend::Conntrack && !has_helpers {
            continue;
        }
        let params = Params {
            queues,
            when_absent,
            backend,
            tls_ports,
            data_sources: networks.iter().map(|one| one.parse().unwrap()).collect(),
            ..params(&probe)
        };
        // A set that is kept stands before the others.
        let by_message = Namespace::new("a");
        let table = by_message.inside(|| load(&Ruleset::build(&params)).unwrap());
        let text = Ruleset::build(&params).to_nft();
        let (mut loaded, mut printed) = (listing(&by_message), String::new());
        if native {
            by_text.load(&text).unwrap();
            printed += &listing(&by_text);
        } else {
            by_text.load(&without_queues(&text)).unwrap();
            printed += &listing(&by_text);
            (loaded, printed) = (without_queues(&loaded), without_queues(&printed));
        }
        assert_eq!(loaded, printed);
        drop(table);
    }
}

#[test]
#[ignore = "needs root"]
fn a_removed_table_leaves_what_was_there_before() {
    let namespace = Namespace::new("a");
    namespace
        .load("add table inet other\nadd chain inet other mine")
        .unwrap();
    let before = listing(&namespace);
    let table = apply(&namespace);
    table.verify().unwrap();
    assert_ne!(listing(&namespace), before);
    // The table's socket lives in its namespace.
    table.remove().unwrap();
    assert_eq!(listing(&namespace), before);
}

#[test]
#[ignore = "needs root"]
fn a_table_can_be_replaced_and_removed_twice() {
    let namespace = Namespace::new("a");
    let first = apply(&namespace);
    let second = apply(&namespace);
    first.remove().unwrap();
    second.remove().unwrap();
    assert_eq!(listing(&namespace), "");
}

#[test]
#[ignore = "needs root"]
fn a_rule_taken_out_by_someone_else_is_noticed() {
    let namespace = Namespace::new("a");
    let table = apply(&namespace);
    namespace.run("nft", &["flush", "chain", "inet", "ftp_alg", "inspect"]);
    let error = table.verify().unwrap_err();
    assert!(
        matches!(error, ApplyError::Changed { ref chain, .. } if chain == "inspect"),
        "{error}"
    );
}

#[test]
#[ignore = "needs root"]
fn the_table_for_iptables_queues_nothing_itself() {
    let namespace = Namespace::new("a");
    let params = Params {
        queue_statement: QueueStatement::Elsewhere,
        ..Params::default()
    };
    let text = Ruleset::build(&params).to_nft();
    assert!(!text.contains("queue"), "{text}");
    namespace.load(&text).unwrap();
    let by_text = listing(&namespace);
    let by_message = Namespace::new("b");
    by_message.inside(|| load(&Ruleset::build(&params)).unwrap());
    assert_eq!(listing(&by_message), by_text);
}

#[test]
#[ignore = "needs root"]
fn a_lab_forwards_control_connections_only() {
    let lab = Lab::new();
    lab.guard("");
    let listener = lab.outside.listen("203.0.113.2:21");
    lab.inside.connect("203.0.113.2:21").unwrap();
    super::lab::accept(&listener);
    let _closed = lab.outside.listen("203.0.113.2:22");
    assert!(
        lab.inside
            .connect_within("203.0.113.2:22", super::lab::REFUSAL)
            .is_err()
    );
}

#[test]
#[ignore = "needs root"]
fn what_the_kernel_lacks_is_found_out_at_once() {
    let namespace = Namespace::new("a");
    let begun = now();
    let found = namespace.inside(|| probe().unwrap());
    assert!(
        now() - begun < Duration::from_secs(2),
        "a refusal is an answer too"
    );
    assert_eq!(found.obstacle(Backend::Nftables), None);
    assert_eq!(listing(&namespace), "", "the probe leaves nothing");
}

#[test]
#[ignore = "needs root"]
fn a_table_the_kernel_cannot_hold_changes_nothing_and_is_refused_at_once() {
    let namespace = Namespace::new("a");
    let _table = apply(&namespace);
    let before = listing(&namespace);
    let mut ruleset = Ruleset::build(&Params::default());
    ruleset.chains.retain(|chain| chain.name != "admit");
    let begun = now();
    let error = namespace.inside(|| load(&ruleset)).unwrap_err();
    assert!(
        now() - begun < Duration::from_secs(2),
        "a refusal is an answer too"
    );
    assert!(matches!(error, ApplyError::Unsupported), "{error:?}");
    assert_eq!(listing(&namespace), before);
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test of how long something takes"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A bridging firewall with a rule that does or does not look at conntrack.
fn bridging_firewall(rule: &str) -> String {
    format!(
        "table bridge firewall {{
             chain forward {{ type filter hook forward priority 0; {rule}; }}
         }}"
    )
}

/// Kernels without `nf_conntrack_bridge` load no `ct` expression for a bridge.
fn can_track_bridges() -> bool {
    let firewall = bridging_firewall("ct state established accept");
    Namespace::new("a").load(&firewall).is_ok()
}

#[test]
#[ignore = "needs root"]
fn the_table_for_bridges_is_the_same_by_text_and_by_messages_or_is_refused_as_a_whole() {
    let [by_text, by_message] = ["b", "a"].map(Namespace::new);
    let table = Ruleset::build_bridged(&Params::default());
    let loaded = by_message.inside(|| load(&table));
    if can_track_bridges() {
        by_text.load(&table.to_nft()).unwrap();
        loaded.unwrap().verify().unwrap();
    } else {
        loaded.unwrap_err();
        by_text.load(&table.to_nft()).unwrap_err();
    }
    assert_eq!(listing(&by_message), listing(&by_text));
}

#[test]
#[ignore = "needs root"]
fn a_firewall_that_tracks_bridges_is_known_and_our_own_table_is_none() {
    let can_track = can_track_bridges();
    let namespace = Namespace::new("a");
    let owner = namespace.inside(|| TableOwner::open().unwrap());
    let tracks = || tracks_bridges(&owner).unwrap();
    assert!(!tracks());
    namespace.load(&bridging_firewall("accept")).unwrap();
    let with_ct = "table inet other {
         chain c {
             ct state established accept
         }
     }";
    namespace.load(with_ct).unwrap();
    assert!(!tracks());
    let firewall = bridging_firewall("tcp dport 21 ct state established accept");
    assert_eq!(namespace.load(&firewall).is_ok(), can_track);
    assert_eq!(tracks(), can_track);
    namespace.load("flush ruleset").unwrap();
    let ours = namespace.inside(|| load(&Ruleset::build_bridged(&Params::default())));
    assert_eq!(ours.is_ok(), can_track);
    assert!(!tracks());
}
