//! Statements that do something to a packet, its connection, or a set.

use nftnl::nftnl_sys::*;

use super::{
    Lowering, NFQ_FLAG_BYPASS, NFT_OBJECT_CT_HELPER, REG, REG2, REG32, address_length, protocol,
};
use crate::{
    io::nftables::expression::{
        Expression,
        Value::{Data, Name, TargetData, U16, U32},
    },
    ruleset::{Family, HelperObject, KeySource, Label, LabelBit, SetKind},
};

impl Lowering {
    pub(super) fn change_connection_mark(&mut self, mask: u32, xor: u32) {
        self.connection(libc::NFT_CT_MARK, REG, None);
        self.mask(&mask.to_ne_bytes(), &xor.to_ne_bytes());
        self.set_connection(libc::NFT_CT_MARK);
    }

    pub(super) fn inherit_mark(&mut self, source: KeySource) {
        self.packet_key(source);
        self.look_up(SetKind::MasterMark(source.family()).name(), Some(REG));
        self.set_connection(libc::NFT_CT_MARK);
    }

    /// The kernel takes the value as a mask, too: no bit is cleared (`nft_ct_set_eval`).
    pub(super) fn set_label(&mut self, bit: LabelBit) {
        self.push(Expression::new(
            c"immediate",
            [
                (NFTNL_EXPR_IMM_DREG, U32(REG)),
                (
                    NFTNL_EXPR_IMM_DATA,
                    Data(Label::from(bit).to_kernel().to_vec()),
                ),
            ],
        ));
        self.set_connection(libc::NFT_CT_LABELS);
    }

    fn set_connection(&mut self, key: i32) {
        self.push(Expression::new(
            c"ct",
            [
                (NFTNL_EXPR_CT_KEY, U32(key as u32)),
                (NFTNL_EXPR_CT_SREG, U32(REG)),
            ],
        ));
    }

    pub(super) fn attach_helper(&mut self) {
        self.push(Expression::new(
            c"objref",
            [
                (NFTNL_EXPR_OBJREF_IMM_TYPE, U32(NFT_OBJECT_CT_HELPER)),
                (NFTNL_EXPR_OBJREF_IMM_NAME, Name(HelperObject::NAME)),
            ],
        ));
    }

    pub(super) fn translate_destination(&mut self, source: KeySource) {
        let family = source.family();
        self.packet_key(source);
        self.look_up(SetKind::Destination(family).name(), Some(REG));
        let port = match family {
            Family::Ipv4 => REG32[0],
            Family::Ipv6 => REG2,
        };
        self.nat(libc::NFT_NAT_DNAT, family, Some(port));
    }

    pub(super) fn translate_source(&mut self, source: KeySource) {
        let family = source.family();
        self.connection_key(source);
        self.look_up(SetKind::Source(family).name(), Some(REG));
        self.nat(libc::NFT_NAT_SNAT, family, None);
    }

    pub(super) fn keep(&mut self, kind: i32, family: Family) {
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

    pub(super) fn nat(&mut self, kind: i32, family: Family, port: Option<u32>) {
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

    pub(super) fn queue(&mut self, number: u16, bypass: bool) {
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
    pub(super) fn queue_through_xt(&mut self, number: u16, bypass: bool) {
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
