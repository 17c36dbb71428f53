//! Spellings that real servers and clients use, and that can be read in one way only. Beside each
//! stands its twin, which two readers read differently and which opens nothing.

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{Turn, client, server},
        topology::Topology,
    },
    play::{decisions, heard_by, play},
    split_at_every_byte::split_everywhere,
};

/// A line that ends with CR CR LF.
fn with_two_crs(from: Role, line: &str) -> Turn {
    Turn::new(from, format!("{line}\r\r\n"))
}

/// Plays PORT or EPRT behind SNAT, in one piece and cut at each byte, and gives what the server
/// hears.
fn announced_by_client(line: Turn) -> String {
    let turns = [line, server("200 ok")];
    split_everywhere(Topology::Snat, &turns, 0);
    let link = play(Topology::Snat, &turns);
    assert!(
        decisions(&link)[0].ends_with(" expect"),
        "{link:?}",
        link = decisions(&link)
    );
    heard_by(Role::Server, &link)
}

/// The same with a command that asks a server behind DNAT, and its answer.
fn announced_by_server(command: Turn, line: Turn) -> String {
    let turns = [command, line];
    split_everywhere(Topology::Dnat, &turns, 0);
    split_everywhere(Topology::Dnat, &turns, 1);
    let link = play(Topology::Dnat, &turns);
    assert!(
        decisions(&link)[0].ends_with(" expect"),
        "{link:?}",
        link = decisions(&link)
    );
    heard_by(Role::Client, &link)
}

#[test]
fn a_port_with_blanks_leading_zeros_or_two_crs_opens_and_leaves_canonically() {
    let expected = "PORT 203,0,113,1,4,5";
    for line in [
        "PORT\t10,0,0,2,4,5",
        "PORT 10, 0, 0, 2, 4, 5",
        "\tPORT \t10 ,0,\t0,2,4,5 \t",
        "PORT 010,000,0,02,04,005",
    ] {
        let heard = announced_by_client(client(line));
        assert!(heard.starts_with("PORT 203,0,113,1,"), "{heard}");
        assert!(!heard.contains('\t'), "{heard}");
    }
    let heard = announced_by_client(with_two_crs(Role::Client, "PORT 10,0,0,2,4,5"));
    assert_eq!(heard, format!("{expected}\r\r\n"));
    let bare = Turn::new(Role::Client, "PORT 10,0,0,2,4,5\n");
    assert_eq!(announced_by_client(bare), format!("{expected}\n"));
}

#[test]
fn an_eprt_with_blanks_or_a_mapped_address_opens_and_leaves_canonically() {
    for line in [
        "EPRT | 1 | 10.0.0.2 | 50001 |",
        "EPRT\t|1|10.0.0.2|50001|",
        "EPRT |2|::ffff:10.0.0.2|50001|",
        "EPRT |2|::FFFF:a00:2|50001|",
    ] {
        let heard = announced_by_client(client(line));
        assert!(heard.starts_with("EPRT |1|203.0.113.1|"), "{heard}");
    }
}

#[test]
fn a_mapped_address_of_another_host_is_a_third_party() {
    for line in [
        "EPRT |2|::ffff:192.0.2.9|50001|",
        "EPRT |2|::10.0.0.2|50001|",
        "EPRT |2|64:ff9b::10.0.0.2|50001|",
    ] {
        let link = play(Topology::Snat, &[client(line), server("200 ok")]);
        assert_eq!(decisions(&link), ["EPRT third_party_address"], "{line}");
        assert!(heard_by(Role::Server, &link).starts_with("NOOP "), "{line}");
    }
}

#[test]
fn pasv_with_two_crs_an_argument_or_blanks_asks_for_a_227() {
    let answer = "227 Entering Passive Mode (10,0,0,5,4,5).";
    for command in [
        with_two_crs(Role::Client, "PASV"),
        client("PASV please"),
        client("\t PASV\t"),
        client("CPSV"),
        client("P@SV"),
    ] {
        let heard = announced_by_server(command, server(answer));
        assert!(heard.contains("(203,0,113,1,4,5)"), "{heard}");
    }
}

