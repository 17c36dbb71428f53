//! What a dialogue of commands and replies is found to mean.

use super::*;

/// What each line of a dialogue meant; lines of the client begin with `>`.
fn findings(session: &mut Session, dialogue: &[&str]) -> Vec<Finding> {
    dialogue
        .iter()
        .map(|line| match line.strip_prefix("> ") {
            Some(command) => session.handle_command(command.as_bytes(), true),
            None => session.handle_reply(line.as_bytes(), true),
        })
        .collect()
}

/// The last line's refusal; `Ok` where it is an announcement that nothing speaks against.
fn last(dialogue: &[&str]) -> Result<(), Option<Refusal>> {
    match findings(&mut Session::greeted(), dialogue).pop() {
        Some(Finding::Announcement(FoundAnnouncement { refusal: None, .. })) => Ok(()),
        Some(Finding::Announcement(found)) => Err(found.refusal),
        _ => Err(None),
    }
}

const PASSIVE: &str = "227 Entering Passive Mode (10,0,0,5,19,137)";
const UNSOLICITED: Result<(), Option<Refusal>> = Err(Some(Refusal::UnsolicitedReply));

#[test]
fn a_227_that_answers_pasv_announces() {
    assert_eq!(last(&["220 hello", "> PASV", PASSIVE]), Ok(()));
}

#[test]
fn a_227_that_answers_anything_else_opens_nothing() {
    assert_eq!(last(&["220 hello", PASSIVE]), UNSOLICITED);
    assert_eq!(last(&["220 hello", "> NOOP", PASSIVE]), UNSOLICITED);
    assert_eq!(last(&["220 hello", "> EPSV", PASSIVE]), UNSOLICITED);
    assert_eq!(
        last(&["220 hello", "> PASV", PASSIVE, PASSIVE]),
        UNSOLICITED
    );
}

#[test]
fn a_227_as_the_greeting_does_not_use_up_a_later_pasv() {
    assert_eq!(last(&["> PASV", PASSIVE]), UNSOLICITED);
    assert_eq!(last(&["> PASV", "220 hello", PASSIVE]), Ok(()));
}

#[test]
fn a_server_that_answers_neither_the_aborted_transfer_nor_abor_is_understood_at_its_next_answer() {
    let aborted = ["220 hello", "> RETR x", "150 here", "> ABOR"];
    for next in [
        &["> PASV", PASSIVE][..],
        &["> TYPE I", "200 ok", "> PASV", PASSIVE],
        &["226 aborted", "> PASV", PASSIVE],
        &["426 aborted", "226 ABOR done", "> PASV", PASSIVE],
    ] {
        assert_eq!(last(&[&aborted[..], next].concat()), Ok(()), "{next:?}");
    }
    let unasked = [&aborted[..], &[PASSIVE]].concat();
    assert_eq!(last(&unasked), UNSOLICITED);
}

#[test]
fn a_227_inside_a_multi_line_reply_is_text() {
    let listing = ["220 hello", "> PASV", "500-what", PASSIVE, "500 ever"];
    assert_eq!(last(&listing[..4]), Err(None));
    assert_eq!(
        findings(&mut Session::greeted(), &listing).pop(),
        Some(Finding::Withdraw(Withdrawal::Rejected))
    );
}

#[test]
fn a_multi_line_227_announces_by_its_last_line() {
    assert_eq!(last(&["220 hello", "> PASV", "227-wait", PASSIVE]), Ok(()));
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    assert_eq!(
        last(&["220 hello", "> NOOP", "> PASV", "200 ok", PASSIVE]),
        Ok(())
    );
    assert_eq!(
        last(&["220 hello", "> PASV", "> NOOP", "200 ok", PASSIVE]),
        UNSOLICITED
    );
}

#[test]
fn preliminary_replies_do_not_answer() {
    assert_eq!(last(&["120 soon", "220 hello", "> PASV", PASSIVE]), Ok(()));
    assert_eq!(
        last(&[
            "220 hello",
            "> RETR x",
            "> PASV",
            "150 here",
            "226 done",
            PASSIVE
        ]),
        Ok(())
    );
}

#[test]
fn after_epsv_all_only_epsv_announces() {
    let promise = ["220 hello", "> EPSV ALL", "200 ok"];
    let after = |more: &[&str]| last(&[&promise[..], more].concat());
    assert_eq!(
        after(&["> PORT 10,0,0,2,19,137"]),
        Err(Some(Refusal::AfterEpsvAll))
    );
    assert_eq!(
        after(&["> PASV", PASSIVE]),
        Err(Some(Refusal::AfterEpsvAll))
    );
    assert_eq!(after(&["> EPSV", "229 ok (|||5001|)"]), Ok(()));
    assert_eq!(
        last(&[
            "220 hello",
            "> EPSV ALL",
            "500 no",
            "> PORT 10,0,0,2,19,137"
        ]),
        Ok(())
    );
}

