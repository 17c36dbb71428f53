//! Another session, which its client has given up, expects the same connection already.

use ftp_alg::proto::expect::ExpectError;

use crate::{
    harness::{
        dialogue::{Script, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::decisions,
};

fn play_with(answers: &[Result<(), ExpectError>]) -> Link {
    let turns = after_login(&[client("PORT 10,0,0,2,19,137"), server("200 ok")]);
    let mut link = Link::of_script(Topology::Routed.tuples(0), &Script::new(&turns));
    link.kernel.expect_answers = answers.to_vec().into();
    link.run();
    link
}

#[test]
fn a_clash_is_cleared_and_asked_for_again() {
    let link = play_with(&[Err(ExpectError::Clash)]);
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn a_second_clash_is_refused() {
    let link = play_with(&[Err(ExpectError::Clash), Err(ExpectError::Clash)]);
    assert_eq!(decisions(&link), ["PORT expectation_clash"]);
}
