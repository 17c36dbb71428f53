//! Statements that test a packet, and the keys they look up.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnetwork::IpNetwork;
use nftnl::nftnl_sys::*;

use super::{
    HASH_JENKINS, INNER_HEADER, Lowering, ORIGINAL, REG, REG2, REPLY, TCP, address_length,
    key_registers, protocol,
};
use crate::{
    io::nftables::expression::{
        Expression,
        Value::{U32, U64},
    },
    proto::{net::Layer, packet::Flags},
    ruleset::{ControlPort, Family, FlagTest, KeySource, Label, LabelBit, SHARE_SEED, State},
};

/// Units of limits, in seconds.
const A_SECOND: u64 = 1;
const A_MINUTE: u64 = 60;

/// `nf_conntrack_common.h`
const IPS_CONFIRMED: u32 = 1 << 3;

/// `NFT_META_IIFKIND`
const META_IIFKIND: i32 = 26;

impl Lowering {
    pub(super) fn by_loopback(&mut self) {
        self.meta(libc::NFT_META_IIF);
        self.compare(libc::NFT_CMP_EQ, &1u32.to_ne_bytes());
    }

    pub(super) fn by_vrf(&mut self) {
        let mut kind = [0; libc::IFNAMSIZ];
        kind[..3].copy_from_slice(b"vrf");
        self.meta(META_IIFKIND);
        self.compare(libc::NFT_CMP_EQ, &kind);
    }

    pub(super) fn packet_priority(&mut self, priority: u32) {
        self.meta(libc::NFT_META_PRIORITY);
        self.compare(libc::NFT_CMP_EQ, &priority.to_ne_bytes());
    }

    pub(super) fn tcp(&mut self) {
        if !self.tests_tcp {
            self.tests_tcp = true;
            self.meta(libc::NFT_META_L4PROTO);
            self.compare(libc::NFT_CMP_EQ, TCP);
        }
    }

    pub(super) fn family(&mut self, family: Family) {
        if !self.tests_family {
            self.tests_family = true;
            match self.layer {
                Layer::Routed => {
                    self.meta(libc::NFT_META_NFPROTO);
                    self.compare(libc::NFT_CMP_EQ, &[protocol(family) as u8]);
                }
                // There the former is that of the hook.
                Layer::Bridged => {
                    self.meta(libc::NFT_META_PROTOCOL);
                    self.compare(libc::NFT_CMP_EQ, &ethernet_type(family).to_be_bytes());
                }
            }
        }
    }

    pub(super) fn state(&mut self, state: State) {
        // `NF_CT_STATE_INVALID_BIT`; `NF_CT_STATE_BIT` of the first of the two directions' values.
        let bits: u32 = match state {
            State::Established => 1 << 1,
            State::New => 1 << 3,
            State::Unknown => 1 << 0 | 1 << 3,
            // `NF_CT_STATE_UNTRACKED_BIT`
            State::Untracked => 1 << 6,
        };
        self.connection(libc::NFT_CT_STATE, REG, None);
        self.mask(&bits.to_ne_bytes(), &[0; 4]);
        self.compare(libc::NFT_CMP_NEQ, &[0; 4]);
    }

    pub(super) fn confirmed(&mut self) {
        self.connection(libc::NFT_CT_STATUS, REG, None);
        self.mask(&IPS_CONFIRMED.to_ne_bytes(), &[0; 4]);
        self.compare(libc::NFT_CMP_NEQ, &[0; 4]);
    }

    pub(super) fn connection_mark(&mut self, bits: u32) {
        self.connection(libc::NFT_CT_MARK, REG, None);
        self.mask(&bits.to_ne_bytes(), &[0; 4]);
        self.compare(libc::NFT_CMP_NEQ, &[0; 4]);
    }

    pub(super) fn label(&mut self, bit: LabelBit) {
        self.connection(libc::NFT_CT_LABELS, REG, None);
        self.mask(Label::from(bit).to_kernel(), Label::NONE.to_kernel());
        self.compare(libc::NFT_CMP_NEQ, Label::NONE.to_kernel());
    }

