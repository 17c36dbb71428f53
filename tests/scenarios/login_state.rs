//! Nothing is opened before a connection has shown that it is FTP and that its user is logged in.

use std::time::Duration;

use ftp_alg::proto::{flow::Settings, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, play_open},
};

/// Plays a dialogue from its first line on, with these settings.
fn play_with(turns: &[Turn], settings: Settings) -> Link {
    let mut link = Link::new(settings);
    link.add(Topology::Routed.tuples(0), &Script::open(turns));
    link.run_for(Duration::from_millis(500));
    link
}

/// The decisions, where a policy keeps the connection in the queue whatever it is.
fn decided(turns: &[Turn]) -> Vec<String> {
    let link = play_with(turns, crate::command_policy::deny());
    assert_eq!(link.kernel.expected, []);
    decisions(&link)
}

/// The decisions, as shipped.
fn decided_open(turns: &[Turn]) -> Vec<String> {
    decisions(&play_with(turns, Settings::default()))
}

const PORT: &str = "PORT 10,0,0,2,19,137";

#[test]
fn an_announcement_before_the_login_is_refused() {
    let greeted = [server("220 hello"), client(PORT), server("200 ok")];
    assert_eq!(decided(&greeted), ["PORT not_logged_in"]);
    let refused = [
        server("220 hello"),
        client("USER ann"),
        server("331 and?"),
        client("PASS wrong"),
        server("530 no"),
        client("PASV"),
        server("227 =198,51,100,7,19,137"),
    ];
    assert_eq!(decided(&refused), ["PASV not_logged_in"]);
}

#[test]
fn a_230_that_answers_no_login_lets_nobody_in() {
    let turns = [
        server("220 hello"),
        client("NOOP"),
        server("230 welcome"),
        client(PORT),
        server("200 ok"),
    ];
    assert_eq!(decided(&turns), ["PORT not_logged_in"]);
}

#[test]
fn a_request_of_another_protocol_opens_nothing_with_any_body() {
    let body = format!("POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER a\r\nPASS b\r\n{PORT}\r\n");
    let post = Turn::new(Role::Client, body);
    let answers = Turn::new(Role::Server, "331 and?\r\n230 welcome\r\n200 ok\r\n");
    // A browser sends first. One that waits for the server does not send FTP.
    for turns in [
        vec![post.clone(), server("220 hello"), answers.clone()],
        vec![server("220 hello"), post, answers],
    ] {
        assert_eq!(decided(&turns), ["PORT not_ftp"]);
    }
}

#[test]
fn a_server_that_leaves_bytes_out_does_not_hide_a_request_of_another_protocol() {
    let mut link = play_with(&[], Settings::default());
    for _ in 0..4 {
        link.server().send_odd(|frame| {
            frame.seq = frame.seq.wrapping_add(1000);
            frame.payload = b"220 later\r\n".to_vec();
        });
    }
    link.run_for(Duration::from_millis(10));
    assert!(link.kernel.has_lost_sync());
    let body = format!("POST / HTTP/1.1\r\nHost: x\r\n\r\n{PORT}\r\n");
    link.client_says(&[Turn::new(Role::Client, body)]);
    link.run_for(Duration::from_millis(100));
    assert_eq!(decisions(&link), ["PORT not_ftp"]);
}

#[test]
fn a_client_that_begins_its_login_before_the_greeting_is_one_of_ftp() {
    let login = [
        client("USER ann"),
        server("220 hello\r\n331 and?"),
        client("PASS secret"),
        server("230 welcome"),
        client(PORT),
        server("200 ok"),
    ];
    assert_eq!(decided_open(&login), ["PORT expect"]);
    // What follows is looked at as well, and so is what else may come before a greeting.
    let request = Turn::new(Role::Client, "USER a\r\nPOST / HTTP/1.1\r\nHost: x\r\n\r\n");
    let unasked = [
        request,
        server("220 hello\r\n331 and?\r\n230 in"),
        client(PORT),
    ];
    assert_eq!(decided(&unasked), ["PORT not_ftp"]);
    let early = [client(PORT), server("220 hello\r\n230 in"), client(PORT)];
    assert_eq!(decided(&early), ["PORT not_ftp", "PORT not_ftp"]);
}

#[test]
fn any_success_answers_a_login_and_any_is_a_greeting() {
    for (greeting, to_user, to_pass) in [
        ("220 hello", "331 and?", "220 in"),
        ("220 hello", "200 in", "202 superfluous"),
        ("200 ready", "331 and?", "250 in"),
        ("120 soon\r\n220 hello", "232 in", "503 what"),
        ("who knows\r\n220-hello\r\n220 hello", "331 and?", "230 in"),
        ("230 come in", "230 in already", "230 in"),
    ] {
        let turns = [
            server(greeting),
            client("USER ann"),
            server(to_user),
            client("PASS secret"),
            server(to_pass),
            client(PORT),
            server("200 ok"),
        ];
        assert_eq!(
            decided_open(&turns),
            ["PORT expect"],
            "{greeting}, {to_user}, {to_pass}"
        );
    }
    let no_login = [server("230 come in"), client(PORT), server("200 ok")];
    assert_eq!(decided_open(&no_login), ["PORT expect"]);
}

