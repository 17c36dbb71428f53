//! Makes the entry of a connection that conntrack has forgotten.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{Conntrack, family_of, message, put_label, put_tuple_in, put_zone, wire::*};
use crate::{
    io::netlink::{MessageBuffer, NetlinkError, flags},
    proto::net::{ConntrackTuples, Direction, Zone},
    ruleset::{HELPER, LabelBit},
};

/// How long the entry lives unless a packet comes. The packet that shows that it is missing is
/// repeated by its sender before. The entry of a connection that is over soon goes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `IPS_SEEN_REPLY`, `IPS_ASSURED` and `IPS_CONFIRMED`: packets have passed in both directions.
const STATUS: u32 = 1 << 1 | 1 << 2 | 1 << 3;

/// `TCP_CONNTRACK_ESTABLISHED`
const ESTABLISHED: u8 = 3;

impl Conntrack {
    /// Makes an established entry with these tuples, which accepts sequence numbers outside the
    /// window and has this bit in its label; and our helper, if `is_helped`.
    ///
    /// # Errors
    /// When the kernel refuses; EEXIST where there is an entry with one of the tuples.
    pub fn create(
        &mut self,
        tuples: &ConntrackTuples,
        label: LabelBit,
        is_helped: bool,
    ) -> Result<(), NetlinkError> {
        let original = tuples.of(Direction::Original);
        let head = message(IPCTNL_MSG_CT_NEW, family_of(original.source.ip()));
        self.0
            .request(head.with(flags::CREATE | flags::EXCL), |buffer| {
                put_zoned_tuples(buffer, tuples);
                put_nat(buffer, tuples);
                buffer.put_u32(CTA_STATUS, STATUS);
                buffer.put_u32(CTA_TIMEOUT, TIMEOUT.as_secs() as u32);
                buffer.nest(CTA_PROTOINFO, |buffer| {
                    buffer.nest(CTA_PROTOINFO_TCP, |buffer| {
                        let liberal = [IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL];
                        buffer.put(CTA_PROTOINFO_TCP_STATE, &[ESTABLISHED]);
                        buffer.put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &liberal);
                        buffer.put(CTA_PROTOINFO_TCP_FLAGS_REPLY, &liberal);
                    });
                });
                if is_helped {
                    buffer.nest(CTA_HELP, |buffer| buffer.put_name(CTA_HELP_NAME, HELPER));
                }
                put_label(buffer, label.into(), label.into());
            })
    }
}

/// The kernel works the NAT into the plain reply by itself. A rule may put one direction alone into
/// a zone.
fn put_zoned_tuples(buffer: &mut MessageBuffer, tuples: &ConntrackTuples) {
    let original = tuples.of(Direction::Original);
    let reply_zone = tuples.of(Direction::Reply).zone;
    let is_common = original.zone == reply_zone;
    let own = |zone| if is_common { Zone::default() } else { zone };
    put_tuple_in(buffer, CTA_TUPLE_ORIG, &original, own(original.zone));
    put_tuple_in(
        buffer,
        CTA_TUPLE_REPLY,
        &original.inverted(),
        own(reply_zone),
    );
    if is_common {
        put_zone(buffer, CTA_ZONE, original.zone);
    }
}

/// The NAT that the difference between the two tuples shows.
fn put_nat(buffer: &mut MessageBuffer, tuples: &ConntrackTuples) {
    let (plain, real) = (
        tuples.of(Direction::Original).inverted(),
        tuples.of(Direction::Reply),
    );
    if real.destination != plain.destination {
        put_endpoint(buffer, CTA_NAT_SRC, real.destination);
    }
    if real.source != plain.source {
        put_endpoint(buffer, CTA_NAT_DST, real.source);
    }
}

fn put_endpoint(buffer: &mut MessageBuffer, attribute: u16, endpoint: SocketAddr) {
    let [first, last] = match endpoint.ip() {
        IpAddr::V4(_) => [CTA_NAT_V4_MINIP, CTA_NAT_V4_MAXIP],
        IpAddr::V6(_) => [CTA_NAT_V6_MINIP, CTA_NAT_V6_MAXIP],
    };
    let port = endpoint.port().to_be_bytes();
    buffer.nest(attribute, |buffer| {
        buffer.put_addresses(first, &[endpoint.ip()], &[]);
        buffer.put_addresses(last, &[endpoint.ip()], &[]);
        buffer.nest(CTA_NAT_PROTO, |buffer| {
            buffer.put(CTA_PROTONAT_PORT_MIN, &port);
            buffer.put(CTA_PROTONAT_PORT_MAX, &port);
        });
    });
}