    pub(super) fn flags(&mut self, test: FlagTest) {
        self.tcp();
        self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, 13, 1, REG);
        let (of, operation, with) = match test {
            FlagTest::Any(flags) => (flags, libc::NFT_CMP_NEQ, Flags::empty()),
            FlagTest::None(flags) => (flags, libc::NFT_CMP_EQ, Flags::empty()),
            FlagTest::Exactly { set, of } => (of, libc::NFT_CMP_EQ, set),
        };
        self.mask(&[of.bits()], &[0]);
        self.compare(operation, &[with.bits()]);
    }

    pub(super) fn beyond(&mut self, rate: u32) {
        self.limit(A_SECOND, rate, libc::NFT_LIMIT_F_INV as u32);
    }

    pub(super) fn rarely(&mut self) {
        self.limit(A_MINUTE, 1, 0);
    }

    /// `rate` packets in each `unit` of seconds, as many at once.
    fn limit(&mut self, unit: u64, rate: u32, flags: u32) {
        self.push(Expression::new(
            c"limit",
            [
                (NFTNL_EXPR_LIMIT_RATE, U64(rate.into())),
                (NFTNL_EXPR_LIMIT_UNIT, U64(unit)),
                (NFTNL_EXPR_LIMIT_BURST, U32(rate)),
                (NFTNL_EXPR_LIMIT_TYPE, U32(libc::NFT_LIMIT_PKTS as u32)),
                (NFTNL_EXPR_LIMIT_FLAGS, U32(flags)),
            ],
        ));
    }

    pub(super) fn control_port(&mut self, port: ControlPort) {
        match port {
            ControlPort::Source => self.tcp_port(0),
            ControlPort::Destination => self.tcp_port(2),
            ControlPort::Dialled => {
                self.connection(libc::NFT_CT_PROTO_DST, REG, Some(ORIGINAL));
            }
            ControlPort::Listening => self.connection(libc::NFT_CT_PROTO_SRC, REG, Some(REPLY)),
        }
        self.look_up("control_ports", None);
    }

    fn tcp_port(&mut self, offset: u32) {
        self.tcp();
        self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, offset, 2, REG);
    }

    pub(super) fn share(&mut self, index: u16, of: u16) {
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

    /// nft reads no more octets than the prefix has, where it has whole octets.
    pub(super) fn in_network(&mut self, network: IpNetwork) {
        let family = KeySource::Network(network).family();
        self.family(family);
        let base = libc::NFT_PAYLOAD_NETWORK_HEADER as u32;
        let octets = octets_of(network.network());
        let whole = usize::from(network.prefix() / 8);
        if network.prefix().is_multiple_of(8) {
            self.payload(base, source_offset(family), whole as u32, REG);
            return self.compare(libc::NFT_CMP_EQ, &octets[..whole]);
        }
        self.payload(base, source_offset(family), address_length(family), REG);
        let mask = octets_of(network.mask());
        self.mask(&mask, &vec![0; mask.len()]);
        self.compare(libc::NFT_CMP_EQ, &octets);
    }

    /// Source, destination and destination port of the packet.
    pub(super) fn packet_key(&mut self, source: KeySource) {
        let family = source.family();
        self.family(family);
        self.tcp();
        let (length, base) = (
            address_length(family),
            libc::NFT_PAYLOAD_NETWORK_HEADER as u32,
        );
        self.payload(base, source_offset(family), length, REG);
        self.mask_source(source);
        let destination = source_offset(family) + length;
        self.payload(base, destination, length, key_registers(family)[0]);
        self.payload(
            libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32,
            2,
            2,
            key_registers(family)[1],
        );
    }

    /// Source and destination of the packet.
    pub(super) fn addresses(&mut self, family: Family) {
        self.family(family);
        let length = address_length(family);
        let source = source_offset(family);
        let network = libc::NFT_PAYLOAD_NETWORK_HEADER as u32;
        self.payload(network, source, length, REG);
        self.payload(network, source + length, length, key_registers(family)[0]);
    }

    /// The payload begins with one of these octets.
    pub(super) fn first_octet(&mut self, octets: RangeInclusive<u8>) {
        self.payload(INNER_HEADER, 0, 1, REG);
        self.compare(libc::NFT_CMP_GTE, &[*octets.start()]);
        self.compare(libc::NFT_CMP_LTE, &[*octets.end()]);
    }

    pub(super) fn destination_ports(&mut self, first: u16, last: u16) {
        self.tcp();
        self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, 2, 2, REG);
        if first == last {
            return self.compare(libc::NFT_CMP_EQ, &first.to_be_bytes());
        }
        self.compare(libc::NFT_CMP_GTE, &first.to_be_bytes());
        self.compare(libc::NFT_CMP_LTE, &last.to_be_bytes());
    }

    /// The same of the connection's first packet, before any NAT.
    pub(super) fn connection_key(&mut self, of: KeySource) {
        let family = of.family();
        let (source, destination) = match family {
            Family::Ipv4 => (libc::NFT_CT_SRC_IP, libc::NFT_CT_DST_IP),
            Family::Ipv6 => (libc::NFT_CT_SRC_IP6, libc::NFT_CT_DST_IP6),
        };
        let registers = key_registers(family);
        self.connection(source, REG, Some(ORIGINAL));
        self.mask_source(of);
        self.connection(destination, registers[0], Some(ORIGINAL));
        self.connection(libc::NFT_CT_PROTO_DST, registers[1], Some(ORIGINAL));
    }

    fn mask_source(&mut self, source: KeySource) {
        if let Some(mask) = source.mask().map(octets_of) {
            self.mask(&mask, &vec![0; mask.len()]);
        }
    }
}

/// Where the source address is in the network header.
const fn source_offset(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 12,
        Family::Ipv6 => 8,
    }
}

fn octets_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

const fn ethernet_type(family: Family) -> u16 {
    match family {
        Family::Ipv4 => libc::ETH_P_IP as u16,
        Family::Ipv6 => libc::ETH_P_IPV6 as u16,
    }
}