#[test]
fn a_227_or_229_in_each_spelling_of_a_real_server_opens_and_leaves_canonically() {
    for line in [
        "227 Entering Passive Mode (10, 0, 0, 5, 4, 5) ",
        "227 Entering Passive Mode ( 10,0,0,5,4,5 )",
        "227 Entering Passive Mode (010,000,000,005,004,005)",
        "227(10,0,0,5,4,5)",
        "227=10,0,0,5,4,5",
        "227 =10, 0, 0, 5, 4, 5",
        "227\tok 10,0,0,5,4,5",
        "227 10,0,0,5,4,5",
    ] {
        let heard = announced_by_server(client("PASV"), server(line));
        assert!(heard.starts_with("227 "), "{heard}");
        assert!(heard.contains("(203,0,113,1,4,"), "{heard}");
    }
    let twice = with_two_crs(Role::Server, "227 Entering Passive Mode (10,0,0,5,4,5)");
    let heard = announced_by_server(client("PASV"), twice);
    assert!(heard.ends_with("(203,0,113,1,4,5)\r\r\n"), "{heard}");
    for line in [
        "229 Extended Passive Mode (||50001|)",
        "229 Extended Passive Mode ( |||50001| )",
        "229 Extended Passive Mode (| | |50001|)",
        "229 Extended Passive Mode (|||050001|)",
        "229(|||50001|)",
    ] {
        let heard = announced_by_server(client("EPSV"), server(line));
        assert!(heard.contains("(|||50001|)"), "{heard}");
    }
}

#[test]
fn a_reply_that_two_clients_read_differently_opens_nothing_and_is_kept_from_both() {
    for line in [
        "227 Entering Passive Mode (9, 10,0,0,5,4,5)",
        "227 Entering Passive Mode (9 ,10,0,0,5,4,5)",
        "227 Entering Passive Mode (9,\t10,0,0,5,4,5)",
        "227 Entering Passive Mode (10,0,0,5,4,5, 6)",
        "227 Entering Passive Mode (9,+10,0,0,5,4,5)",
        "227 Entering Passive Mode (10, 0,0,5,4,5) 10,0,0,5,4,6",
        "227 Entering Passive Mode (10,0,0,5,4,5\r)",
        "227 x\r227 Entering Passive Mode (10,0,0,5,4,5)",
    ] {
        let link = play(Topology::Dnat, &[client("PASV"), server(line)]);
        assert_eq!(decisions(&link), ["PASV malformed"], "{line:?}");
        assert!(
            heard_by(Role::Client, &link).starts_with("550 "),
            "{line:?}"
        );
    }
    let line = "229 Extended Passive Mode (||50001|) (|||50002|)";
    let link = play(Topology::Dnat, &[client("EPSV"), server(line)]);
    assert_eq!(decisions(&link), ["EPSV malformed"]);
}

#[test]
fn a_227_without_room_for_parentheses_keeps_its_length_where_its_endpoint_stays() {
    for line in [
        "227 198,51,100,7,7,232",
        "227 =198,51,100,7,7,232",
        "227(198,51,100,7,7,232)",
    ] {
        let link = play(Topology::Routed, &[client("PASV"), server(line)]);
        assert_eq!(decisions(&link), ["PASV expect"]);
        assert_eq!(heard_by(Role::Client, &link), format!("{line}\r\n"));
        assert!(
            !link.kernel.is_liberal(&Topology::Routed.tuples(0)),
            "no sequence number changes"
        );
    }
}

#[test]
fn a_227_with_zeros_over_ipv6_opens_the_port_of_the_server_itself() {
    let line = "227 Entering Passive Mode (0,0,0,0,195,80).";
    let turns = [client("PASV"), server(line)];
    split_everywhere(Topology::Routed6, &turns, 1);
    split_everywhere(Topology::Dnat6, &turns, 1);
    for topology in [Topology::Routed6, Topology::Dnat6] {
        let link = play(topology, &turns);
        assert_eq!(decisions(&link), ["PASV expect"]);
        assert_eq!(heard_by(Role::Client, &link), format!("{line}\r\n"));
        let tuples = topology.tuples(0);
        let expected = &link.kernel.expected[0];
        let own = tuples.of(ftp_alg::proto::net::Direction::Reply).source.ip();
        assert_eq!(expected.translated_destination.ip(), own);
        assert_eq!(expected.translated_destination.port(), 50_000);
    }
}

#[test]
fn a_227_with_zeros_over_ipv6_says_another_port_where_nat_gives_one() {
    let turns = [
        client("PASV"),
        server("227 Entering Passive Mode (0,0,0,0,195,80)."),
    ];
    let settings = ftp_alg::proto::flow::Settings {
        ports: 10_000..=10_000,
        ..Default::default()
    };
    let mut link = crate::harness::link::Link::new(settings);
    let script = crate::harness::dialogue::Script::new(&crate::play::session(&turns));
    link.add(Topology::Dnat6.tuples(0), &script);
    link.run();
    assert_eq!(decisions(&link), ["PASV expect"]);
    let heard = heard_by(Role::Client, &link);
    assert!(heard.contains("(0,0,0,0,39,16)"), "{heard}");
    assert_eq!(link.kernel.expected[0].destination.port(), 10_000);
}
