//! Lines with another endpoint in them.

use super::*;

/// Rewrites and checks what has to hold for every rewrite.
fn rewritten(line: &str, endpoint: &str) -> (String, i32) {
    let endpoint: SocketAddr = endpoint.parse().unwrap();
    let original = announcement(line);
    let rewritten = original.rewrite(line.as_bytes(), endpoint).unwrap();
    let delta = original.delta_for(line.as_bytes(), endpoint).unwrap();
    assert_eq!(rewritten.delta, delta, "{line}");
    let text = String::from_utf8(rewritten.line).unwrap();
    let growth = i32::try_from(text.len()).unwrap() - i32::try_from(line.len()).unwrap();
    assert_eq!(growth, delta, "{line}");
    let again = announcement(&text);
    assert_eq!(again.kind, original.kind, "{line}");
    assert_eq!(again.port.get(), endpoint.port(), "{line}");
    assert_eq!(
        again.address,
        original.address.map(|_| endpoint.ip()),
        "{line}"
    );
    (text, delta)
}

#[test]
fn a_command_is_spelled_canonically_with_the_new_endpoint() {
    for [line, endpoint, expected] in rows(
        "
PORT 10,0,0,2,19,137 => 203.0.113.1:5001 => PORT 203,0,113,1,19,137
port 203,0,113,1,200,200 => 10.0.0.2:1024 => PORT 10,0,0,2,4,0
PORT  10,0,0,2,19,137  => 10.0.0.3:5001 => PORT 10,0,0,3,19,137
EPRT |1|10.0.0.2|5001| => 203.0.113.1:50001 => EPRT |1|203.0.113.1|50001|
EPRT !1!10.0.0.2!5001! => 203.0.113.1:5001 => EPRT |1|203.0.113.1|5001|
EPRT b2b::1b5001b => [2001:db8::1]:5001 => EPRT |2|2001:db8::1|5001|
EPRT |2|FD00:0::2|5001| => [2001:db8::1]:5001 => EPRT |2|2001:db8::1|5001|
EPRT |2|fd00::2|5001| => 203.0.113.1:5001 => EPRT |1|203.0.113.1|5001|
LPRT 4,4,10,0,0,2,2,19,137 => 203.0.113.1:5001 => LPRT 4,4,203,0,113,1,2,19,137
LPRT 4,4,10,0,0,2,2,19,137 => [2001:db8::1]:5001
=> LPRT 6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,19,137
",
    ) {
        assert_eq!(rewritten(line, endpoint).0, expected);
    }
}

#[test]
fn the_length_of_a_reply_is_kept_by_padding_before_the_parenthesis() {
    for [line, endpoint, expected] in rows(
        "
227 Entering Passive Mode (192,168,100,200,200,200). => 10.0.0.1:1024
=> 227 Entering Passive Mode            (10,0,0,1,4,0).
227 (192,168,100,200,200,200) => 10.0.0.1:1024 => 227            (10,0,0,1,4,0)
227 =192,168,100,200,200,200 => 10.0.0.1:1024 => 227           (10,0,0,1,4,0)
227 192,168,100,200,200,200 => 10.0.0.1:1024 => 227          (10,0,0,1,4,0)
229 Mode (|||50000|) => 10.0.0.1:21 => 229 Mode    (|||21|)
229 Mode (|1|10.0.0.11|50000|) => 10.0.0.1:21 => 229 Mode     (|1|10.0.0.1|21|)
228 (4,4,10,0,0,11,2,19,137) => 10.0.0.1:5001 => 228  (4,4,10,0,0,1,2,19,137)
",
    ) {
        assert_eq!(rewritten(line, endpoint), (expected.to_owned(), 0));
    }
}

