//! Whether the operator's firewall tracks the connections that bridges forward.
//!
//! A rule with a `ct` expression in a table of the family `bridge` switches connection tracking on
//! for every bridge of the network namespace (`nf_ct_netns_get`). Our own table must not be the one
//! that does so.

use super::{TableOwner, family, message};
use crate::{
    io::netlink::{Attributes, NetlinkError},
    proto::net::Layer,
    ruleset::TABLE,
};

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;

/// Whether a rule of family `bridge` looks at conntrack, in a table that is not ours.
///
/// # Errors
/// When nf_tables cannot be asked.
pub fn tracks_bridges(owner: &TableOwner) -> Result<bool, NetlinkError> {
    let mut found = false;
    owner.lock().socket.list(
        message(Layer::Bridged, libc::NFT_MSG_GETRULE),
        |_| {},
        |answer| {
            let attributes = answer.attributes();
            found |= answer.family() == Some(family(Layer::Bridged))
                && attributes.name(NFTA_RULE_TABLE) != Some(TABLE)
                && has_ct_expression(&attributes);
        },
    )?;
    Ok(found)
}

fn has_ct_expression(rule: &Attributes<'_>) -> bool {
    let expressions = rule.within(NFTA_RULE_EXPRESSIONS);
    expressions
        .into_iter()
        .flatten()
        .any(|(_, expression)| Attributes::new(expression).name(NFTA_EXPR_NAME) == Some("ct"))
}
