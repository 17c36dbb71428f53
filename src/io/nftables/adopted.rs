//! Reads the expectations that an earlier process has left in our table.
//!
//! They stay in force: the sets are kept when the table is taken over. This process must know of
//! them, so that it gives none of their ports to another session, and can put them back.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    element::{
        COMMENT, NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_KEY,
        NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE,
        NFTA_SET_ELEM_USERDATA, ZONE,
    },
    live::ExpectedKey,
    mastered::{Master, MasteredExpectation},
    message,
};
use crate::{
    io::netlink::{Attributes, NetlinkError, Socket},
    proto::{
        expect::Expectation,
        net::{IfIndex, Layer, Tuple, Zone},
    },
    ruleset::{Family, SetKind, TABLE},
};

const NFTA_SET_ELEM_EXPIRATION: u16 = 5;

/// The expectations whose permissions are in the table of a layer.
pub(super) fn read(
    socket: &mut Socket,
    layer: Layer,
) -> Result<Vec<MasteredExpectation>, NetlinkError> {
    let mut all = Vec::new();
    for family in Family::BOTH {
        all.extend(read_family(socket, layer, family)?);
    }
    Ok(all)
}

/// The interfaces by which expected connections must not come, where the kernel itself has the
/// expectations.
pub(super) fn read_denied_iifs(
    socket: &mut Socket,
) -> Result<BTreeMap<ExpectedKey, IfIndex>, NetlinkError> {
    let mut found = BTreeMap::new();
    for family in Family::BOTH {
        list(
            socket,
            Layer::Routed,
            &SetKind::Spoofed(family),
            |element| {
                found.insert(parse_key(element.key, family)?, parse_iif(element.key)?);
                Some(())
            },
        )?;
    }
    Ok(found)
}

fn read_family(
    socket: &mut Socket,
    layer: Layer,
    family: Family,
) -> Result<Vec<MasteredExpectation>, NetlinkError> {
    let mut found = BTreeMap::new();
    list(socket, layer, &SetKind::Permission(family), |element| {
        let (source, destination) = parse_key(element.key, family)?;
        let (master, source_prefix) = parse_comment(element.user_data)?;
        let mastered = MasteredExpectation {
            master: Master {
                layer,
                ..Master::from(master)
            },
            expectation: Expectation {
                source,
                source_prefix,
                destination,
                translated_destination: destination,
                translated_source: source,
                denied_iif: None,
                timeout: element.left,
            },
            is_repeated: false,
        };
        found.insert((source, destination), mastered);
        Some(())
    })?;
    list(socket, layer, &SetKind::Destination(family), |element| {
        let one = found.get_mut(&parse_key(element.key, family)?)?;
        one.expectation.translated_destination = parse_endpoint(element.data, family)?;
        Some(())
    })?;
    list(socket, layer, &SetKind::Source(family), |element| {
        let one = found.get_mut(&parse_key(element.key, family)?)?;
        one.expectation.translated_source = parse_address(element.data, family)?;
        Some(())
    })?;
    list(socket, layer, &SetKind::MasterMark(family), |element| {
        let one = found.get_mut(&parse_key(element.key, family)?)?;
        one.master.mark = u32::from_ne_bytes(*element.data.first_chunk()?);
        Some(())
    })?;
    list(socket, layer, &SetKind::Spoofed(family), |element| {
        let one = found.get_mut(&parse_key(element.key, family)?)?;
        one.expectation.denied_iif = Some(parse_iif(element.key)?);
        Some(())
    })?;
    Ok(found.into_values().collect())
}

/// An element as the kernel lists it.
struct Listed<'a> {
    key: &'a [u8],
    data: &'a [u8],
    user_data: &'a [u8],
    left: Duration,
}

/// Hands each element to `read`. A set that is not there has no elements; `None` of `read` is an
/// element that nobody of us has made.
fn list(
    socket: &mut Socket,
    layer: Layer,
    kind: &SetKind,
    mut read: impl FnMut(Listed<'_>) -> Option<()>,
) -> Result<(), NetlinkError> {
    let listed = socket.list(
        message(layer, libc::NFT_MSG_GETSETELEM),
        |buffer| {
            buffer.put_name(NFTA_SET_ELEM_LIST_TABLE, TABLE);
            buffer.put_name(NFTA_SET_ELEM_LIST_SET, kind.name());
        },
        |answer| {
            let elements = answer.attributes().within(NFTA_SET_ELEM_LIST_ELEMENTS);
            for (attribute, element) in elements.into_iter().flatten() {
                let element = Attributes::new(element);
                let value = |of| element.within(of)?.find(NFTA_DATA_VALUE);
                if let (NFTA_LIST_ELEM, Some(key)) = (attribute, value(NFTA_SET_ELEM_KEY)) {
                    let _ = read(Listed {
                        key,
                        data: value(NFTA_SET_ELEM_DATA).unwrap_or_default(),
                        user_data: element.find(NFTA_SET_ELEM_USERDATA).unwrap_or_default(),
                        left: time_left(&element),
                    });
                }
            }
        },
    );
    match listed {
        Err(error) if error.is(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn time_left(element: &Attributes<'_>) -> Duration {
    let milliseconds = element
        .find(NFTA_SET_ELEM_EXPIRATION)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Duration::from_millis(milliseconds)
}

/// The control connection that an element's comment names, and the prefix of its source if that is
/// a network.
fn parse_comment(user_data: &[u8]) -> Option<(Tuple, Option<u8>)> {
    let [COMMENT, length, rest @ ..] = user_data else {
        return None;
    };
    let text = rest.get(..usize::from(*length))?.strip_suffix(&[0])?;
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let (source, destination) = (words.next()?, words.next()?);
    let (mut prefix, mut zone) = (None, Zone::default());
    for word in words {
        match word.strip_prefix(ZONE) {
            Some(number) => zone = Zone(number.parse().ok()?),
            None => prefix = Some(word.strip_prefix('/')?.parse().ok()?),
        }
    }
    let master = Tuple::new(source.parse().ok()?, destination.parse().ok()?);
    Some((master.in_zone(zone), prefix))
}

fn parse_iif(key: &[u8]) -> Option<IfIndex> {
    Some(IfIndex(u32::from_ne_bytes(*key.last_chunk()?)))
}

fn parse_key(bytes: &[u8], family: Family) -> Option<ExpectedKey> {
    let length = length_of(family);
    let source = parse_address(bytes, family)?;
    Some((source, parse_endpoint(bytes.get(length..)?, family)?))
}

fn parse_endpoint(bytes: &[u8], family: Family) -> Option<SocketAddr> {
    let port = bytes.get(length_of(family)..)?.first_chunk()?;
    let address = parse_address(bytes, family)?;
    Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
}

fn parse_address(bytes: &[u8], family: Family) -> Option<IpAddr> {
    Some(match family {
        Family::Ipv4 => IpAddr::from(*bytes.first_chunk::<4>()?),
        Family::Ipv6 => IpAddr::from(*bytes.first_chunk::<16>()?),
    })
}

const fn length_of(family: Family) -> usize {
    match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 16,
    }
}