#[test]
fn the_length_of_a_reply_is_kept_by_trimming_its_least_useful_words() {
    for [line, endpoint, expected] in rows(
        "
# The text behind the endpoint.
227 Entering Passive Mode (10,0,0,1,19,137). => 10.0.0.11:5001
=> 227 Entering Passive Mode (10,0,0,11,19,137)
# The padding of another gateway.
227 Entering Passive Mode   (10,0,0,1,19,137). => 10.0.0.111:5001
=> 227 Entering Passive Mode (10,0,0,111,19,137).
# Words before the endpoint, from the right.
227 Entering Passive Mode (10,0,0,1,19,137). => 203.0.113.1:5001
=> 227 Entering Passive    (203,0,113,1,19,137)
227 Entering Passive Mode (10,0,0,1,4,0) => 203.100.113.100:50001
=> 227 Entering    (203,100,113,100,195,81)
229 Mode (|||21|) => 10.0.0.1:50000 => 229   (|||50000|)
229 ok (|1|10.0.0.1|6446|) => 10.0.0.100:6446 => 229  (|1|10.0.0.100|6446|)
227 mode: 10,0,0,1,4,0 => 10.0.0.100:1024 => 227   (10,0,0,100,4,0)
",
    ) {
        let (text, delta) = rewritten(line, endpoint);
        assert_eq!((text.as_str(), delta), (expected, 0), "{line}");
    }
    let (text, delta) = rewritten("227 Mode (10,0,0,1,19,137). Have fun", "10.0.0.11:5001");
    let expected = "227 Mode   (10,0,0,11,19,137). Have ";
    assert_eq!((text.as_str(), delta), (expected, 0));
}

#[test]
fn words_that_cannot_make_enough_room_or_are_the_servers_own_stay() {
    for [line, endpoint, expected, delta] in rows(
        "
227 (10,0,0,1,4,0) => 203.0.113.1:5001 => 227 (203,0,113,1,19,137) => 6
227 passiv: 10,0,0,1,4,0 => 10.0.0.100:1024 => 227 passiv: (10,0,0,100,4,0) => 4
227 ok 10,0,0,1,4,0 => 203.0.113.1:5001 => 227 ok (203,0,113,1,19,137) => 8
229 (|||21|) => 10.0.0.1:50000 => 229 (|||50000|) => 3
228 ok (4,4,10,0,0,1,2,4,0) => [2001:db8::1]:1024
=> 228 ok (6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,4,0) => 28
",
    ) {
        let delta = delta.parse().unwrap();
        assert_eq!(rewritten(line, endpoint), (expected.to_owned(), delta));
    }
}

#[test]
fn a_reply_that_keeps_its_endpoint_keeps_its_length() {
    for [line, expected] in rows(
        "
227 192,0,2,9,7,232 => 227 192,0,2,9,7,232
227 =192,0,2,9,7,232 => 227 =192,0,2,9,7,232
227(192,0,2,9,7,232) => 227(192,0,2,9,7,232)
227=192,0,2,9,7,232 => 227=192,0,2,9,7,232
227 192,000,002,009,7,232 => 227     (192,0,2,9,7,232)
227 192, 0,2,9,7,232 => 227  192,0,2,9,7,232
227 192,0,2,9,07,232. => 227 (192,0,2,9,7,232)
227 (192, 0, 2, 9, 7, 232) => 227      (192,0,2,9,7,232)
227 ( 192,0,2,9,7,232 ) => 227   (192,0,2,9,7,232)
227(192, 0,2,9,7,232) => 227 (192,0,2,9,7,232)
227	ok (192,0,2,9,7,232) => 227 ok (192,0,2,9,7,232)
229 (||6446|) => 229 (||6446|)
229 ok (||6446|) => 229   (|||6446|)
229 ( | | | 06446 | ) => 229        (|||6446|)
229(|||6446|) => 229(|||6446|)
229 (|2|2001:db8::1:1:1:1:1|6446|) => 229 (|2|2001:db8::1:1:1:1:1|6446|)
",
    ) {
        let own = endpoint_of(&announcement(line));
        let rewritten = announcement(line).rewrite(line.as_bytes(), own).unwrap();
        let text = String::from_utf8(rewritten.line).unwrap();
        assert_eq!((text.as_str(), rewritten.delta), (expected, 0), "{line}");
        assert_eq!(announcement(line).delta_for(line.as_bytes(), own), Some(0));
    }
}

#[test]
fn a_reply_without_a_blank_behind_its_code_gets_one_with_another_endpoint() {
    for [line, endpoint, expected] in rows(
        "
227(10,0,0,11,19,137) => 10.0.0.1:5001 => 227 (10,0,0,1,19,137)
227(10,0,0,1,19,137) => 10.0.0.2:5001 => 227 (10,0,0,2,19,137)
227=10,0,0,1,19,137 => 10.0.0.2:5001 => 227 (10,0,0,2,19,137)
227(10, 0, 0, 1, 19, 137). => 203.0.113.1:5001 => 227  (203,0,113,1,19,137).
",
    ) {
        assert_eq!(rewritten(line, endpoint).0, expected);
    }
}

