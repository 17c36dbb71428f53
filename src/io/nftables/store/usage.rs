//! Whether an expectation was used: the counter of its element says it.

use super::ExpectationStore;
use crate::{
    io::{
        netlink::Attributes,
        nftables::{
            element::{NFTA_LIST_ELEM, NFTA_SET_ELEM_LIST_ELEMENTS},
            mastered::{Master, MasteredExpectation},
            message,
        },
    },
    proto::{expect::Expectation, net::Tuple},
};

const NFTA_SET_ELEM_EXPRESSIONS: u16 = 11;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_PACKETS: u16 = 2;

impl ExpectationStore {
    /// Whether the first packet of a data connection that the control connection `master` has
    /// announced has come. `None` where the kernel does not tell.
    pub fn is_used(&mut self, expectation: &Expectation, master: Tuple) -> Option<bool> {
        let mut held = self.owner.lock();
        let mastered = MasteredExpectation {
            master: Master {
                layer: held.live.layer_of(expectation),
                ..Master::from(master)
            },
            expectation: *expectation,
            is_repeated: false,
        };
        let [permission, ..] = (self.elements)(&mastered)?;
        let permission = permission?;
        let found = held.socket.ask(
            message(permission.layer, libc::NFT_MSG_GETSETELEM),
            |buffer| permission.put_key(buffer),
            |answer| Some(packets_of(&answer.attributes())),
        );
        let packets = found.ok()??;
        packets.map(|packets| packets > 0)
    }
}

/// The packets that the one element of an answer has matched; `None` where it has no counter.
fn packets_of(attributes: &Attributes<'_>) -> Option<u64> {
    let elements = attributes.within(NFTA_SET_ELEM_LIST_ELEMENTS)?;
    let element = elements.within(NFTA_LIST_ELEM)?;
    let mut expressions = element.within(NFTA_SET_ELEM_EXPRESSIONS)?;
    let counter = expressions.find_map(|(_, expression)| {
        let expression = Attributes::new(expression);
        let is_counter = expression.name(NFTA_EXPR_NAME) == Some("counter");
        is_counter
            .then(|| expression.within(NFTA_EXPR_DATA))
            .flatten()
    })?;
    let packets = counter.find(NFTA_COUNTER_PACKETS)?.first_chunk()?;
    Some(u64::from_be_bytes(*packets))
}
