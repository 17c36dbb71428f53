//! A pipelining client announces before the server has answered its login.

use std::time::Duration;

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{Script, Turn, server},
        link::Link,
        topology::Topology,
    },
    play::decisions,
};

const AT_ONCE: &str = "USER ann\r\nPASS secret\r\nPORT 10,0,0,2,4,5\r\nRETR x\r\n";

/// Plays a login and an announcement in one go, cut at these places.
fn played(cuts: &[usize], answer_to_pass: &str) -> Link {
    let answers = ["331 and?", answer_to_pass, "200 ok", "150 here"];
    let mut turns = vec![
        server("220 hello"),
        Turn::new(Role::Client, AT_ONCE).cut(cuts, Duration::from_millis(20)),
    ];
    turns.extend(answers.map(|answer| {
        let delay = Duration::from_millis(50);
        Turn::new(Role::Server, format!("{answer}\r\n")).cut(&[1], delay)
    }));
    let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::open(&turns));
    // The server answers what it has heard.
    for (step, lines) in link.hosts[1]
        .script
        .iter_mut()
        .skip(1)
        .zip([1, 1, 2, 2, 3, 3, 4, 4])
    {
        step.after_lines = lines;
    }
    link.run_for(Duration::from_secs(3));
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

fn heard(link: &Link) -> String {
    String::from_utf8_lossy(&link.hosts[1].received).into_owned()
}

#[test]
fn it_waits_for_the_answer_and_then_opens() {
    let rewritten = AT_ONCE.replace("10,0,0,2", "203,0,113,1");
    for cut in 0..AT_ONCE.len() {
        let link = played(&[cut], "230 welcome");
        assert_eq!(decisions(&link), ["PORT expect"], "cut at {cut}");
        assert_eq!(heard(&link), rewritten, "cut at {cut}");
    }
}

#[test]
fn it_opens_nothing_where_the_login_is_refused() {
    for cut in [0, 10, 24, 30, 45] {
        let link = played(&[cut], "530 no");
        assert_eq!(decisions(&link), ["PORT not_logged_in"], "cut at {cut}");
        assert_eq!(heard(&link), AT_ONCE, "cut at {cut}");
        assert!(link.kernel.expected.is_empty());
    }
}
