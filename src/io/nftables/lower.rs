//! Turns each statement of the ruleset into the kernel's form: a list of expressions over
//! registers.
//!
//! nft 1.0.6 makes the same lists of the text (`nft --debug=netlink`). So `nft list` shows the
//! loaded table as we print it, and a test compares the two.

mod effect;
mod matching;

use nftnl::nftnl_sys::*;

use super::expression::{
    Expression,
    Value::{Data, Name, U8, U32},
};
use crate::{
    proto::net::Layer,
    ruleset::{Family, Rule, SetKind, Statement, TEXT},
};

/// The first 16-octet register (`NFT_REG_1`); the others follow.
const REG: u32 = libc::NFT_REG_1 as u32;
/// The second and third 4-octet registers of that first one.
const REG32: [u32; 2] = [9, 10];
const REG2: u32 = REG + 1;

/// `nf_tables.h`: keys and operations that the libc crate does not have.
const INNER_HEADER: u32 = 3;
const HASH_JENKINS: u32 = 0;
pub(super) const NFT_OBJECT_CT_HELPER: u32 = 3;
/// `xt_NFQUEUE.h`
const NFQ_FLAG_BYPASS: u16 = 1;

const TCP: &[u8] = &[libc::IPPROTO_TCP as u8];
const ORIGINAL: u8 = 0;
const REPLY: u8 = 1;

/// The expressions of a rule in the table of a layer.
pub(super) fn lower(rule: &Rule, layer: Layer) -> Vec<Expression> {
    let mut lowering = Lowering {
        layer,
        ..Lowering::default()
    };
    for statement in &rule.statements {
        lowering.statement(statement);
    }
    lowering.expressions
}

/// A rule tests a protocol once.
#[derive(Default)]
struct Lowering {
    layer: Layer,
    expressions: Vec<Expression>,
    tests_tcp: bool,
    tests_family: bool,
}

impl Lowering {
    fn statement(&mut self, statement: &Statement) {
        match *statement {
            Statement::FromLoopback => self.by_loopback(),
            Statement::FromVrf => self.by_vrf(),
            Statement::PacketPriority(priority) => self.packet_priority(priority),
            Statement::Tcp => self.tcp(),
            Statement::State(state) => self.state(state),
            Statement::Confirmed => self.confirmed(),
            Statement::ConnectionMark(bits) => self.connection_mark(bits),
            Statement::Label(bit) => self.label(bit),
            Statement::Flags(test) => self.flags(test),
            Statement::Beyond(rate) => self.beyond(rate),
            Statement::Rarely => self.rarely(),
            Statement::HasPayload => self.first_octet(0..=0xff),
            Statement::BeginsAsText => self.first_octet(TEXT),
            Statement::ToPorts { first, last } => self.destination_ports(first, last),
            Statement::FromFtpsPair(family) => {
                self.addresses(family);
                self.look_up(SetKind::FtpsPairs(family).name(), None);
            }
            Statement::ControlPort(port) => self.control_port(port),
            Statement::Share { index, of } => self.share(index, of),
            Statement::FromNetwork(network) => self.in_network(network),
            Statement::Expected(source) => {
                self.packet_key(source);
                self.look_up(SetKind::Permission(source.family()).name(), None);
            }
            Statement::Spoofed(source) => {
                self.packet_key(source);
                self.meta_into(libc::NFT_META_IIF, link_register(source.family()));
                self.look_up(SetKind::Spoofed(source.family()).name(), None);
            }
            Statement::SetConnectionMark(bits) => self.change_connection_mark(!bits, bits),
            Statement::ClearConnectionMark(bits) => self.change_connection_mark(!bits, 0),
            Statement::InheritMark(source) => self.inherit_mark(source),
            Statement::SetLabel(bit) => self.set_label(bit),
            Statement::TranslateDestination(source) => self.translate_destination(source),
            Statement::TranslateSource(source) => self.translate_source(source),
            Statement::KeepDestination(family) => self.keep(libc::NFT_NAT_DNAT, family),
            Statement::KeepSource(family) => self.keep(libc::NFT_NAT_SNAT, family),
            Statement::Notrack => self.push(Expression::new(c"notrack", [])),
            Statement::AttachHelper => self.attach_helper(),
            Statement::Queue {
                number,
                bypass,
                through_xt: false,
            } => self.queue(number, bypass),
            Statement::Queue {
                number,
                bypass,
                through_xt: true,
            } => {
                self.queue_through_xt(number, bypass);
            }
            Statement::Drop => self.verdict(libc::NF_DROP, None),
            Statement::Return => self.verdict(libc::NFT_RETURN, None),
            Statement::Jump(chain) => self.verdict(libc::NFT_JUMP, Some(chain)),
            Statement::Goto(chain) => self.verdict(libc::NFT_GOTO, Some(chain)),
        }
    }

