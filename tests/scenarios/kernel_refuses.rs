//! The kernel refuses a request, and the announcement is refused.

use ftp_alg::proto::{expect::ExpectError, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, heard_by, session},
};

const LINE: &str = "PORT 10,0,0,2,4,5";

fn play_after(spoil: impl FnOnce(&mut Link)) -> Link {
    let turns = session(&[
        client(LINE),
        server("200 nothing, as you wish.."),
        client("NOOP"),
        server("200 ok"),
    ]);
    let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::new(&turns));
    spoil(&mut link);
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    let nothing = format!("NOOP{}", " ".repeat(LINE.len() - 4));
    assert_eq!(
        heard_by(Role::Server, &link),
        format!("{nothing}\r\nNOOP\r\n")
    );
    let heard = heard_by(Role::Client, &link);
    assert!(heard.starts_with("550 Refused"), "{heard}");
    assert!(heard.ends_with("\r\n200 ok\r\n"), "{heard}");
    link
}

#[test]
fn without_an_expectation_the_announcement_is_refused() {
    for error in [ExpectError::TableFull, ExpectError::NoMemory] {
        let link = play_after(|link| link.kernel.expect_answers.push_back(Err(error)));
        assert_eq!(decisions(&link), [format!("PORT {}", error.as_str())]);
    }
}

#[test]
fn without_a_liberal_conntrack_the_announcement_is_refused() {
    let link = play_after(|link| link.kernel.refuses_liberal = true);
    assert_eq!(decisions(&link), ["PORT window_not_relaxed"]);
    assert!(link.kernel.expected.is_empty());
}