#[test]
fn an_accepted_auth_makes_the_connection_opaque() {
    let said = |answer| {
        findings(
            &mut Session::greeted(),
            &["220 hello", "> AUTH TLS", answer],
        )
        .pop()
    };
    assert_eq!(said("234 go on"), Some(Finding::Opaque));
    assert_eq!(said("504 no"), Some(Finding::Nothing));
    let unasked = findings(
        &mut Session::greeted(),
        &["220 hello", "> NOOP", "234 go on"],
    )
    .pop();
    assert_eq!(unasked, Some(Finding::Nothing));
}

#[test]
fn a_rejected_announcement_or_transfer_is_withdrawn() {
    let rejected = Some(Finding::Withdraw(Withdrawal::Rejected));
    let said = |dialogue: &[&str]| findings(&mut Session::greeted(), dialogue).pop();
    assert_eq!(
        said(&["220 hello", "> PORT 10,0,0,2,19,137", "500 no"]),
        rejected
    );
    assert_eq!(said(&["220 hello", "> RETR x", "550 no"]), rejected);
    assert_eq!(
        said(&["220 hello", "> SIZE x", "550 no"]),
        Some(Finding::Nothing)
    );
}

#[test]
fn leaving_withdraws() {
    for command in ["> ABOR", "> REIN", "> QUIT"] {
        let found = findings(&mut Session::greeted(), &["220 hello", command]).pop();
        assert_eq!(
            found,
            Some(Finding::Withdraw(Withdrawal::Abandoned)),
            "{command}"
        );
    }
}

#[test]
fn a_flood_of_commands_costs_bounded_memory_and_opens_nothing_until_answered() {
    let mut session = Session::greeted();
    for _ in 0..100_000 {
        session.handle_command(b"PASV", true);
    }
    assert!(session.heap_bytes() <= 2 * OUTSTANDING_MAX * size_of::<Outstanding>());
    session.handle_reply(b"220 hello", true);
    for _ in 1..OUTSTANDING_MAX {
        let found = session.handle_reply(PASSIVE.as_bytes(), true);
        assert!(matches!(
            found,
            Finding::Announcement(FoundAnnouncement { refusal: None, .. })
        ));
    }
    let beyond = session.handle_reply(PASSIVE.as_bytes(), true);
    assert!(matches!(
        beyond,
        Finding::Announcement(FoundAnnouncement {
            refusal: Some(_),
            ..
        })
    ));
}

#[test]
fn a_cut_line_announces_nothing() {
    let mut session = Session::greeted();
    let found = session.handle_command(b"PORT 10,0,0,2,19,137", false);
    assert!(matches!(
        found,
        Finding::Announcement(FoundAnnouncement {
            refusal: Some(Refusal::Malformed),
            ..
        })
    ));
}

#[test]
fn the_refusal_of_port_and_nothing_else_withdraws_it() {
    let said = |dialogue: &[&str]| findings(&mut Session::greeted(), dialogue).pop();
    let port = "> PORT 10,0,0,2,19,137";
    let rejected = Some(Finding::Withdraw(Withdrawal::Rejected));
    for (dialogue, finding) in [
        (&["220 hello", port, "200 ok"][..], Some(Finding::Nothing)),
        (
            &["220 hello", "> NOOP", port, "500 no"],
            Some(Finding::Nothing),
        ),
        (&["220 hello", port, "120 wait"], Some(Finding::Nothing)),
        (&["220 hello", port, "331 what"], rejected.clone()),
        (&["220 hello", port, "500 no"], rejected),
    ] {
        assert_eq!(said(dialogue), finding, "{dialogue:?}");
    }
}

#[test]
fn abor_may_be_answered_with_the_transfer_it_ends() {
    let aborted = ["220 hello", "> RETR x", "150 here", "> ABOR", "226 aborted"];
    let after = |more: &[&str]| findings(&mut Session::greeted(), &[&aborted[..], more].concat());
    let next = ["> PORT 10,0,0,2,19,137", "200 ok", "> RETR y", "226 done"];
    let done = Some(Finding::TransferDone);
    assert_eq!(after(&next).pop(), done);
    assert_eq!(
        after(&[&["225 no transfer"], &next[..]].concat()).pop(),
        done
    );
    assert_eq!(last(&[&aborted[..], &["> PASV", PASSIVE]].concat()), Ok(()));
}

#[test]
fn what_is_announced_beyond_the_answers_that_are_tracked_is_refused() {
    let mut session = Session::greeted();
    for _ in 0..OUTSTANDING_MAX {
        session.handle_command(b"NOOP", true);
    }
    let port = |session: &mut Session| session.handle_command(b"PORT 10,0,0,2,19,137", true);
    let refusal = Some(Refusal::TooManyUnanswered);
    assert!(matches!(
        port(&mut session),
        Finding::Announcement(FoundAnnouncement { refusal: found, .. }) if found == refusal
    ));
    for _ in 0..OUTSTANDING_MAX + 2 {
        session.handle_reply(b"200 ok", true);
    }
    assert!(matches!(
        port(&mut session),
        Finding::Announcement(FoundAnnouncement { refusal: None, .. })
    ));
}
