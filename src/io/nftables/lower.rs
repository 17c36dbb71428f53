//! What each statement of the ruleset is to the kernel: a list of expressions over registers.
//!
//! The lists are those that nft 1.0.6 makes of the statement's text (`nft --debug=netlink`), so
//! that `nft list` shows the loaded table as we print it. A test compares the two.

use nftnl::nftnl_sys::*;

use super::expression::{
    Expression,
    Value::{Data, Name, TargetData, U8, U16, U32},
};
use crate::ruleset::{
    ControlPort, Family, FlagTest, HelperObject, Rule, SHARE_SEED, SetKind, State, Statement,
    TcpFlags,
};

/// The first 16-octet register (`NFT_REG_1`); the others follow.
const REG: u32 = libc::NFT_REG_1 as u32;
/// The second and third 4-octet registers of that first one.
const REG32: [u32; 2] = [9, 10];
/// The second 4-octet register of the second one.
const REG2_32: u32 = 13;
const REG2: u32 = REG + 1;

/// `nf_tables.h`: keys and operations that the libc crate does not have.
const INNER_HEADER: u32 = 3;
const DYNSET_DELETE: u32 = 2;
const HASH_JENKINS: u32 = 0;
pub(super) const NFT_OBJECT_CT_HELPER: u32 = 3;
/// `xt_NFQUEUE.h`
const NFQ_FLAG_BYPASS: u16 = 1;

const TCP: &[u8] = &[libc::IPPROTO_TCP as u8];
const ORIGINAL: u8 = 0;
const REPLY: u8 = 1;

/// The expressions of a rule.
pub(super) fn lower(rule: &Rule) -> Vec<Expression> {
    let mut lowering = Lowering::default();
    for statement in &rule.statements {
        lowering.statement(statement);
    }
    lowering.expressions
}

/// The protocols a rule has already tested are not tested again.
#[derive(Default)]
struct Lowering {
    expressions: Vec<Expression>,
    tests_tcp: bool,
    tests_family: bool,
}

impl Lowering {
    fn statement(&mut self, statement: &Statement) {
        match *statement {
            Statement::FromLoopback => {
                self.meta(libc::NFT_META_IIF);
                self.compare(libc::NFT_CMP_EQ, &1u32.to_ne_bytes());
            }
            Statement::PacketMark(mark) => {
                self.meta(libc::NFT_META_MARK);
                self.compare(libc::NFT_CMP_EQ, &mark.to_ne_bytes());
            }
            Statement::Tcp => self.tcp(),
            Statement::State(state) => self.state(state),
            Statement::ConnectionMark { bits, set } => self.connection_mark(bits, set),
            Statement::Flags(test) => self.flags(test),
            Statement::HasPayload => {
                self.payload(INNER_HEADER, 0, 1, REG);
                self.compare(libc::NFT_CMP_GTE, &[0]);
                self.compare(libc::NFT_CMP_LTE, &[0xff]);
            }
            Statement::ControlPort(port) => self.control_port(port),
            Statement::Share { index, of } => self.share(index, of),
            Statement::Expected(family) => {
                self.packet_key(family);
                self.look_up(SetKind::Permission(family).name(), None);
            }
            Statement::Consume(family) => {
                self.packet_key(family);
                self.delete(SetKind::Permission(family).name(), None);
            }
            Statement::SetConnectionMark(bits) => self.set_connection_mark(bits),
            Statement::ForgetDestination | Statement::ForgetSource => self.forget(statement),
            Statement::TranslateDestination(family) => self.translate_destination(family),
            Statement::TranslateSource(family) => self.translate_source(family),
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
            Statement::Return => self.verdict(libc::NFT_RETURN, None),
            Statement::Jump(chain) => self.verdict(libc::NFT_JUMP, Some(chain)),
            Statement::Goto(chain) => self.verdict(libc::NFT_GOTO, Some(chain)),
        }
    }

    fn push(&mut self, expression: Expression) {
        self.expressions.push(expression);
    }

