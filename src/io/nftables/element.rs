//! The set and map elements that make one expectation, as the kernel stores them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::mastered::MasteredExpectation;
use crate::{
    io::netlink::MessageBuffer,
    proto::{
        expect::Expectation,
        net::{IfIndex, Layer, Tuple, Zone},
    },
    ruleset::{Family, SetKind, TABLE},
};

pub(super) const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
pub(super) const NFTA_SET_ELEM_LIST_SET: u16 = 2;
pub(super) const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
pub(super) const NFTA_LIST_ELEM: u16 = 1;
pub(super) const NFTA_SET_ELEM_KEY: u16 = 1;
pub(super) const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
pub(super) const NFTA_SET_ELEM_USERDATA: u16 = 6;
pub(super) const NFTA_DATA_VALUE: u16 = 1;

/// How much longer a map element lives than its permission. No connection is admitted and then
/// finds that its translation has expired.
pub(super) const MAP_GRACE: Duration = Duration::from_secs(1);

/// One element: which set, which key, which data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    /// Of the table that has the set.
    pub(super) layer: Layer,
    set: &'static str,
    expectation: &'a Expectation,
    /// Part of the key.
    iif: Option<IfIndex>,
    data: Data,
    timeout: Duration,
    /// The control connection, of which the permission has a comment.
    master: Option<Tuple>,
}

/// The type of a comment within an element's user data (libnftnl's
/// `NFTNL_UDATA_SET_ELEM_COMMENT`).
pub(super) const COMMENT: u8 = 0;

/// What a zone's number follows in a comment.
pub(super) const ZONE: &str = "zone";

/// The elements of one expectation: the permission, the two for NAT, the mark, and the denied
/// interface.
pub(super) type Elements<'a> = [Option<Element<'a>>; 5];

/// What a key maps to.
#[derive(Clone, Copy, Debug)]
enum Data {
    None,
    Address(IpAddr),
    Endpoint(SocketAddr),
    Mark(u32),
}

/// The elements of an expectation of a control connection. `None` if the addresses are not all of
/// one family.
pub(super) fn elements(mastered: &MasteredExpectation) -> Option<Elements<'_>> {
    let MasteredExpectation {
        master,
        expectation,
        ..
    } = mastered;
    let family = family_of(expectation)?;
    let element = |kind: SetKind, data, timeout| Element {
        layer: master.layer,
        set: kind.name(),
        expectation,
        iif: None,
        data,
        timeout,
        master: None,
    };
    let in_map = |kind, data| element(kind, data, expectation.timeout + MAP_GRACE);
    let permission = Element {
        master: Some(master.original),
        ..element(SetKind::Permission(family), Data::None, expectation.timeout)
    };
    let destination = expectation.has_translated_destination().then(|| {
        let data = Data::Endpoint(expectation.translated_destination);
        in_map(SetKind::Destination(family), data)
    });
    // A bridge translates nothing.
    let has_source = expectation.has_translated_source() && master.layer == Layer::Routed;
    let source = has_source.then(|| {
        let data = Data::Address(expectation.translated_source);
        in_map(SetKind::Source(family), data)
    });
    let mark =
        (master.mark != 0).then(|| in_map(SetKind::MasterMark(family), Data::Mark(master.mark)));
    let denied_iif = denied_iif_element(mastered, family);
    Some([Some(permission), destination, source, mark, denied_iif])
}

/// The denied interface alone. That is all our table needs if the kernel itself has the
/// expectation.
pub(super) fn denied_iif_elements(mastered: &MasteredExpectation) -> Option<Elements<'_>> {
    let expectation = &mastered.expectation;
    let denied_iif = denied_iif_element(mastered, family_of(expectation)?);
    Some([None, None, None, None, denied_iif])
}

/// A bridge reaches all ends by one interface, and its table has no such set.
fn denied_iif_element(mastered: &MasteredExpectation, family: Family) -> Option<Element<'_>> {
    let MasteredExpectation {
        master,
        expectation,
        ..
    } = mastered;
    let iif = expectation.denied_iif?;
    (master.layer == Layer::Routed).then(|| Element {
        layer: master.layer,
        set: SetKind::Spoofed(family).name(),
        expectation,
        iif: Some(iif),
        data: Data::None,
        timeout: expectation.timeout + MAP_GRACE,
        master: None,
    })
}

