//! A client behind NAT announces its private address (RFC 959 PORT; DESIGN.md §1, first row).

use crate::harness::{
    dialogue::{Script, after_login, client, server},
    link::Link,
    topology::Topology,
};

fn server_gets(topology: Topology, announced: &str, outgoing: &str) {
    let turns = after_login(&[
        client(&format!("PORT {announced}")),
        server("200 ok"),
        client("NOOP"),
        server("200 ok"),
        client("QUIT"),
        server("221 bye"),
    ]);
    let mut link = Link::of_script(topology.tuples(0), &Script::new(&turns));
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    let received = String::from_utf8_lossy(&link.server().received).into_owned();
    assert_eq!(
        received,
        format!("USER ann\r\nPASS secret\r\nPORT {outgoing}\r\nNOOP\r\nQUIT\r\n")
    );
}

#[test]
fn a_longer_address_makes_the_line_longer_and_nothing_else_changes() {
    server_gets(Topology::Snat, "10,0,0,2,19,137", "203,0,113,1,4,0");
}

#[test]
fn a_shorter_address_makes_the_line_shorter_and_nothing_else_changes() {
    server_gets(
        Topology::SnatShorter,
        "192,168,100,200,19,137",
        "9,9,9,9,19,137",
    );
}

#[test]
fn an_address_of_the_same_length_keeps_the_announced_port() {
    server_gets(
        Topology::SnatSameLength,
        "10,0,0,2,19,137",
        "10,9,9,9,19,137",
    );
}