#[test]
fn a_229_without_an_address_stays_without_one() {
    let line = "229 Entering Extended Passive Mode (|||6446|)";
    let expected = "229 Entering Extended Passive Mode (|||6447|)";
    assert_eq!(rewritten(line, "203.0.113.1:6447").0, expected);
    assert_eq!(rewritten(line, "[2001:db8::1]:6447").0, expected);
}

#[test]
fn port_and_227_have_no_ipv6_address() {
    let endpoint = "[2001:db8::1]:5001".parse().unwrap();
    for line in ["PORT 10,0,0,1,19,137", "227 (10,0,0,1,19,137)"] {
        assert_eq!(announcement(line).rewrite(line.as_bytes(), endpoint), None);
        assert_eq!(
            announcement(line).delta_for(line.as_bytes(), endpoint),
            None
        );
    }
    let mapped = "[::ffff:10.0.0.2]:5001".parse().unwrap();
    let line = "PORT 10,0,0,1,19,137";
    let rewritten = announcement(line).rewrite(line.as_bytes(), mapped).unwrap();
    assert_eq!(rewritten.line, b"PORT 10,0,0,2,19,137");
}

#[test]
fn the_token_is_the_part_of_the_line_with_the_endpoint() {
    for [line, token] in rows(
        "
PORT  10,0,0,1,19,137  => 10,0,0,1,19,137
EPRT |1|10.0.0.1|5001|  => |1|10.0.0.1|5001|
227 Mode 2 (10,0,0,1,19,137). => 10,0,0,1,19,137
229 ok (|||6446|) => |||6446|
",
    ) {
        assert_eq!(&line[announcement(line).token_range()], token);
    }
}

#[test]
fn an_accepted_line_with_its_own_endpoint_is_canonical_and_announces_the_same() {
    for [line, _] in rows(ACCEPTED) {
        let announcement = announcement(line);
        let rewritten = announcement
            .rewrite(line.as_bytes(), endpoint_of(&announcement))
            .unwrap();
        let again = announced(&rewritten.line).unwrap().unwrap();
        assert_eq!(
            (again.address, again.port),
            (announcement.address, announcement.port),
            "{line}"
        );
        let twice = again
            .rewrite(&rewritten.line, endpoint_of(&announcement))
            .unwrap();
        assert_eq!(twice.line, rewritten.line, "{line}");
    }
}

#[test]
fn all_spellings_of_a_line_leave_in_one_spelling() {
    for [line, expected] in rows(
        "
PORT	10, 0,	0 ,1,19,137 	 => PORT 10,0,0,1,19,137
PORT 010,000,0,1,0019,137 => PORT 10,0,0,1,19,137
EPRT | 1 | 10.0.0.1 | 5001 | => EPRT |1|10.0.0.1|5001|
EPRT |2|::ffff:10.0.0.1|5001| => EPRT |1|10.0.0.1|5001|
LPRT 4, 4,10,0,0,01,2,19,137 => LPRT 4,4,10,0,0,1,2,19,137
port 10,0,0,1,19,137 => PORT 10,0,0,1,19,137
  PoRt   10,0,0,1,19,137   => PORT 10,0,0,1,19,137
EPRT *1*10.0.0.1*5001* => EPRT |1|10.0.0.1|5001|
eprt |2|2001:DB8:0::1|5001| => EPRT |2|2001:db8::1|5001|
lprt 4,4,10,0,0,1,2,19,137 => LPRT 4,4,10,0,0,1,2,19,137
227 ok =10,0,0,1,19,137 => 227   (10,0,0,1,19,137)
227 ok <10,0,0,1,19,137> => 227 ok (10,0,0,1,19,137)
229 ok (!!!6446!) => 229 ok (|||6446|)
229 ok (!1!10.0.0.1!6446!) => 229 ok (|1|10.0.0.1|6446|)
",
    ) {
        let announcement = announcement(line);
        let own = endpoint_of(&announcement);
        let text = announcement.rewrite(line.as_bytes(), own).unwrap().line;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