/// The family of all four addresses.
pub(super) fn family_of(expectation: &Expectation) -> Option<Family> {
    let addresses = [
        expectation.destination.ip(),
        expectation.translated_source,
        expectation.translated_destination.ip(),
    ];
    let v4 = expectation.source.is_ipv4();
    let uniform = addresses.iter().all(|address| address.is_ipv4() == v4);
    uniform.then_some(if v4 { Family::Ipv4 } else { Family::Ipv6 })
}

impl Element<'_> {
    /// The element as something to add: key, data, timeout.
    pub(super) fn put_whole(&self, buffer: &mut MessageBuffer) {
        self.put(buffer, |buffer| {
            match self.data {
                Data::None => {}
                Data::Address(address) => buffer.nest(NFTA_SET_ELEM_DATA, |buffer| {
                    buffer.put_addresses(NFTA_DATA_VALUE, &[address], &[]);
                }),
                Data::Endpoint(endpoint) => buffer.nest(NFTA_SET_ELEM_DATA, |buffer| {
                    let port = padded(endpoint.port());
                    buffer.put_addresses(NFTA_DATA_VALUE, &[endpoint.ip()], &[&port]);
                }),
                // In the byte order of a register, which is this machine's.
                Data::Mark(mark) => buffer.nest(NFTA_SET_ELEM_DATA, |buffer| {
                    buffer.put(NFTA_DATA_VALUE, &mark.to_ne_bytes());
                }),
            }
            // A timeout of zero would be none.
            let milliseconds = u64::try_from(self.timeout.as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            buffer.put(NFTA_SET_ELEM_TIMEOUT, &milliseconds.to_be_bytes());
            if let Some(master) = &self.master {
                put_comment(buffer, master, self.expectation.source_prefix);
            }
        });
    }

    /// The element as something to find or delete: its key.
    pub(super) fn put_key(&self, buffer: &mut MessageBuffer) {
        self.put(buffer, |_| {});
    }

    fn put(&self, buffer: &mut MessageBuffer, rest: impl FnOnce(&mut MessageBuffer)) {
        buffer.put_name(NFTA_SET_ELEM_LIST_TABLE, TABLE);
        buffer.put_name(NFTA_SET_ELEM_LIST_SET, self.set);
        buffer.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |buffer| {
            buffer.nest(NFTA_LIST_ELEM, |buffer| {
                buffer.nest(NFTA_SET_ELEM_KEY, |buffer| self.put_key_value(buffer));
                rest(buffer);
            });
        });
    }

    fn put_key_value(&self, buffer: &mut MessageBuffer) {
        let port = padded(self.expectation.destination.port());
        // The kernel compares it in its own byte order.
        let iif = self.iif.map(|iif| iif.0.to_ne_bytes());
        let iif = iif.as_ref().map_or(&[][..], |iif| iif);
        let Expectation {
            source,
            destination,
            ..
        } = self.expectation;
        let addresses = [*source, destination.ip()];
        buffer.put_addresses(NFTA_DATA_VALUE, &addresses, &[&port, iif]);
    }
}

/// Names the control connection, for `nft list` and for a later process: its client and its server,
/// as the client's packets have them. Then come the prefix of a source that is a network, and the
/// conntrack zone of a connection that is in one.
fn put_comment(buffer: &mut MessageBuffer, master: &Tuple, source_prefix: Option<u8>) {
    let prefix = source_prefix.map_or_else(String::new, |prefix| format!(" /{prefix}"));
    let zone = match master.zone {
        Zone(0) => String::new(),
        Zone(number) => format!(" {ZONE}{number}"),
    };
    let text = format!("{} {}{prefix}{zone}\0", master.source, master.destination);
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    let head = [COMMENT, length];
    buffer.put_parts(NFTA_SET_ELEM_USERDATA, &[&head, text.as_bytes()]);
}

/// A port takes a whole 4-octet register in a concatenation.
const fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}
