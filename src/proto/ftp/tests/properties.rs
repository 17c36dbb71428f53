//! Properties of all lines and endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn any_ipv4() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).into())
}

/// Addresses with runs of zeros, which their text abbreviates.
fn any_ipv6() -> impl Strategy<Value = IpAddr> {
    let group = prop_oneof![Just(0), any::<u16>()];
    proptest::array::uniform8(group).prop_map(|groups| Ipv6Addr::from(groups).into())
}

fn any_delimiter() -> impl Strategy<Value = char> {
    proptest::char::range('!', '~').prop_filter("not of an address", |c| {
        !c.is_ascii_hexdigit() && !matches!(c, '.' | ':')
    })
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec("[A-Za-z.:=é]{1,9}|[0-9]{1,3},?", 0..4).prop_map(|w| w.join(" "))
}

/// What stands around a number, and how many digits it has at least.
fn any_style() -> impl Strategy<Value = (String, String, usize)> {
    let blanks = || prop_oneof![4 => Just(String::new()), 1 => "[ \t]{1,3}"];
    (
        blanks(),
        blanks(),
        prop_oneof![4 => Just(1_usize), 1 => 1..6_usize],
    )
}

fn list(numbers: &[u8], (before, after, digits): &(String, String, usize)) -> String {
    let numbers = numbers.iter().map(|number| format!("{number:0digits$}"));
    numbers
        .collect::<Vec<_>>()
        .join(&format!("{before},{after}"))
}

fn host_port(address: IpAddr, port: u16, style: &(String, String, usize)) -> String {
    let octets = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => unreachable!("the form has no such address"),
    };
    list(&[&octets[..], &port.to_be_bytes()].concat(), style)
}

fn long_host_port(address: IpAddr, port: u16, style: &(String, String, usize)) -> String {
    let (family, octets) = match address {
        IpAddr::V4(address) => (4, address.octets().to_vec()),
        IpAddr::V6(address) => (6, address.octets().to_vec()),
    };
    let start = [family, octets.len() as u8];
    let port = port.to_be_bytes();
    list(&[&start[..], &octets, &[2], &port].concat(), style)
}

fn fields(d: char, address: IpAddr, port: u16, style: &(String, String, usize)) -> String {
    let family = if address.is_ipv4() { 1 } else { 2 };
    let (b, a, _) = style;
    format!("{d}{b}{family}{a}{d}{address}{b}{d}{a}{port}{d}")
}

/// A line that announces, spelled without the code under test, and its address and port.
fn any_announcement() -> impl Strategy<Value = (String, Option<IpAddr>, u16)> {
    let address = prop_oneof![any_ipv4(), any_ipv6()];
    let delimiters = (any_delimiter(), any_delimiter());
    let parts = (
        0..8,
        any_ipv4(),
        address,
        1..=u16::MAX,
        delimiters,
        (any_text(), any_text()),
        any_style(),
    );
    parts.prop_map(|(form, v4, any, port, (d, e), (head, tail), style)| {
        let (four, long) = (
            host_port(v4, port, &style),
            long_host_port(any, port, &style),
        );
        let (line, address) = match form {
            0 => (format!("PORT {four}"), Some(v4)),
            1 => (format!("EPRT {}", fields(d, any, port, &style)), Some(any)),
            2 => (format!("LPRT {long}"), Some(any)),
            3 => (format!("227 {head} ({four}){tail}"), Some(v4)),
            4 => (format!("228 {head} ({long}){tail}"), Some(any)),
            5 => {
                // A letter between words and an address is not recognised as a delimiter.
                let is_fit = !e.is_ascii_alphabetic() && e != '(';
                let fields = fields(if is_fit { e } else { '|' }, any, port, &style);
                (format!("229 {head} ({fields}){tail}"), Some(any))
            }
            6 => (format!("227 {head}. {four} {tail}"), Some(v4)),
            _ => {
                let (before, after, digits) = &style;
                let port = format!("{before}{port:0digits$}{after}");
                (format!("229 {head} ({d}{d}{d}{port}{d}){tail}"), None)
            }
        };
        (line, address, port)
    })
}

fn any_endpoint() -> impl Strategy<Value = SocketAddr> {
    let address = prop_oneof![any_ipv4(), any_ipv6()];
    (address, 1..=u16::MAX).prop_map(SocketAddr::from)
}

