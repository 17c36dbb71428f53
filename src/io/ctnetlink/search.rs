//! Finds entries of which not all is known. The kernel walks its whole table for each search: some
//! 20 ms for 100,000 connections.

use std::net::SocketAddr;

use super::{Conntrack, ConntrackEntry, family_of, message, put_tuple, wire::*};
use crate::{
    io::netlink::NetlinkError,
    proto::{
        expect::Expectation,
        net::{Direction, Tuple},
    },
};

/// How often a second a worker searches for each purpose.
pub const SEARCHES_A_SECOND: u32 = 5;

impl Conntrack {
    /// The entry of the connection that a packet with these addresses and ports belongs to, in
    /// whatever zone it is; the first of several.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub fn resolve_in_any_zone(
        &mut self,
        tuple: &Tuple,
    ) -> Result<Option<ConntrackEntry>, NetlinkError> {
        let is_its = |entry: &ConntrackEntry| entry.tuples.direction_of(*tuple).is_some();
        for direction in Direction::BOTH {
            let found = self.search(
                direction,
                tuple,
                SOURCE_PORT | DESTINATION_PORT | ADDRESSES,
                is_its,
            )?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The entry of a data connection that was expected, from whatever port.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub fn find_expected(
        &mut self,
        expectation: &Expectation,
    ) -> Result<Option<ConntrackEntry>, NetlinkError> {
        let any_port = SocketAddr::new(expectation.source, 0);
        let called = Tuple::new(any_port, expectation.destination);
        let compared = match expectation.source_prefix {
            None => DESTINATION_PORT | ADDRESSES,
            Some(_) => DESTINATION_PORT | DESTINATION,
        };
        let is_its = |entry: &ConntrackEntry| {
            let original = entry.tuples.of(Direction::Original);
            expectation.sources().contains(original.source.ip())
                && original.destination == expectation.destination
        };
        self.search(Direction::Original, &called, compared, is_its)
    }

    /// The first entry of which `is_its` is true, and whose connection is not over if there is one.
    /// `compared` says what of `tuple` the kernel compares. It compares the addresses of IPv6 the
    /// wrong way round (`ctnetlink_filter_match_tuple`), so they are left out. Before 5.8 it
    /// compares nothing.
    fn search(
        &mut self,
        direction: Direction,
        tuple: &Tuple,
        compared: u32,
        is_its: impl Fn(&ConntrackEntry) -> bool,
    ) -> Result<Option<ConntrackEntry>, NetlinkError> {
        let left_out = if tuple.source.is_ipv4() { 0 } else { ADDRESSES };
        let compared = PROTOCOL | (compared & !left_out);
        let (attribute, flags) = match direction {
            Direction::Original => (CTA_TUPLE_ORIG, [compared, 0]),
            Direction::Reply => (CTA_TUPLE_REPLY, [0, compared]),
        };
        let mut found = None;
        self.0.list(
            message(IPCTNL_MSG_CT_GET, family_of(tuple.source.ip())),
            |buffer| {
                put_tuple(buffer, attribute, tuple);
                buffer.nest(CTA_FILTER, |buffer| {
                    let [original, reply] = flags;
                    buffer.put(CTA_FILTER_ORIG_FLAGS, &original.to_ne_bytes());
                    buffer.put(CTA_FILTER_REPLY_FLAGS, &reply.to_ne_bytes());
                });
            },
            |one| {
                let entry = ConntrackEntry::parse(&one.attributes()).filter(&is_its);
                if found.as_ref().is_none_or(ConntrackEntry::is_over) {
                    found = entry.or_else(|| found.take());
                }
            },
        )?;
        Ok(found)
    }
}
