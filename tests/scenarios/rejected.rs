//! An announcement is withdrawn when the server rejects it, or when the client gives it up.

use crate::{
    harness::{
        dialogue::{Turn, client, server},
        topology::Topology,
    },
    play::{play_open, withdrawals},
};

fn withdrawn_by(turns: &[Turn]) -> Vec<&'static str> {
    let announced = [client("PORT 10,0,0,2,19,137"), server("200 ok")];
    withdrawals(&play_open(
        Topology::Routed,
        &[&announced[..], turns].concat(),
    ))
}

#[test]
fn a_rejected_announcement_is_withdrawn() {
    let turns = [client("PORT 10,0,0,2,19,137"), server("500 no")];
    let link = play_open(Topology::Routed, &turns);
    assert_eq!(withdrawals(&link), ["rejected"]);
}

#[test]
fn a_rejected_transfer_withdraws_its_announcement() {
    assert_eq!(
        withdrawn_by(&[client("RETR x"), server("550 no")]),
        ["rejected"]
    );
}

#[test]
fn abor_rein_and_quit_withdraw() {
    for command in ["ABOR", "REIN", "QUIT"] {
        assert_eq!(
            withdrawn_by(&[client(command), server("226 ok")]),
            ["abandoned"]
        );
    }
}

#[test]
fn another_rejected_command_withdraws_nothing() {
    assert_eq!(
        withdrawn_by(&[client("SIZE x"), server("550 no")]),
        Vec::<&str>::new()
    );
}