    fn push(&mut self, expression: Expression) {
        self.expressions.push(expression);
    }

    fn meta(&mut self, key: i32) {
        self.meta_into(key, REG);
    }

    fn meta_into(&mut self, key: i32, register: u32) {
        self.push(Expression::new(
            c"meta",
            [
                (NFTNL_EXPR_META_KEY, U32(key as u32)),
                (NFTNL_EXPR_META_DREG, U32(register)),
            ],
        ));
    }

    fn compare(&mut self, operation: i32, data: &[u8]) {
        self.push(Expression::new(
            c"cmp",
            [
                (NFTNL_EXPR_CMP_SREG, U32(REG)),
                (NFTNL_EXPR_CMP_OP, U32(operation as u32)),
                (NFTNL_EXPR_CMP_DATA, Data(data.to_vec())),
            ],
        ));
    }

    fn mask(&mut self, mask: &[u8], xor: &[u8]) {
        self.push(Expression::new(
            c"bitwise",
            [
                (NFTNL_EXPR_BITWISE_SREG, U32(REG)),
                (NFTNL_EXPR_BITWISE_DREG, U32(REG)),
                (NFTNL_EXPR_BITWISE_LEN, U32(mask.len() as u32)),
                (NFTNL_EXPR_BITWISE_MASK, Data(mask.to_vec())),
                (NFTNL_EXPR_BITWISE_XOR, Data(xor.to_vec())),
            ],
        ));
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32, register: u32) {
        self.push(Expression::new(
            c"payload",
            [
                (NFTNL_EXPR_PAYLOAD_DREG, U32(register)),
                (NFTNL_EXPR_PAYLOAD_BASE, U32(base)),
                (NFTNL_EXPR_PAYLOAD_OFFSET, U32(offset)),
                (NFTNL_EXPR_PAYLOAD_LEN, U32(length)),
            ],
        ));
    }

    fn connection(&mut self, key: i32, register: u32, direction: Option<u8>) {
        let mut expression = Expression::new(
            c"ct",
            [
                (NFTNL_EXPR_CT_KEY, U32(key as u32)),
                (NFTNL_EXPR_CT_DREG, U32(register)),
            ],
        );
        if let Some(direction) = direction {
            expression
                .attributes
                .push((NFTNL_EXPR_CT_DIR, U8(direction)));
        }
        self.push(expression);
    }

    fn look_up(&mut self, set: &'static str, into: Option<u32>) {
        let mut expression = Expression::new(
            c"lookup",
            [
                (NFTNL_EXPR_LOOKUP_SREG, U32(REG)),
                (NFTNL_EXPR_LOOKUP_SET, Name(set)),
            ],
        );
        if let Some(register) = into {
            expression
                .attributes
                .push((NFTNL_EXPR_LOOKUP_DREG, U32(register)));
        }
        self.push(expression);
    }

    fn verdict(&mut self, verdict: i32, chain: Option<&'static str>) {
        let mut expression = Expression::new(
            c"immediate",
            [
                (NFTNL_EXPR_IMM_DREG, U32(libc::NFT_REG_VERDICT as u32)),
                (NFTNL_EXPR_IMM_VERDICT, U32(verdict as u32)),
            ],
        );
        if let Some(chain) = chain {
            expression
                .attributes
                .push((NFTNL_EXPR_IMM_CHAIN, Name(chain)));
        }
        self.push(expression);
    }
}

const fn protocol(family: Family) -> i32 {
    match family {
        Family::Ipv4 => libc::NFPROTO_IPV4,
        Family::Ipv6 => libc::NFPROTO_IPV6,
    }
}

const fn address_length(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 16,
    }
}

/// Where the fourth part of a key goes, behind a port.
const fn link_register(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 11,
        // The second 4-octet register of the third 16-octet one.
        Family::Ipv6 => 17,
    }
}

/// Where the second and third part of a key go: each part begins where the one before ends.
const fn key_registers(family: Family) -> [u32; 2] {
    match family {
        Family::Ipv4 => REG32,
        Family::Ipv6 => [REG2, REG2 + 1],
    }
}