/// Bytes that look like lines, with the characters of the grammar and others.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "PORT |EPRT |LPRT |227 |228 |229 |EPSV |port ".prop_map(String::into_bytes),
        "[0-9]{1,4},?|\\|[12]?\\|?|\\(|\\)|4,4,|6,16,| |\t|\r".prop_map(String::into_bytes),
        "10,0,0,1,4,1|\\(\\|\\|\\|5001\\|\\)|10\\.0\\.0\\.1|::1".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..3),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_endpoint_that_a_line_spells_is_read((line, address, port) in any_announcement()) {
        let announcement = announcement(&line);
        prop_assert_eq!(announcement.address, address);
        prop_assert_eq!(announcement.port.get(), port);
    }

    #[test]
    fn there_is_one_canonical_line_and_spelling_it_again_changes_nothing(
        (line, _, _) in any_announcement(),
    ) {
        let endpoint = endpoint_of(&announcement(&line));
        let canonical = announcement(&line).rewrite(line.as_bytes(), endpoint).unwrap().line;
        let again = announced(&canonical).unwrap().unwrap();
        prop_assert_eq!(endpoint_of(&again), endpoint);
        let twice = again.rewrite(&canonical, endpoint).unwrap();
        prop_assert_eq!(twice.line, canonical);
        prop_assert_eq!(twice.delta, 0);
    }

    #[test]
    fn a_rewritten_line_announces_the_new_endpoint(
        (line, address, _) in any_announcement(),
        endpoint in any_endpoint(),
    ) {
        let original = announcement(&line);
        let Some(rewritten) = original.rewrite(line.as_bytes(), endpoint) else {
            prop_assert!(matches!(original.kind, AnnouncementKind::Port | AnnouncementKind::Pasv));
            prop_assert!(endpoint.is_ipv6());
            return Ok(());
        };
        let again = announced(&rewritten.line).unwrap().unwrap();
        prop_assert_eq!(again.kind, original.kind);
        prop_assert_eq!(again.port.get(), endpoint.port());
        let named = address.map(|_| endpoint.ip());
        // PORT and 227 have an IPv4-mapped address in its IPv4 form.
        prop_assert_eq!(again.address.map(|a| a.to_canonical()), named.map(|a| a.to_canonical()));
        let growth = rewritten.line.len() as i64 - line.len() as i64;
        prop_assert_eq!(i64::from(rewritten.delta), growth);
        prop_assert_eq!(original.delta_for(line.as_bytes(), endpoint), Some(rewritten.delta));
    }

    #[test]
    fn a_reply_never_becomes_shorter(
        (line, _, _) in any_announcement(),
        endpoint in any_endpoint(),
    ) {
        let original = announcement(&line);
        let delta = original.delta_for(line.as_bytes(), endpoint).unwrap_or(0);
        prop_assert!(original.kind.announcer() == Role::Client || delta >= 0);
    }

    #[test]
    fn each_prefix_of_an_announcement_could_announce(
        (line, _, _) in any_announcement(),
    ) {
        let role = announcement(&line).kind.announcer();
        for length in 0..=line.len() {
            prop_assert!(could_announce(role, &line.as_bytes()[..length]));
        }
    }

    #[test]
    fn each_prefix_of_a_random_announcement_could_announce(line in any_line()) {
        if let Some(Ok(announcement)) = announced(&line) {
            let role = announcement.kind.announcer();
            for length in 0..=line.len() {
                prop_assert!(could_announce(role, &line[..length]), "{length}");
            }
        }
    }

    #[test]
    fn a_line_that_cannot_announce_never_can_unless_another_command_begins(
        line in any_line(),
    ) {
        for role in [Role::Client, Role::Server] {
            let could = |length: usize| could_announce(role, &line[..length]);
            for (length, byte) in (1..).zip(&line) {
                let begins = role == Role::Client && matches!(byte, b'\r' | 0);
                prop_assert!(begins || could(length - 1) || !could(length), "{length}");
            }
        }
    }

    #[test]
    fn nothing_panics_and_a_rewritten_random_line_can_be_read(
        line in any_line(),
        other in any_line(),
        endpoint in any_endpoint(),
    ) {
        let _ = ReplyLine::parse(&line);
        if let Some(Ok(announcement)) = announced(&line) {
            if let Some(rewritten) = announcement.rewrite(&line, endpoint) {
                let again = announced(&rewritten.line).unwrap();
                prop_assert_eq!(again.unwrap().port.get(), endpoint.port());
            }
            // A line from which it was not parsed is a mistake of the caller, and no panic.
            let _ = announcement.rewrite(&other, endpoint);
            let _ = announcement.delta_for(&other, endpoint);
        }
    }
}
