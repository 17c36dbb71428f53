//! Other dialects of FTP: what is served, and what is refused with a reason.

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{Turn, client, server},
        topology::Topology,
    },
    play::{decisions, heard_by, play, withdrawals},
    split_at_every_byte::split_everywhere,
};

const PASSIVE: &str = "227 Entering Passive Mode (10,0,0,5,4,5).";

fn noop_twice(line: &str) -> [Turn; 4] {
    [
        client(line),
        server("200 ok"),
        client("NOOP"),
        server("200 ok"),
    ]
}

#[test]
fn drftpd_says_pret_before_pasv_and_glftpd_cpsv_in_its_place() {
    for passive in ["PASV", "CPSV"] {
        let turns = [
            client("PRET RETR file"),
            server("200 OK, planning to use master for upcoming transfer"),
            client("SSCN ON"),
            server("200 SSCN:CLIENT METHOD"),
            client(passive),
            server(PASSIVE),
            client("RETR file"),
            server("150 here\r\n226 done"),
        ];
        let link = play(Topology::Dnat, &turns);
        assert_eq!(decisions(&link), ["PASV expect"]);
        assert!(heard_by(Role::Client, &link).contains("(203,0,113,1,4,5)"));
        split_everywhere(Topology::Dnat, &turns, 5);
    }
}

#[test]
fn a_data_connection_of_hylafax_ends_with_its_transfer() {
    for transfer in ["STOT", "RETP doc1.ps", "ERET P 0 9 file", "ESTO A 0 file"] {
        let turns = [
            client("JNEW"),
            server("200 New job created: jobid: 7 groupid: 7."),
            client("PORT 10,0,0,2,4,5"),
            server("200 PORT command successful."),
            client(transfer),
            server("150 FILE: /tmp/doc7 (Opening new data connection)."),
            server("226 Transfer complete."),
        ];
        let link = play(Topology::Snat, &turns);
        assert_eq!(decisions(&link), ["PORT expect"]);
        assert_eq!(withdrawals(&link), ["finished"], "{transfer}");
    }
}

#[test]
fn modes_virtual_hosts_and_new_sessions_disturb_nothing() {
    for (command, answer) in [
        ("MODE Z", "200 MODE Z ok"),
        ("MODE E", "200 Mode set to E."),
        ("HOST ftp.example.org", "220 Host accepted"),
        ("OPTS MLST type;size;", "200 MLST OPTS"),
        ("XPRT 1,2", "500 What?"),
        ("ESTP", "225 Connected to (|1|10.0.0.5|50000|)"),
        ("ESTA", "225 Connected from (|1|10.0.0.5|50000|)"),
    ] {
        let turns = [
            client(command),
            server(answer),
            client("PASV"),
            server(PASSIVE),
            client("MLSD"),
            server("150 here\r\n226 done"),
            client("PASV"),
            server(PASSIVE),
            client("STOU"),
            server("150 FILE: x1\r\n226 done"),
        ];
        let link = play(Topology::Dnat, &turns);
        assert_eq!(decisions(&link), ["PASV expect"; 2], "{command}");
        assert_eq!(withdrawals(&link), ["finished"; 2], "{command}");
    }
}

#[test]
fn rein_is_followed_by_another_login() {
    let again = [
        client("REIN"),
        server("220 hello again"),
        client("USER bob"),
        server("331 and?"),
        client("PASS x"),
        server("230 welcome"),
        client("PASV"),
        server(PASSIVE),
    ];
    let link = play(Topology::Dnat, &again);
    assert_eq!(decisions(&link), ["PASV expect"]);
    let turns = [
        client("REIN"),
        server("220 hello"),
        client("PASV"),
        server(PASSIVE),
    ];
    let link = play(Topology::Dnat, &turns);
    assert_eq!(decisions(&link), ["PASV not_logged_in"]);
}

#[test]
fn a_striped_or_a_bare_port_is_refused_in_ftp_with_its_reason() {
    for line in ["SPAS", "SPSV", "SPOR 10,0,0,2,195,80 10,0,0,2,195,81"] {
        let turns = [
            client(line),
            server("200 I successfully did nothing, and that for long"),
            client("PASV"),
            server(PASSIVE),
        ];
        for topology in [Topology::Dnat, Topology::Routed6] {
            let link = play(topology, &turns[..2]);
            assert_eq!(decisions(&link), ["PORT other_dialect"], "{line}");
            assert!(heard_by(Role::Server, &link).starts_with("NOOP"), "{line}");
            let heard = heard_by(Role::Client, &link);
            assert!(
                heard.starts_with("550 Refused by the gateway (other_dialect)"),
                "{heard}"
            );
            assert!(link.kernel.expected.is_empty());
        }
        // The client may go on with PASV.
        let link = play(Topology::Dnat, &turns);
        assert_eq!(
            decisions(&link),
            ["PORT other_dialect", "PASV expect"],
            "{line}"
        );
        split_everywhere(Topology::Dnat, &noop_twice(line), 0);
    }
}

#[test]
fn the_endpoints_of_a_striped_server_open_nothing_whoever_has_asked_for_them() {
    let striped = "229-Entering Striped Passive Mode.\r\n 10,0,0,5,195,80\r\n 10,0,0,5,195,81\r\n\
                   229 End";
    for command in ["NOOP", "EPSV"] {
        let link = play(Topology::Dnat, &[client(command), server(striped)]);
        assert!(link.kernel.expected.is_empty(), "{:?}", decisions(&link));
    }
}
