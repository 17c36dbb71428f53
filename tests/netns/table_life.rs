//! The life of our table: taken over, taken away, put back, owned.

use std::{thread, time::Duration};

use ftp_alg::{
    io::{
        nfqueue::{InstanceLock, QueueError},
        nftables::{
            ExpectationStore, Table, TableAccess, TableChange, TableOwner, TableWatch, probe,
            supports_owned_tables,
        },
    },
    proto::expect::{Expectation, ExpectationId},
    ruleset::Ruleset,
};

use super::{
    expectations::{MASTER, elements, is_answered, to_inside_host},
    lab::{Lab, Namespace},
    table::params,
};

const ID: ExpectationId = ExpectationId(1);

/// One process's way to the table.
struct Process {
    owner: TableOwner,
    store: ExpectationStore,
    table: Table,
}

impl Process {
    fn start(gateway: &Namespace, access: TableAccess) -> Self {
        gateway.inside(|| {
            let owner = TableOwner::open().unwrap();
            let ruleset = Ruleset::build(&params(&probe().unwrap()));
            Self {
                store: ExpectationStore::new(owner.clone()),
                table: apply(&owner, &ruleset, access),
                owner,
            }
        })
    }
}

/// A command that another test starts holds the sockets of the process before until it has exec'ed.
fn apply(owner: &TableOwner, ruleset: &Ruleset, access: TableAccess) -> Table {
    let mut table = None;
    assert!(eventually(|| {
        table = Table::apply(owner, ruleset.clone(), access, &|_| false).ok();
        table.is_some()
    }));
    table.unwrap()
}

/// Both, as far as this kernel has them.
fn accesses() -> Vec<TableAccess> {
    if supports_owned_tables().unwrap() {
        vec![TableAccess::Shared, TableAccess::Owned]
    } else {
        eprintln!("this kernel has no owned tables that persist (Linux 6.9)");
        vec![TableAccess::Shared]
    }
}

fn to_other_port() -> Expectation {
    Expectation {
        destination: "203.0.113.1:5001".parse().unwrap(),
        ..to_inside_host()
    }
}

/// From any address of a network.
fn of_network() -> Expectation {
    to_inside_host().with_sources("203.0.113.0/29".parse().unwrap())
}

