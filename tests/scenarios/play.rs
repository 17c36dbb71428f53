//! Plays a dialogue over a topology, and reads the outcome.

use ftp_alg::proto::{
    event::{Decision, EventKind},
    ftp::Role,
};

use crate::harness::{
    dialogue::{Script, Turn, after_login, client, server},
    host::Host,
    link::Link,
    topology::Topology,
};

/// Plays a login, `turns` and QUIT. Both ends close.
pub(crate) fn play(topology: Topology, turns: &[Turn]) -> Link {
    let mut link = Link::of_script(topology.tuples(0), &Script::new(&session(turns)));
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

/// Plays a login and `turns`. The connection stays open.
pub(crate) fn play_open(topology: Topology, turns: &[Turn]) -> Link {
    let script = Script::open(&after_login(turns));
    let mut link = Link::of_script(topology.tuples(0), &script);
    link.run_while(|link| !link.hosts.iter().all(has_said_all));
    link.run_for(std::time::Duration::from_millis(3));
    link
}

/// A login, `turns` and QUIT.
pub(crate) fn session(turns: &[Turn]) -> Vec<Turn> {
    let mut all = after_login(turns);
    all.push(client("QUIT"));
    all.push(server("221 bye"));
    all
}

/// The text that an end received between the login and QUIT.
pub(crate) fn heard_by(role: Role, link: &Link) -> String {
    let (host, login, quit) = match role {
        Role::Client => (0, "220 hello\r\n331 and?\r\n230 welcome\r\n", "221 bye\r\n"),
        Role::Server => (1, "USER ann\r\nPASS secret\r\n", "QUIT\r\n"),
    };
    let text = String::from_utf8_lossy(&link.hosts[host].received);
    let text = text.strip_prefix(login).expect("the login");
    text.strip_suffix(quit).unwrap_or(text).to_owned()
}

/// Each announcement with its decision: `PORT expect`, `PASV unsolicited_reply`.
pub(crate) fn decisions(link: &Link) -> Vec<String> {
    let reports = link.kernel.events.iter().filter_map(|event| {
        let EventKind::Announcement(report) = &event.kind else {
            return None;
        };
        let decision = match report.decision {
            Decision::Expect { .. } => "expect",
            Decision::Refuse(refusal) => refusal.as_str(),
        };
        Some(format!("{} {decision}", report.kind.as_str()))
    });
    reports.collect()
}

/// The reasons of the withdrawn expectations.
pub(crate) fn withdrawals(link: &Link) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    for event in &link.kernel.events {
        if let EventKind::Withdrawn { reason, .. } = &event.kind {
            reasons.push(reason.as_str());
        }
    }
    reasons
}

fn has_said_all(host: &Host) -> bool {
    host.script.is_empty() && host.is_acknowledged()
}
