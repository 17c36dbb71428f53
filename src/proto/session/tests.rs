//! The meaning of the lines of a dialogue.

use super::*;

/// The meaning of each line of a dialogue. Lines of the client begin with `>`.
fn findings(session: &mut Session, dialogue: &[&str]) -> Vec<Finding> {
    dialogue
        .iter()
        .map(|line| match line.strip_prefix("> ") {
            Some(command) => session.handle_command(command.as_bytes(), true),
            None => session.handle_reply(line.as_bytes(), true),
        })
        .collect()
}

/// The meaning of the last line of a dialogue.
fn last(dialogue: &[&str]) -> Finding {
    findings(&mut Session::greeted(), dialogue).pop().unwrap()
}

/// The refusal of an announcement; `Ok` where it is not refused, and `Err(None)` for another
/// finding.
fn announced(finding: Finding) -> Result<(), Option<Refusal>> {
    let Finding::Announcement(found) = finding else {
        return Err(None);
    };
    found.refusal.map_or(Ok(()), |refusal| Err(Some(refusal)))
}

/// [`announced`] for the last line of a dialogue.
fn opens(dialogue: &[&str]) -> Result<(), Option<Refusal>> {
    announced(last(dialogue))
}

const PASSIVE: &str = "227 Entering Passive Mode (10,0,0,5,19,137)";
const UNSOLICITED: Result<(), Option<Refusal>> = Err(Some(Refusal::UnsolicitedReply));

#[test]
fn a_227_that_answers_pasv_announces() {
    assert_eq!(opens(&["220 hello", "> PASV", PASSIVE]), Ok(()));
}

#[test]
fn a_227_that_answers_anything_else_opens_nothing() {
    assert_eq!(opens(&["220 hello", PASSIVE]), UNSOLICITED);
    assert_eq!(opens(&["220 hello", "> NOOP", PASSIVE]), UNSOLICITED);
    assert_eq!(
        opens(&["220 hello", "> PASV", PASSIVE, PASSIVE]),
        UNSOLICITED
    );
}

#[test]
fn a_227_as_the_greeting_does_not_use_up_a_later_pasv() {
    assert_eq!(opens(&["> PASV", PASSIVE]), UNSOLICITED);
    assert_eq!(opens(&["> PASV", "220 hello", PASSIVE]), Ok(()));
}

#[test]
fn the_next_reply_of_a_server_that_answers_neither_the_transfer_nor_abor_is_understood() {
    let aborted = ["220 hello", "> RETR x", "150 here", "> ABOR"];
    for next in [
        &["> PASV", PASSIVE][..],
        &["> TYPE I", "200 ok", "> PASV", PASSIVE],
        &["226 aborted", "> PASV", PASSIVE],
        &["426 aborted", "226 ABOR done", "> PASV", PASSIVE],
    ] {
        assert_eq!(opens(&[&aborted[..], next].concat()), Ok(()), "{next:?}");
    }
    let unasked = [&aborted[..], &[PASSIVE]].concat();
    assert_eq!(opens(&unasked), UNSOLICITED);
}

#[test]
fn a_227_inside_a_multi_line_reply_is_text() {
    let listing = ["220 hello", "> PASV", "500-what", PASSIVE, "500 ever"];
    assert_eq!(opens(&listing[..4]), Err(None));
    assert_eq!(last(&listing), Finding::Withdraw(Withdrawal::Rejected));
}

/// A message of glftpd, which ends with the reply that says that the transfer begins.
const MESSAGE: [&str; 4] = ["> STOR x", "553-", "553- excluded", "150 here"];

#[test]
fn a_transfer_that_begins_ends_a_message_before_it() {
    let message = [&["220 hello"], &MESSAGE[..]].concat();
    let after = |more| [&message[..], more].concat();
    assert_eq!(opens(&after(&["226 done", "> PASV", PASSIVE])), Ok(()));
    assert_eq!(last(&after(&["226 done"])), Finding::TransferDone);
    assert_eq!(opens(&after(&["> STAT", "211-x", PASSIVE])), Err(None));
}

