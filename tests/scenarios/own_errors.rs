//! What no reader could take for an endpoint passes as it is, so that the user reads the server's
//! own error, and a client handles the error of its server itself.

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{decisions, heard_by, play},
    split_at_every_byte::split_everywhere,
};

#[test]
fn a_command_that_no_server_could_read_as_an_announcement_gets_the_servers_own_answer() {
    for (line, kind, answer) in [
        ("PORT", "PORT", "501 Syntax error"),
        ("PORT 1,2", "PORT", "501 Invalid PORT format."),
        ("PORT 127,0,0,1", "PORT", "501 Invalid PORT format."),
        ("PORT 10,0,0,2,0,0", "PORT", "501 Bad port"),
        ("eprt ||", "EPRT", "501 Invalid EPRT format."),
        ("eprt ||||", "EPRT", "501 Invalid EPRT format."),
        ("EPRT |3|10.0.0.2|5001|", "EPRT", "522 Use (1,2)"),
        ("LPRT 4,4", "LPRT", "501 What?"),
    ] {
        let turns = [
            client(line),
            server(answer),
            client("NOOP"),
            server("200 ok"),
        ];
        for topology in [Topology::Routed, Topology::Snat] {
            let link = play(topology, &turns);
            assert_eq!(decisions(&link), [format!("{kind} malformed")], "{line}");
            let heard = heard_by(Role::Server, &link);
            assert_eq!(heard, format!("{line}\r\nNOOP\r\n"));
            let heard = heard_by(Role::Client, &link);
            assert_eq!(heard, format!("{answer}\r\n200 ok\r\n"));
            assert!(link.kernel.expected.is_empty());
        }
        split_everywhere(Topology::Snat, &turns, 0);
    }
}

#[test]
fn a_command_that_some_server_could_read_does_not_reach_it() {
    for line in [
        "PORT 459,0,113,9,256,22",
        "PORT x,0,0,2,19,137",
        "PORT 10,0,0,2,19,137,1",
        "PORT 10.0.0.2.19.137",
        "EPRT |1|203.0.113.9|65558|",
        "EPRT |1|203.0.113.9.1|22|",
        "EPRT |1|10.0.0.2|-1|",
        "EPRT |257|203.0.113.9|22|",
        "EPRT ||203.0.113.9|22|",
        "EPRT |1|010.0.0.2|5001|",
    ] {
        let link = play(Topology::Snat, &[client(line), server("200 ok")]);
        assert!(heard_by(Role::Server, &link).starts_with("NOOP "), "{line}");
        assert!(heard_by(Role::Client, &link).starts_with("550"), "{line}");
        assert!(link.kernel.expected.is_empty());
    }
}

#[test]
fn a_reply_that_no_client_could_read_as_an_announcement_reaches_it() {
    for (command, line) in [
        // Tests 237 and 238 of curl.
        ("PASV", "227 Entering Passiv Mode (1216,256,2,127,127,127)"),
        ("EPSV", "229 Entering Passiv Mode (|||)"),
        ("EPSV", "229 Entering Passive Mode (|||0|)"),
        ("PASV", "227 Entering Passive Mode"),
        ("PASV", "227 Entering Passive Mode (2,233,252)."),
        ("PASV", "227 Entering Passive Mode (10,0,0,5,0,0)."),
    ] {
        let turns = [client(command), server(line)];
        let link = play(Topology::Dnat, &turns);
        assert_eq!(decisions(&link), [format!("{command} malformed")], "{line}");
        assert_eq!(heard_by(Role::Client, &link), format!("{line}\r\n"));
        assert!(link.kernel.expected.is_empty());
        split_everywhere(Topology::Dnat, &turns, 1);
    }
}