#[test]
fn a_request_opens_nothing_at_a_server_that_lets_everybody_in() {
    let body = format!("POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER a\r\n{PORT}\r\n");
    for greeting in ["230 come in", "200 hello"] {
        let turns = [
            server(greeting),
            Turn::new(Role::Client, body.clone()),
            Turn::new(Role::Server, "200 ok\r\n200 ok\r\n230 in\r\n200 ok\r\n"),
        ];
        assert_eq!(decided(&turns), ["PORT not_ftp"], "{greeting}");
    }
}

/// The header of version 2 of the PROXY protocol, with a TLV of this value.
fn proxy_header(value: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0".to_vec();
    header.push(15 + value.len() as u8);
    header.extend_from_slice(&[192, 0, 2, 2, 10, 10, 0, 5, 0x9c, 0x41, 0, 21]);
    header.extend_from_slice(&[4, 0, value.len() as u8]);
    header.extend_from_slice(value);
    header
}

#[test]
fn what_a_load_balancer_says_before_everything_counts_as_nothing() {
    let text = b"PROXY TCP4 192.0.2.2 198.51.100.7 40001 21\r\n".to_vec();
    for header in [text, proxy_header(b"\n\n\x01")] {
        for cut in 5..header.len() {
            let gap = Duration::from_millis(1);
            let mut turns = vec![Turn::new(Role::Client, header.clone()).cut(&[cut], gap)];
            turns.extend(after_login(&[client(PORT), server("200 ok")]));
            assert_eq!(decided_open(&turns), ["PORT expect"], "cut at {cut}");
        }
    }
}

#[test]
fn a_header_of_a_load_balancer_hides_no_command_and_proves_nothing() {
    let policed = |turns: &[Turn]| {
        let link = play_with(turns, crate::command_policy::deny());
        (link.hosts[1].received.clone(), decisions(&link))
    };
    let header = proxy_header(b"\r\nDELE x\r\n");
    let (heard, _) = policed(&[Turn::new(Role::Client, header), server("220 hello")]);
    assert!(!heard.windows(4).any(|bytes| bytes == b"DELE"));
    let request = [&proxy_header(b"")[..], b"POST / HTTP/1.1\r\n"].concat();
    let turns = [
        Turn::new(Role::Client, request),
        server("220 hello\r\n230 in"),
        client(PORT),
    ];
    assert_eq!(policed(&turns).1, ["PORT not_ftp"]);
}

#[test]
fn after_rein_the_user_logs_in_again() {
    let rein = [client("REIN"), server("220 again"), client(PORT)];
    let login = [client("USER bea"), server("230 welcome"), client(PORT)];
    let link = play_open(Topology::Routed, &rein);
    assert_eq!(decisions(&link), ["PORT not_logged_in"]);
    let turns = [&rein[..2], &login[..]].concat();
    assert_eq!(
        decisions(&play_open(Topology::Routed, &turns)),
        ["PORT expect"]
    );
    let refused = [client("REIN"), server("502 what"), client(PORT)];
    assert_eq!(
        decisions(&play_open(Topology::Routed, &refused)),
        ["PORT expect"]
    );
}

#[test]
fn an_exempt_server_needs_no_login() {
    let turns = [client(PORT), server("220 hello\r\n200 ok")];
    let settings = |network: &str| Settings {
        unproven_servers: vec![network.parse().unwrap()],
        ..Settings::default()
    };
    let named = play_with(&turns, settings("198.51.100.7"));
    assert_eq!(decisions(&named), ["PORT expect"]);
    let other = play_with(&turns, settings("198.51.100.8"));
    assert_eq!(decisions(&other), ["PORT not_ftp"]);
}

#[test]
fn a_host_that_is_named_may_announce_a_privileged_port() {
    let turns = after_login(&[client("PORT 10,0,0,2,0,20"), server("200 ok")]);
    let settings = |network: &str| Settings {
        privileged_ports: vec![network.parse().unwrap()],
        ..Settings::default()
    };
    let named = play_with(&turns, settings("10.0.0.0/24"));
    assert_eq!(decisions(&named), ["PORT expect"]);
    let other = play_with(&turns, settings("10.0.1.0/24"));
    assert_eq!(decisions(&other), ["PORT privileged_port"]);
}