#[test]
fn no_text_of_a_client_ends_a_reply_with_another_code() {
    for reply in [
        // A listing, whatever was asked for behind it.
        &["> STAT", "213-x", "213-y", "150 a"][..],
        &["> STAT", "> RETR x", "213-x", "213-y", "150 a"],
        &["> RETR x", "150 here", "> STAT", "213-x", "213-y", "150 a"],
        &["> RETR x", "> STAT", "550-x", "550-y", "150 a"],
        &["> CWD x", "550-x", "550-y", "150 a"],
        // The refusal of a transfer by a server that does not write the code before each line.
        &["> RETR x", "550-x", "150 a"],
        &["> RETR x", "550-x", "a file", "550-y", "150 a"],
        &["> RETR x", "550-x", "550-y", "226 a", "150 a"],
        &["> RETR x", "250-x", "250-y", "150 a"],
        &["> RETR x", "550-x", "550-y", "200 a"],
    ] {
        let dialogue = [&["220 hello"], reply, &["> PASV", PASSIVE]].concat();
        assert_eq!(opens(&dialogue), Err(None), "{reply:?}");
    }
    let ahead = [
        "220 hello",
        "> RETR x",
        "> PASV",
        "550-x",
        "550-y",
        "150 a",
        PASSIVE,
    ];
    assert_eq!(opens(&ahead), UNSOLICITED);
}

#[test]
fn a_reply_without_an_end_is_told_once() {
    let mut session = Session::greeted();
    findings(&mut session, &["220 hello", "> HELP", "214-x"]);
    let told: Vec<_> = (0..10)
        .filter_map(|_| {
            session.handle_command(b"NOOP", true);
            session.take_endless_reply()
        })
        .collect();
    assert_eq!(told, [214]);
}

#[test]
fn a_multi_line_227_announces_by_its_last_line() {
    assert_eq!(opens(&["220 hello", "> PASV", "227-wait", PASSIVE]), Ok(()));
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    assert_eq!(
        opens(&["220 hello", "> NOOP", "> PASV", "200 ok", PASSIVE]),
        Ok(())
    );
    assert_eq!(
        opens(&["220 hello", "> PASV", PASSIVE, "> NOOP", "200 ok", PASSIVE]),
        UNSOLICITED
    );
}

