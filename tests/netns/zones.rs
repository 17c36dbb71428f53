//! Conntrack entries in zones: found by the zone of each direction, changed, and made again.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use ftp_alg::{
    io::ctnetlink::Conntrack,
    proto::net::{ConntrackTuples, Direction, Tuple, Zone},
    ruleset::Labels,
};

use super::lab::{Lab, accept};

/// Rules that put packets into zone 7, as operators write them, and the zones of the directions of
/// a connection from the inside to the outside.
const RULES: [(&str, [u16; 2]); 2] = [
    (
        "iifname \"in\" ct zone set 7; iifname \"out\" ct zone set 7",
        [7, 7],
    ),
    ("iifname \"in\" ct original zone set 7", [7, 0]),
];

const SERVERS: [&str; 2] = ["203.0.113.2:21", "[2001:db8::2]:21"];

struct Connection {
    lab: Lab,
    conntrack: Conntrack,
    client: TcpStream,
    server: TcpStream,
    tuples: ConntrackTuples,
}

/// A connection through source NAT.
fn connection(server: &str, rules: &str, zones: [u16; 2]) -> Connection {
    let lab = Lab::new();
    lab.guard("");
    lab.gateway
        .load(&format!(
            "table inet zoned {{
                 chain label_room {{ ct label set 1; }}
                 chain prerouting {{ type filter hook prerouting priority -300; {rules}; }}
                 chain postrouting {{
                     type nat hook postrouting priority 100
                     oifname out masquerade
                 }}
             }}"
        ))
        .unwrap();
    let conntrack = lab.gateway.inside(|| Conntrack::open().unwrap());
    let listener = lab.outside.listen(server);
    let client = lab.inside.connect(server).unwrap();
    let (server, _) = accept(&listener);
    let ends = |stream: &TcpStream, zone| {
        let tuple = Tuple::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        tuple.in_zone(Zone(zone))
    };
    let [original, reply] = zones;
    let tuples = ConntrackTuples::new(ends(&client, original), ends(&server, reply));
    Connection {
        lab,
        conntrack,
        client,
        server,
        tuples,
    }
}

#[test]
#[ignore = "needs root"]
fn an_entry_is_found_in_the_zone_of_each_direction_and_nowhere_else() {
    for (server, (rules, zones)) in SERVERS
        .into_iter()
        .flat_map(|server| RULES.map(|one| (server, one)))
    {
        let mut one = connection(server, rules, zones);
        for direction in Direction::BOTH {
            let tuple = one.tuples.of(direction);
            let found = one.conntrack.resolve(&tuple).unwrap();
            assert_eq!(found.unwrap().tuples, one.tuples, "{rules}");
            let elsewhere = tuple.in_zone(Zone(tuple.zone.0 + 1));
            assert_eq!(one.conntrack.resolve(&elsewhere).unwrap(), None, "{rules}");
            let found = one.conntrack.resolve_in_any_zone(&elsewhere).unwrap();
            assert_eq!(found.unwrap().tuples, one.tuples, "{rules}");
        }
        let stranger = one.tuples.of(Direction::Original).inverted();
        assert_eq!(one.conntrack.resolve_in_any_zone(&stranger).unwrap(), None);
    }
}

#[test]
#[ignore = "needs root"]
fn an_entry_in_a_zone_is_changed_and_made_again_there() {
    for (server, (rules, zones)) in SERVERS
        .into_iter()
        .flat_map(|server| RULES.map(|one| (server, one)))
    {
        let mut one = connection(server, rules, zones);
        let original = one.tuples.of(Direction::Original);
        let adjust = Labels::default().adjust;
        one.conntrack.set_liberal(&one.tuples, adjust).unwrap();
        let found = one.conntrack.resolve(&original).unwrap().unwrap();
        assert_eq!(
            (found.label, found.is_liberal),
            (adjust.into(), true),
            "{rules}"
        );
        one.lab.gateway.run("conntrack", &["-F"]);
        assert_eq!(one.conntrack.resolve(&original).unwrap(), None);
        one.conntrack.create(&one.tuples, adjust, false).unwrap();
        let found = one.conntrack.resolve(&original).unwrap().unwrap();
        assert_eq!(found.tuples, one.tuples, "{rules}");
        one.server.write_all(b"220 hello\r\n").unwrap();
        let mut heard = [0; 11];
        one.client.set_nonblocking(false).unwrap();
        one.client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"220 hello\r\n", "{rules}");
    }
}
