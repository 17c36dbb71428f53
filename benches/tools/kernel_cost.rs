//! What the kernel's work for one announcement costs: `cargo run --release --example kernel_cost`
//! as root. It uses a network namespace of its own (`unshare -n`), or the one it is started in.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use ftp_alg::{
    io::nftables::{ExpectationStore, Master, Table, TableAccess, TableOwner},
    proto::{
        expect::{Expectation, ExpectationId},
        net::{Layer, Tuple},
    },
    ruleset::{Params, QueueStatement, Ruleset},
};

const ROUNDS: u16 = 20_000;

/// The control connection.
const MASTER: Master = Master {
    original: Tuple::new(
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 40_000),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)), 21),
    ),
    mark: 0,
    layer: Layer::Routed,
};

fn main() -> Result<()> {
    let params = Params {
        queue_statement: QueueStatement::Elsewhere,
        ..Params::default()
    };
    let owner = TableOwner::open()?;
    let table = Table::apply(
        &owner,
        Ruleset::build(&params),
        TableAccess::Shared,
        &|_| false,
    )?;
    let mut store = ExpectationStore::new(owner);
    report("1 element", &mut store, &|port| {
        expectation(port, false, false)
    });
    report("2 elements", &mut store, &|port| {
        expectation(port, true, false)
    });
    report("3 elements", &mut store, &|port| {
        expectation(port, true, true)
    });
    table.remove()?;
    Ok(())
}

fn expectation(port: u16, destination: bool, source: bool) -> Expectation {
    let to = ([203, 0, 113, 1], port).into();
    let from = [198, 51, 100, 7].into();
    Expectation {
        source: from,
        source_prefix: None,
        destination: to,
        translated_destination: if destination {
            ([10, 0, 0, 2], port).into()
        } else {
            to
        },
        translated_source: if source { [10, 0, 0, 1].into() } else { from },
        denied_iif: None,
        timeout: Duration::from_secs(60),
    }
}

fn report(what: &str, store: &mut ExpectationStore, make: &dyn Fn(u16) -> Expectation) {
    let time = |label: &str, rounds: u16, work: &mut dyn FnMut(ExpectationId, &Expectation)| {
        let begun = now();
        for port in 0..rounds {
            work(ExpectationId(port.into()), &make(20_000 + port));
        }
        let each = (now() - begun) / u32::from(rounds);
        eprintln!(
            "{what:<11} {label:<22} {:>6.2} µs",
            each.as_secs_f64() * 1e6
        );
    };
    time("expect", ROUNDS, &mut |id, one| {
        store.expect(id, one, MASTER).expect("a free element")
    });
    time("expect, the same", ROUNDS, &mut |id, one| {
        store.expect(id, one, MASTER).expect("the newest counts");
    });
    time("expect, replacing", ROUNDS, &mut |id, one| {
        store.unexpect(id, one);
        store.expect(id, one, MASTER).expect("a free element");
    });
    time("unexpect alone", ROUNDS, &mut |id, one| {
        store.unexpect(id, one);
        store.flush();
    });
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
