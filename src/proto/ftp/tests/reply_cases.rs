//! Lines of the server.

use super::*;

#[test]
fn a_reply_line_has_a_code_and_says_whether_more_follows() {
    for (line, expected) in [
        ("220 vsftpd 3.0.5", Some((220, true))),
        ("220-Welcome", Some((220, false))),
        ("220", Some((220, true))),
        ("220 ", Some((220, true))),
        ("220-", Some((220, false))),
        ("631 secret", Some((631, true))),
        ("100 x", Some((100, true))),
        ("699 x", Some((699, true))),
        ("220x", None),
        ("2201 x", None),
        (" 220 x", None),
        ("22 x", None),
        ("22", None),
        ("", None),
        ("020 x", None),
        ("720 x", None),
        ("2a0 x", None),
        ("220\tx", Some((220, true))),
        ("227(10,0,0,1,19,137)", Some((227, true))),
        ("227=10,0,0,1,19,137", Some((227, true))),
        ("229(|||6446|)", Some((229, true))),
        ("226(10,0,0,1,19,137)", None),
        ("227,10,0,0,1,19,137", None),
        ("227:10,0,0,1,19,137", None),
        ("HTTP/1.1 200 OK", None),
    ] {
        let expected = expected.map(|(code, last)| ReplyLine { code, last });
        assert_eq!(ReplyLine::parse(line.as_bytes()), expected, "{line}");
    }
    assert_eq!(
        ReplyLine::parse(b"\xff\xfc\x06226 Abort successful"),
        Some(ReplyLine {
            code: 226,
            last: true
        })
    );
}

#[test]
fn only_the_last_line_of_a_reply_announces() {
    let line = b"227-Entering Passive Mode (10,0,0,1,19,137)";
    assert_eq!(announced(line), None);
    assert_eq!(
        parse_announcing_reply(227, line),
        Err(Malformed::NotAnnouncing)
    );
}

#[test]
fn other_codes_announce_nothing() {
    let line = b"226 (10,0,0,1,19,137)";
    assert_eq!(
        parse_announcing_reply(226, line),
        Err(Malformed::NotAnnouncing)
    );
    assert_eq!(
        parse_announcing_reply(227, line),
        Err(Malformed::NotAnnouncing)
    );
}

#[test]
fn a_reply_that_two_clients_could_read_differently_is_refused() {
    for line in [
        "227 was (10,0,0,1,19,137) is (10,0,0,1,19,138)",
        "227 10,0,0,1,19,137 (10,0,0,1,19,138)",
        "227 (10,0,0,1,19,137) (10,0,0,1,19,137)",
        "227 (10,0,0,1,19,137)(1,2,3,4,5,6,7)",
        // Readers that skip signs before a number read other six numbers.
        "227 (9,+10,0,0,1,19,137)",
        "227 (9, -10,0,0,1,19,137)",
        "228 (4,4,10,0,0,1,2,19,137) (4,4,10,0,0,1,2,19,138)",
        "228 4, -4,4,10,0,0,1,2,19,137",
        "229 (|||6446|) (|||6447|)",
        "229 (|||6446|) (|||6446|)",
        "229 (!!!6446!) (|||6447|)",
        "229 (|1|10.0.0.1|6446|) (|||6446|)",
        "229 (   6446 ) (|||6447|)",
        "229 (||6446|) (|||6447|)",
        "229 (| | |6446|) (|||6447|)",
        "227 (10, 0,0,1,19,137) 10,0,0,1,19,138",
    ] {
        assert_eq!(
            announced(line.as_bytes()),
            Some(Err(Malformed::Ambiguous)),
            "{line}"
        );
    }
}

#[test]
fn a_list_of_numbers_that_is_too_short_is_part_of_the_words() {
    for line in [
        "227 1,2,3,4,5 (10,0,0,1,19,137)",
        "227 v2,3: (10,0,0,1,19,137), 1,2",
        "227 (10,0,0,1,19,137) 5,6,7,8,9",
    ] {
        assert_eq!(
            endpoint_of(&announcement(line)).to_string(),
            "10.0.0.1:5001",
            "{line}"
        );
    }
}

#[test]
fn a_seventh_number_spoils_a_host_port_with_blanks_around_it_or_without() {
    for line in [
        "227 (9,10,0,0,1,19,137)",
        "227 (9, 10,0,0,1,19,137)",
        "227 (9 ,10,0,0,1,19,137)",
        "227 (9,\t10,0,0,1,19,137)",
        "227 (10,0,0,1,19,137, 9)",
        "227 (10,0,0,1,19,137 ,9)",
        "227 (10,0,0,1,19,137\t, 9)",
        "228 (4,4,10,0,0,1,2,19,137, 9)",
    ] {
        let refused = announced(line.as_bytes());
        assert_eq!(refused, Some(Err(Malformed::FieldCount)), "{line}");
    }
}