#[test]
#[ignore = "needs root"]
fn the_next_process_takes_over_what_is_expected_and_what_was_used() {
    for access in accesses() {
        let lab = Lab::new();
        lab.guard("");
        let listener = lab.inside.listen("10.0.0.2:6000");
        let mut first = Process::start(&lab.gateway, access);
        first.store.expect(ID, &to_inside_host(), MASTER).unwrap();
        first.store.expect(ID, &to_other_port(), MASTER).unwrap();
        first.store.expect(ID, &of_network(), MASTER).unwrap();
        assert!(is_answered(&lab.outside, "203.0.113.1:5001", &listener));
        drop(first);
        let mut second = Process::start(&lab.gateway, access);
        second.table.verify().unwrap();
        let live = second.owner.live().into_iter().map(|one| {
            assert_eq!(one.master, MASTER);
            Expectation {
                timeout: to_inside_host().timeout,
                ..one.expectation
            }
        });
        assert!(live.eq([of_network(), to_inside_host(), to_other_port()]));
        assert!(is_answered(&lab.outside, "203.0.113.1:5000", &listener));
        assert!(
            !is_answered(&lab.outside, "203.0.113.1:5001", &listener),
            "it was used"
        );
        second.store.expect(ID, &to_other_port(), MASTER).unwrap();
        assert!(
            is_answered(&lab.outside, "203.0.113.1:5001", &listener),
            "it is new"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn a_table_that_is_taken_away_comes_back_with_what_it_held() {
    for act in [
        "flush ruleset",
        "delete table inet ftp_alg",
        "flush table inet ftp_alg\ndelete chain inet ftp_alg prerouting",
        "flush set inet ftp_alg expect4\nflush map inet ftp_alg dnat4",
        "flush chain inet ftp_alg deliver",
    ] {
        let lab = Lab::new();
        lab.guard("");
        let listener = lab.inside.listen("10.0.0.2:6000");
        let mut process = Process::start(&lab.gateway, TableAccess::Shared);
        process.store.expect(ID, &to_inside_host(), MASTER).unwrap();
        process.store.expect(ID, &to_other_port(), MASTER).unwrap();
        let before = lab
            .gateway
            .run("nft", &["list", "table", "inet", "ftp_alg"]);
        lab.gateway.load(act).unwrap();
        let used = to_other_port().destination;
        process
            .table
            .restore(&|one| one.expectation.destination == used)
            .unwrap();
        process.table.verify().unwrap();
        let after = lab
            .gateway
            .run("nft", &["list", "table", "inet", "ftp_alg"]);
        assert_eq!(
            after.matches("chain ").count(),
            before.matches("chain ").count()
        );
        lab.guard("");
        assert!(
            is_answered(&lab.outside, "203.0.113.1:5000", &listener),
            "{act}"
        );
        if elements(&lab.gateway, "expect4") == 1 {
            assert!(
                !is_answered(&lab.outside, "203.0.113.1:5001", &listener),
                "{act}"
            );
        }
    }
}

#[test]
#[ignore = "needs root"]
fn nobody_else_changes_an_owned_table_until_its_process_has_ended() {
    if !accesses().contains(&TableAccess::Owned) {
        return;
    }
    let namespace = Namespace::new("a");
    let mut process = Process::start(&namespace, TableAccess::Owned);
    process.store.expect(ID, &to_inside_host(), MASTER).unwrap();
    let refused = namespace.load("delete table inet ftp_alg").unwrap_err();
    assert!(refused.contains("Operation not permitted"), "{refused}");
    namespace.load("flush ruleset").unwrap();
    assert_eq!(elements(&namespace, "expect4"), 1);
    process.table.verify().unwrap();
    drop(process);
    assert_eq!(
        elements(&namespace, "expect4"),
        1,
        "it outlives its process"
    );
    // A command that another test starts holds our sockets until it has exec'ed.
    let deleted = || namespace.load("delete table inet ftp_alg").is_ok();
    assert!(eventually(deleted));
}

fn eventually(mut is_so: impl FnMut() -> bool) -> bool {
    (0..50).any(|_| {
        let so = is_so();
        if !so {
            thread::sleep(Duration::from_millis(50));
        }
        so
    })
}

#[test]
#[ignore = "needs root"]
fn a_table_of_the_other_access_is_replaced_with_what_is_expected() {
    for (before, after) in [
        (TableAccess::Shared, TableAccess::Owned),
        (TableAccess::Owned, TableAccess::Shared),
    ] {
        if !accesses().contains(&TableAccess::Owned) {
            return;
        }
        let namespace = Namespace::new("a");
        let mut first = Process::start(&namespace, before);
        first.store.expect(ID, &to_inside_host(), MASTER).unwrap();
        drop(first);
        let second = Process::start(&namespace, after);
        assert_eq!(second.owner.live().len(), 1);
        assert_eq!(elements(&namespace, "expect4"), 1);
        second.table.remove().unwrap();
        assert_eq!(namespace.run("nft", &["list", "ruleset"]), "");
    }
}

#[test]
#[ignore = "needs root"]
fn a_change_by_another_program_is_noticed_with_its_name_and_our_own_are_not() {
    let namespace = Namespace::new("a");
    let mut process = Process::start(&namespace, TableAccess::Shared);
    let mut watch = namespace.inside(|| TableWatch::open(&process.owner).unwrap());
    process.store.expect(ID, &to_inside_host(), MASTER).unwrap();
    namespace.load("add table inet other").unwrap();
    namespace.load("flush ruleset").unwrap();
    let TableChange { program, pid } = watch.wait_for_change().unwrap().ours.unwrap();
    assert_eq!(program.as_deref(), Some("nft"));
    assert!(pid.is_some_and(|pid| pid != std::process::id()));
    process.table.restore(&|_| false).unwrap();
    namespace
        .load("delete chain inet ftp_alg nat_input")
        .unwrap();
    assert!(watch.wait_for_change().unwrap().ours.is_some());
    namespace.load("add table bridge other").unwrap();
    let notice = watch.wait_for_change().unwrap();
    assert!(notice.bridge_rules && notice.ours.is_none(), "{notice:?}");
}

#[test]
#[ignore = "needs root"]
fn a_second_daemon_of_a_network_namespace_is_refused_until_the_first_has_ended() {
    let [here, elsewhere] = ["a", "b"].map(Namespace::new);
    let first = here.inside(|| InstanceLock::take().unwrap());
    let refused = here.inside(|| InstanceLock::take().unwrap_err());
    assert!(matches!(refused, QueueError::Locked), "{refused}");
    elsewhere.inside(|| InstanceLock::take().unwrap());
    drop(first);
    here.inside(|| InstanceLock::take().unwrap());
}
