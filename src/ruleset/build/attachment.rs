//! Gives control connections our connection tracking helper (backend `conntrack`).

use super::chain_parts::{base, chain, filter, rule};
use crate::ruleset::{
    ControlPort, HelperObject, Params, Rule, State,
    Statement::{AttachHelper, ControlPort as ToControlPort, SetLabel, State as InState, Tcp},
    statement::Chain,
};

/// After all that is queued, by this table or by rules of iptables (-150). A first packet that was
/// queued with a helper of userspace is confirmed before its NAT is decided
/// (`nf_conntrack_update`).
const ATTACHMENT: i32 = -148;

pub(super) const HELPER_OBJECT: HelperObject = HelperObject {
    why: "the daemon's connection tracking helper, which it registers when it starts",
};

/// Gives each control connection the helper with its first packet, because no later packet can. The
/// port on which a server listens behind a port-forward shows only after destination NAT.
pub(super) fn chains() -> [Chain; 4] {
    let attach =
        |why, name, hook, port| base(why, name, filter(hook, ATTACHMENT), vec![attaching(port)]);
    let (dialled, listening) = (ControlPort::Dialled, ControlPort::Listening);
    [
        attach(
            "only a connection with a helper can have expectations",
            "attach_prerouting",
            "prerouting",
            dialled,
        ),
        attach("", "attach_output", "output", dialled),
        attach(
            "the same behind a port-forward from another port",
            "attach_input",
            "input",
            listening,
        ),
        attach("", "attach_postrouting", "postrouting", listening),
    ]
}

/// The same for connections that a bridge forwards. A bridge has no port-forward.
pub(super) fn bridge_chain() -> Chain {
    base(
        "only a connection with a helper can have expectations",
        "attach_forward",
        filter("forward", ATTACHMENT),
        vec![attaching(ControlPort::Dialled)],
    )
}

fn attaching(port: ControlPort) -> Rule {
    rule(
        "",
        [InState(State::New), Tcp, ToControlPort(port), AttachHelper],
    )
}

/// Conntrack gives an entry room for a label only while the network namespace has a rule that sets
/// one (`nf_connlabels_get`). The rule need never be reached.
pub(super) fn label_room(params: &Params) -> Chain {
    chain(
        "not called: with such a rule loaded, each new connection has room for our labels",
        "label_room",
        vec![rule("", [SetLabel(params.labels.adjust)])],
    )
}