    fn meta(&mut self, key: i32) {
        self.push(Expression::new(
            c"meta",
            [
                (NFTNL_EXPR_META_KEY, U32(key as u32)),
                (NFTNL_EXPR_META_DREG, U32(REG)),
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

    fn delete(&mut self, set: &'static str, data: Option<u32>) {
        let mut expression = Expression::new(
            c"dynset",
            [
                (NFTNL_EXPR_DYNSET_SREG_KEY, U32(REG)),
                (NFTNL_EXPR_DYNSET_OP, U32(DYNSET_DELETE)),
                (NFTNL_EXPR_DYNSET_SET_NAME, Name(set)),
            ],
        );
        if let Some(register) = data {
            expression
                .attributes
                .push((NFTNL_EXPR_DYNSET_SREG_DATA, U32(register)));
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

/// Matches.
impl Lowering {
    fn tcp(&mut self) {
        if !self.tests_tcp {
            self.tests_tcp = true;
            self.meta(libc::NFT_META_L4PROTO);
            self.compare(libc::NFT_CMP_EQ, TCP);
        }
    }

    fn family(&mut self, family: Family) {
        if !self.tests_family {
            self.tests_family = true;
            self.meta(libc::NFT_META_NFPROTO);
            self.compare(libc::NFT_CMP_EQ, &[protocol(family) as u8]);
        }
    }

    fn state(&mut self, state: State) {
        // `NF_CT_STATE_BIT` of the first of the two directions' values.
        let bit: u32 = match state {
            State::Established => 1 << 1,
            State::New => 1 << 3,
        };
        self.connection(libc::NFT_CT_STATE, REG, None);
        self.mask(&bit.to_ne_bytes(), &[0; 4]);
        self.compare(libc::NFT_CMP_NEQ, &[0; 4]);
    }

    fn connection_mark(&mut self, bits: u32, set: bool) {
        self.connection(libc::NFT_CT_MARK, REG, None);
        self.mask(&bits.to_ne_bytes(), &[0; 4]);
        self.compare(
            if set {
                libc::NFT_CMP_NEQ
            } else {
                libc::NFT_CMP_EQ
            },
            &[0; 4],
        );
    }

    fn flags(&mut self, test: FlagTest) {
        self.tcp();
        self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, 13, 1, REG);
        let (TcpFlags(of), operation, TcpFlags(with)) = match test {
            FlagTest::Any(flags) => (flags, libc::NFT_CMP_NEQ, TcpFlags(0)),
            FlagTest::Exactly { set, of } => (of, libc::NFT_CMP_EQ, set),
        };
        self.mask(&[of], &[0]);
        self.compare(operation, &[with]);
    }

    fn control_port(&mut self, port: ControlPort) {
        let (key, direction) = match port {
            ControlPort::Dialled => (libc::NFT_CT_PROTO_DST, ORIGINAL),
            ControlPort::Listening => (libc::NFT_CT_PROTO_SRC, REPLY),
        };
        self.connection(key, REG, Some(direction));
        self.look_up("control_ports", None);
    }

    fn share(&mut self, index: u16, of: u16) {
        self.connection(libc::NFT_CT_PROTO_SRC, REG2, Some(ORIGINAL));
        self.push(Expression::new(
            c"hash",
            [
                (NFTNL_EXPR_HASH_SREG, U32(REG2)),
                (NFTNL_EXPR_HASH_DREG, U32(REG)),
                (NFTNL_EXPR_HASH_LEN, U32(2)),
                (NFTNL_EXPR_HASH_MODULUS, U32(of.into())),
                (NFTNL_EXPR_HASH_SEED, U32(SHARE_SEED)),
                (NFTNL_EXPR_HASH_TYPE, U32(HASH_JENKINS)),
            ],
        ));
        self.compare(libc::NFT_CMP_EQ, &u32::from(index).to_ne_bytes());
    }

    /// Source, destination and destination port of the packet.
    fn packet_key(&mut self, family: Family) {
        self.family(family);
        self.tcp();
        let (length, addresses) = (address_length(family), key_registers(family));
        let source = match family {
            Family::Ipv4 => 12,
            Family::Ipv6 => 8,
        };
        let network = libc::NFT_PAYLOAD_NETWORK_HEADER as u32;
        self.payload(network, source, length, REG);
        self.payload(network, source + length, length, addresses[0]);
        self.payload(
            libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32,
            2,
            2,
            addresses[1],
        );
    }

    /// The same of the connection's first packet, whatever NAT has done to this one.
    fn connection_key(&mut self, family: Family) {
        let (source, destination) = match family {
            Family::Ipv4 => (libc::NFT_CT_SRC_IP, libc::NFT_CT_DST_IP),
            Family::Ipv6 => (libc::NFT_CT_SRC_IP6, libc::NFT_CT_DST_IP6),
        };
        let registers = key_registers(family);
        self.connection(source, REG, Some(ORIGINAL));
        self.connection(destination, registers[0], Some(ORIGINAL));
        self.connection(libc::NFT_CT_PROTO_DST, registers[1], Some(ORIGINAL));
    }
}

/// Effects.
impl Lowering {
    fn set_connection_mark(&mut self, bits: u32) {
        self.connection(libc::NFT_CT_MARK, REG, None);
        self.mask(&(!bits).to_ne_bytes(), &bits.to_ne_bytes());
        self.push(Expression::new(
            c"ct",
            [
                (NFTNL_EXPR_CT_KEY, U32(libc::NFT_CT_MARK as u32)),
                (NFTNL_EXPR_CT_SREG, U32(REG)),
            ],
        ));
    }

    fn attach_helper(&mut self) {
        self.push(Expression::new(
            c"objref",
            [
                (NFTNL_EXPR_OBJREF_IMM_TYPE, U32(NFT_OBJECT_CT_HELPER)),
                (NFTNL_EXPR_OBJREF_IMM_NAME, Name(HelperObject::NAME)),
            ],
        ));
    }

    fn forget(&mut self, statement: &Statement) {
        self.connection_key(Family::Ipv4);
        self.immediate(REG2, &[0; 4]);
        if *statement == Statement::ForgetDestination {
            self.immediate(REG2_32, &[0; 2]);
            self.delete("dnat4", Some(REG2));
        } else {
            self.delete("snat4", Some(REG2));
        }
    }

    fn immediate(&mut self, register: u32, data: &[u8]) {
        self.push(Expression::new(
            c"immediate",
            [
                (NFTNL_EXPR_IMM_DREG, U32(register)),
                (NFTNL_EXPR_IMM_DATA, Data(data.to_vec())),
            ],
        ));
    }

    fn translate_destination(&mut self, family: Family) {
        self.packet_key(family);
        self.look_up(SetKind::Destination(family).name(), Some(REG));
        let port = match family {
            Family::Ipv4 => REG32[0],
            Family::Ipv6 => REG2,
        };
        self.nat(libc::NFT_NAT_DNAT, family, Some(port));
    }

    fn translate_source(&mut self, family: Family) {
        self.connection_key(family);
        self.look_up(SetKind::Source(family).name(), Some(REG));
        self.nat(libc::NFT_NAT_SNAT, family, None);
    }

    fn keep(&mut self, kind: i32, family: Family) {
        self.family(family);
        let length = address_length(family);
        let source = if family == Family::Ipv4 { 12 } else { 8 };
        let offset = if kind == libc::NFT_NAT_SNAT {
            source
        } else {
            source + length
        };
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER as u32, offset, length, REG);
        self.nat(kind, family, None);
    }

    fn nat(&mut self, kind: i32, family: Family, port: Option<u32>) {
        let mut expression = Expression::new(
            c"nat",
            [
                (NFTNL_EXPR_NAT_TYPE, U32(kind as u32)),
                (NFTNL_EXPR_NAT_FAMILY, U32(protocol(family) as u32)),
                (NFTNL_EXPR_NAT_REG_ADDR_MIN, U32(REG)),
            ],
        );
        if let Some(port) = port {
            expression
                .attributes
                .push((NFTNL_EXPR_NAT_REG_PROTO_MIN, U32(port)));
        }
        self.push(expression);
    }

    fn queue(&mut self, number: u16, bypass: bool) {
        let flags = if bypass {
            libc::NFT_QUEUE_FLAG_BYPASS as u16
        } else {
            0
        };
        self.push(Expression::new(
            c"queue",
            [
                (NFTNL_EXPR_QUEUE_NUM, U16(number)),
                (NFTNL_EXPR_QUEUE_TOTAL, U16(1)),
                (NFTNL_EXPR_QUEUE_FLAGS, U16(flags)),
            ],
        ));
    }

    /// `struct xt_NFQ_info_v3`: first queue, number of queues, flags, padding.
    fn queue_through_xt(&mut self, number: u16, bypass: bool) {
        let flags = if bypass { NFQ_FLAG_BYPASS } else { 0 };
        let mut data = [0; 8];
        for (field, value) in data.chunks_exact_mut(2).zip([number, 1, flags]) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
        self.push(Expression::new(
            c"target",
            [
                (NFTNL_EXPR_TG_NAME, Name("NFQUEUE")),
                (NFTNL_EXPR_TG_REV, U32(3)),
                (NFTNL_EXPR_TG_INFO, TargetData(data)),
            ],
        ));
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

/// Where the second and third part of a key go: each part begins where the one before ends.
const fn key_registers(family: Family) -> [u32; 2] {
    match family {
        Family::Ipv4 => REG32,
        Family::Ipv6 => [REG2, REG2 + 1],
    }
}
