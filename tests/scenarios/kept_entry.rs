//! A control connection that is idle while its data connection works stays in conntrack, even where
//! the operator's timeout for idle connections is shorter than the transfer.

use std::time::Duration;

use ftp_alg::proto::net::Tuple;

use crate::{
    harness::{
        dialogue::{Script, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::withdrawals,
};

/// A session in a transfer, on a gateway that forgets idle connections after so many seconds.
fn in_transfer(idle: u64, connects: bool) -> Link {
    let turns = after_login(&[
        client("PORT 10,0,0,2,195,80"),
        server("200 ok"),
        client("RETR a"),
    ]);
    let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::open(&turns));
    link.kernel.idle_timeout = Some(Duration::from_secs(idle));
    link.run_for(Duration::from_millis(500));
    if connects {
        let now = link.now;
        assert!(link.kernel.dial(data(), 1, now).is_some());
    }
    link.server_says(&[server("150 here it comes")]);
    link.run_for(Duration::from_millis(100));
    link
}

fn data() -> Tuple {
    let [server, outside] = ["198.51.100.7:20", "203.0.113.1:50000"];
    Tuple::new(server.parse().unwrap(), outside.parse().unwrap())
}

/// Whether conntrack has known the control connection all the time.
fn is_known_for(link: &mut Link, time: Duration) -> bool {
    let idle = link.kernel.idle_timeout.unwrap();
    let mut last = link.now;
    let extended = link.kernel.extended.len();
    link.run_for(time);
    let now = link.now;
    let times: Vec<_> = link.kernel.extended[extended..].to_vec();
    times.into_iter().chain([now]).all(|at| {
        let gap = at - last;
        last = at;
        gap < idle
    })
}

#[test]
fn it_is_kept_while_the_data_connection_is_there_and_no_longer() {
    for idle in [3, 10, 60, 600] {
        let mut link = in_transfer(idle, true);
        assert!(
            is_known_for(&mut link, Duration::from_secs(5 * idle)),
            "{idle}"
        );
        assert_eq!(link.kernel.searches, 1);
        link.kernel.children.clear();
        link.run_for(Duration::from_secs(idle));
        let extended = link.kernel.extended.len();
        link.run_for(Duration::from_secs(5 * idle));
        assert_eq!(
            link.kernel.extended.len(),
            extended,
            "nothing flows any more"
        );
    }
}

#[test]
fn with_the_default_of_five_days_conntrack_is_not_searched() {
    let mut link = in_transfer(432_000, true);
    link.run_for(Duration::from_secs(3600));
    assert_eq!((link.kernel.searches, link.kernel.extended.len()), (0, 0));
}

#[test]
fn without_a_data_connection_nothing_is_kept() {
    let mut link = in_transfer(10, false);
    link.run_for(Duration::from_secs(60));
    assert_eq!(link.kernel.extended, []);
}

#[test]
fn the_end_of_the_transfer_ends_it() {
    let mut link = in_transfer(10, true);
    link.run_for(Duration::from_secs(20));
    link.server_says(&[server("226 done")]);
    link.run_for(Duration::from_millis(100));
    assert_eq!(withdrawals(&link), ["finished"]);
    let extended = link.kernel.extended.len();
    assert!(extended > 0);
    link.run_for(Duration::from_secs(60));
    assert_eq!(link.kernel.extended.len(), extended);
}