#[test]
fn preliminary_replies_do_not_answer() {
    assert_eq!(opens(&["120 soon", "220 hello", "> PASV", PASSIVE]), Ok(()));
    assert_eq!(
        opens(&[
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
    let after = |more: &[&str]| opens(&[&promise[..], more].concat());
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
        opens(&[
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
    for (command, answer, finding) in [
        ("> AUTH TLS", "234 go on", Finding::Opaque),
        ("> AUTH TLS", "504 no", Finding::Nothing),
        ("> NOOP", "234 go on", Finding::Nothing),
    ] {
        assert_eq!(last(&["220 hello", command, answer]), finding, "{answer}");
    }
}

#[test]
fn a_rejected_announcement_or_transfer_is_withdrawn() {
    let rejected = Finding::Withdraw(Withdrawal::Rejected);
    for (command, finding) in [
        ("> PORT 10,0,0,2,19,137", rejected.clone()),
        ("> RETR x", rejected),
        ("> SIZE x", Finding::Nothing),
    ] {
        assert_eq!(
            last(&["220 hello", command, "550 no"]),
            finding,
            "{command}"
        );
    }
}

#[test]
fn abor_rein_and_quit_withdraw() {
    for command in ["> ABOR", "> REIN", "> QUIT"] {
        let abandoned = Finding::Withdraw(Withdrawal::Abandoned);
        assert_eq!(last(&["220 hello", command]), abandoned, "{command}");
    }
}

#[test]
fn a_flood_of_commands_costs_bounded_memory_and_opens_nothing_until_answered() {
    let mut session = Session::greeted();
    for _ in 0..100_000 {
        session.handle_command(b"PASV", true);
    }
    assert!(session.heap_bytes() <= 2 * OUTSTANDING_MAX * size_of::<Owed>());
    session.handle_reply(b"220 hello", true);
    for _ in 1..OUTSTANDING_MAX {
        let found = session.handle_reply(PASSIVE.as_bytes(), true);
        assert_eq!(announced(found), Ok(()));
    }
    let beyond = session.handle_reply(PASSIVE.as_bytes(), true);
    assert_eq!(announced(beyond), UNSOLICITED);
}

#[test]
fn an_incomplete_line_announces_nothing() {
    let mut session = Session::greeted();
    let found = session.handle_command(b"PORT 10,0,0,2,19,137", false);
    assert_eq!(announced(found), Err(Some(Refusal::Malformed)));
}

#[test]
fn only_the_rejection_of_port_withdraws_it() {
    let port = "> PORT 10,0,0,2,19,137";
    let rejected = Finding::Withdraw(Withdrawal::Rejected);
    for (dialogue, finding) in [
        (&["220 hello", port, "200 ok"][..], Finding::Nothing),
        (&["220 hello", "> NOOP", port, "500 no"], Finding::Nothing),
        (&["220 hello", port, "120 wait"], Finding::Nothing),
        (&["220 hello", port, "331 what"], rejected.clone()),
        (&["220 hello", port, "500 no"], rejected),
    ] {
        assert_eq!(last(dialogue), finding, "{dialogue:?}");
    }
}

#[test]
fn one_reply_may_answer_the_transfer_and_abor() {
    let aborted = ["220 hello", "> RETR x", "150 here", "> ABOR", "226 aborted"];
    let after = |more: &[&str]| last(&[&aborted[..], more].concat());
    let next = ["> PORT 10,0,0,2,19,137", "200 ok", "> RETR y", "226 done"];
    assert_eq!(after(&next), Finding::TransferDone);
    let answered = [&["225 no transfer"], &next[..]].concat();
    assert_eq!(after(&answered), Finding::TransferDone);
    assert_eq!(
        opens(&[&aborted[..], &["> PASV", PASSIVE]].concat()),
        Ok(())
    );
}

#[test]
fn an_announcement_beyond_the_tracked_replies_is_refused() {
    let mut session = Session::greeted();
    for _ in 0..OUTSTANDING_MAX {
        session.handle_command(b"NOOP", true);
    }
    let port = |session: &mut Session| session.handle_command(b"PORT 10,0,0,2,19,137", true);
    let refused = Err(Some(Refusal::TooManyUnanswered));
    assert_eq!(announced(port(&mut session)), refused);
    for _ in 0..OUTSTANDING_MAX + 2 {
        session.handle_reply(b"200 ok", true);
    }
    assert_eq!(announced(port(&mut session)), Ok(()));
}

/// A session whose user is logged in, and a transfer of it that has begun.
const TRANSFER: [&str; 6] = [
    "220 hello",
    "> USER ann",
    "331 and?",
    "> PASS x",
    "230 in",
    "> RETR x",
];

fn opens_after_transfer(more: &[&str]) -> Result<(), Option<Refusal>> {
    opens(&[&TRANSFER[..], &["150 here"], more].concat())
}

#[test]
fn each_passive_command_may_be_answered_with_each_announcing_code() {
    for (command, answer) in [
        ("> EPSV", PASSIVE),
        ("> PASV", "229 ok (|||5001|)"),
        ("> LPSV", PASSIVE),
        ("> PASV", "228 ok (4,4,10,0,0,5,2,19,137)"),
    ] {
        assert_eq!(opens(&["220 hello", command, answer]), Ok(()), "{command}");
    }
}

#[test]
fn answers_that_never_come_shift_none() {
    for unanswered in [
        &["> NOOP", "> NOOP", "226 done"][..],
        &["226 done", "> "],
        &["> STAT", "226 done"],
        &[],
        &["226 done", "> SITE x", "120 only"],
    ] {
        let passive = [unanswered, &["> PASV", PASSIVE]].concat();
        assert_eq!(opens_after_transfer(&passive), Ok(()), "{unanswered:?}");
        let port = ["> PORT 10,0,0,2,19,137", "200 ok", "> RETR y", "150 here"];
        let dialogue = [&TRANSFER[..], &["150 here"], unanswered, &port].concat();
        let done = [&dialogue[..], &["226 done"]].concat();
        assert_eq!(last(&done), Finding::TransferDone, "{unanswered:?}");
        let rejected = [&dialogue[..], &["426 broken"]].concat();
        assert_eq!(last(&rejected), Finding::Withdraw(Withdrawal::Rejected));
    }
}

#[test]
fn answers_that_come_twice_or_late_shift_none() {
    for surplus in [
        &["226 done", "226 done"][..],
        &["> NOOP", "226 done", "200 ok", "200 ok"],
        &["> NOOP", "200 ok", "226 done"],
        &["226 done", "> CWD a", "200 ok", "250 ok"],
        &["> ABOR", "502 what", "426 aborted", "226 done"],
        &["226 done", "> CWD a", "200 ok", "> PASV", "250 ok"],
        &["> PASV", "226 done"],
    ] {
        let mut dialogue = surplus.to_vec();
        if !surplus.contains(&"> PASV") {
            dialogue.push("> PASV");
        }
        dialogue.push(PASSIVE);
        assert_eq!(opens_after_transfer(&dialogue), Ok(()), "{surplus:?}");
    }
}

#[test]
fn a_noop_within_a_transfer_does_not_end_it() {
    let answered = [&TRANSFER[..], &["150 here", "> NOOP", "200 ok"]].concat();
    assert_eq!(last(&answered), Finding::Nothing);
    let done = [&answered[..], &["226 done"]].concat();
    assert_eq!(last(&done), Finding::TransferDone);
}

#[test]
fn what_is_asked_for_in_a_transfer_without_end_leaves_room() {
    let mut session = Session::greeted();
    findings(&mut session, &[&TRANSFER[..], &["150 here"]].concat());
    for _ in 0..3 * OUTSTANDING_MAX {
        session.handle_command(b"NOOP", true);
    }
    findings(&mut session, &["226 done"]);
    let port = session.handle_command(b"PORT 10,0,0,2,19,137", true);
    assert_eq!(announced(port), Ok(()));
}

#[test]
fn an_empty_line_may_be_answered_or_not() {
    for answers in [&["500 what", PASSIVE][..], &[PASSIVE]] {
        let dialogue = [&["220 hello", "> ", "> PASV"], answers].concat();
        assert_eq!(opens(&dialogue), Ok(()), "{answers:?}");
    }
}

#[test]
fn a_refused_command_gets_its_own_answer() {
    let mut session = Session::greeted();
    findings(&mut session, &[&TRANSFER[..], &["150 here"]].concat());
    // The server does not answer the NOOP in the transfer.
    findings(&mut session, &["> NOOP", "226 done"]);
    let reason = Reason::Named("no-deletes".into());
    assert!(session.handle_refused(b"DELE x", reason.clone()));
    let found = session.handle_reply(b"200 ok", true);
    assert_eq!(found, Finding::Refusal(reason));
    assert!(!session.awaits_refusal());
}

#[test]
fn a_directory_whose_answer_does_not_come_is_told() {
    let mut session = Session::greeted();
    let dialogue = ["220 hello", "> CWD a", "> CWD b", "> PASV", PASSIVE];
    findings(&mut session, &dialogue);
    assert_eq!(session.take_lost_directories(), 2);
    // The late answer of a NOOP is not taken for that of the next command, whose own tells nothing
    // either: which of the two is which is not certain.
    let late = [
        &TRANSFER[..],
        &["150 here", "> NOOP", "226 done", "> CWD a", "200 ok"],
    ]
    .concat();
    assert_eq!(last(&late), Finding::Nothing);
    let mut session = Session::greeted();
    let found = findings(&mut session, &[&late[..], &["550 no"]].concat());
    assert_eq!(found.last(), Some(&Finding::Nothing));
    assert_eq!(session.take_lost_directories(), 1);
}

#[test]
fn auth_is_accepted_with_any_success_of_its_own() {
    for (command, answer, finding) in [
        ("> AUTH TLS", "234 go", Finding::Opaque),
        ("> AUTH GSSAPI", "235 go", Finding::Opaque),
        ("> AUTH TLS", "200 go", Finding::MayBecomeOpaque),
        ("> AUTH SSL", "334 go", Finding::MayBecomeOpaque),
        ("> AUTH GSSAPI", "334 ADAT=", Finding::Nothing),
        ("> AUTH TLS", "504 no", Finding::Nothing),
    ] {
        assert_eq!(
            last(&["220 hello", command, answer]),
            finding,
            "{command} {answer}"
        );
    }
    let aborted = ["220 hello", "> RETR x", "150 here", "> ABOR", "> AUTH TLS"];
    let surplus = [&aborted[..], &["426 aborted", "226 aborted", "226 aborted"]].concat();
    assert_eq!(last(&surplus), Finding::Nothing);
}

/// Ways for a client to have a reply taken for that of the next command: its own does not come,
/// or comes later.
const SHIFTS: [&[&str]; 6] = [
    // A server that answers nothing to these.
    &["> RETR x", "150 here", "> NOOP", "226 done"],
    &["> "],
    &["> \u{ff}\u{f1}"],
    &["> ABOR"],
    // One that answers during a transfer, or between its command and its begin.
    &["> RETR x", "150 here"],
    &["> RETR x"],
];

/// The line as bytes, each character one.
fn latin1(line: &str) -> Vec<u8> {
    line.chars().map(|c| c as u8).collect()
}

/// [`findings`] of a dialogue with bytes beyond ASCII.
fn latin1_findings(session: &mut Session, dialogue: &[&str]) -> Vec<Finding> {
    let told = |line: &&str| match line.strip_prefix("> ") {
        Some(command) => session.handle_command(&latin1(command), true),
        None => session.handle_reply(&latin1(line), true),
    };
    dialogue.iter().map(told).collect()
}

fn accepts_auth(found: &[Finding]) -> bool {
    let is_it = |it: &Finding| matches!(it, Finding::Opaque | Finding::MayBecomeOpaque);
    found.iter().any(is_it)
}

#[test]
fn no_shifted_answer_accepts_auth() {
    for shift in SHIFTS {
        for refusal in ["504 no", "530 no", "500 no"] {
            let more = [
                "> AUTH TLS",
                refusal,
                "> NOOP",
                "200 ok",
                "> NOOP",
                "230 ok",
            ];
            let dialogue = [&["220 hello"], shift, &more[..]].concat();
            let found = latin1_findings(&mut Session::greeted(), &dialogue);
            assert!(!accepts_auth(&found), "{dialogue:?}");
        }
    }
    let late = [
        "220 hello",
        "> RETR x",
        "150 here",
        "> NOOP",
        "> AUTH TLS",
        "226 done",
        "200 ok",
        "530 no",
    ];
    let found = findings(&mut Session::greeted(), &late);
    assert!(!accepts_auth(&found), "{found:?}");
    let behind_pasv = ["> PASV", "425 no", "> AUTH TLS", "504 no", "> NOOP", "200"];
    let found = findings(
        &mut Session::greeted(),
        &[&["220 hello"], &behind_pasv[..]].concat(),
    );
    assert!(!accepts_auth(&found), "{found:?}");
}

#[test]
fn auth_that_is_certain_is_accepted_behind_what_is_not_answered() {
    for shift in SHIFTS.iter().take(4) {
        let dialogue = [&["220 hello"], *shift, &["> AUTH TLS", "234 go"]].concat();
        let found = latin1_findings(&mut Session::greeted(), &dialogue);
        assert_eq!(found.last(), Some(&Finding::Opaque), "{dialogue:?}");
    }
}

#[test]
fn no_shifted_answer_changes_the_directory() {
    let changes = ["> CWD secret", "250 ok", "> CWD missing", "550 no"];
    let more = ["> NOOP", "200 ok", "> DELE x", "250 ok", "> CWD gone"];
    let last = ["550 no", "> NOOP", "200 ok"];
    for shift in SHIFTS.iter().filter(|shift| shift[0] != "> ") {
        let dialogue = [&["220 hello"], *shift, &changes, &more, &last].concat();
        let mut session = Session::greeted();
        let found = latin1_findings(&mut session, &dialogue);
        let believed = |finding: &&Finding| matches!(finding, Finding::Directory(200..=299));
        let wrong = found.iter().skip(shift.len() + 3).find(believed);
        assert_eq!(wrong, None, "{dialogue:?}: {found:?}");
    }
}

#[test]
fn a_directory_is_not_taken_from_an_answer_that_comes_late() {
    let mut session = Session::greeted();
    let dialogue = [
        "220 hello",
        "> RETR x",
        "150 here",
        "> NOOP",
        "226 done",
        "> DELE x",
        "200 of NOOP",
        "> CWD missing",
        "250 of DELE",
        "550 of CWD",
    ];
    let found = findings(&mut session, &dialogue);
    assert!(!found.contains(&Finding::Directory(250)), "{found:?}");
    assert_eq!(session.take_lost_directories(), 1);
    // Once a command behind them has its own answer, all is as before.
    findings(&mut session, &["> PASV", PASSIVE]);
    let known = findings(&mut session, &["> CWD a", "250 ok"]);
    assert_eq!(known.last(), Some(&Finding::Directory(250)));
}

#[test]
fn a_directory_is_not_taken_from_an_answer_of_before_a_gap() {
    let mut session = Session::greeted();
    findings(&mut session, &["220 hello", "> DELE x"]);
    session.handle_gap();
    let found = findings(&mut session, &["> CWD missing", "250 of DELE", "550 no"]);
    assert!(!found.contains(&Finding::Directory(250)), "{found:?}");
    assert_eq!(session.take_lost_directories(), 1);
}
