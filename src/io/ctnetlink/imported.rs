//! Expectations for connections with our helper that another gateway made.
//!
//! conntrackd brings them here, but without their translation: libnetfilter_conntrack 1.0.9 writes
//! neither `CTA_EXPECT_NAT` nor `CTA_EXPECT_FN` into its messages (read in its machine code, and
//! seen). Such an expectation would let its data connection in and not translate it.
//!
//! The rest of the expectation tells the missing part. The control connection's tuples have the
//! addresses. The port on which the announcer listens stands in place of the connector's port,
//! which the mask leaves open ([`ConntrackExpectations`](super::ConntrackExpectations) puts it
//! there).

use std::time::Duration;

use ipnetwork::{IpNetwork, ip_mask_to_prefix};

use super::{
    entry::parse_tuple,
    expectation::wire::{
        CTA_EXPECT_HELP_NAME, CTA_EXPECT_MASK, CTA_EXPECT_MASTER, CTA_EXPECT_NAT,
        CTA_EXPECT_TIMEOUT, CTA_EXPECT_TUPLE, IPCTNL_MSG_EXP_GET,
    },
};
use crate::{
    io::{
        netlink::{Attributes, Head, Message, MessageType, NetlinkError, Socket},
        nftables::{Master, MasteredExpectation},
    },
    proto::{
        expect::Expectation,
        net::{ConntrackTuples, Direction, Tuple},
    },
    ruleset::HELPER,
};

/// An expectation of our helper without a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedExpectation {
    /// Its control connection, in the original direction.
    pub master: Tuple,
    /// What is expected; the source's port is the announcer's.
    expected: Tuple,
    /// How many bits of the source's address count; `None` for all.
    source_prefix: Option<u8>,
}

/// Lists them.
///
/// # Errors
/// When conntrack cannot be asked.
pub fn list_imported() -> Result<Vec<ImportedExpectation>, NetlinkError> {
    let mut found = Vec::new();
    list(|message| found.extend(ImportedExpectation::parse(message)))?;
    Ok(found)
}

/// The expectations of our helper, whoever made them. Of their translation only the port is told on
/// which the announcer listens: it is part of an expectation's name
/// ([`ConntrackExpectations`](super::ConntrackExpectations)).
///
/// # Errors
/// When conntrack cannot be asked.
pub fn list_expected() -> Result<Vec<MasteredExpectation>, NetlinkError> {
    let mut found = Vec::new();
    list(|message| {
        if is_ours(&message) {
            found.extend(parse_expected(&message.attributes()));
        }
    })?;
    Ok(found)
}

fn parse_expected(attributes: &Attributes<'_>) -> Option<MasteredExpectation> {
    let expected = parse_tuple(&attributes.within(CTA_EXPECT_TUPLE)?)?;
    let mut translated_destination = expected.destination;
    translated_destination.set_port(expected.source.port());
    Some(MasteredExpectation {
        master: Master::from(parse_tuple(&attributes.within(CTA_EXPECT_MASTER)?)?),
        expectation: Expectation {
            source: expected.source.ip(),
            source_prefix: parse_source_prefix(attributes),
            destination: expected.destination,
            translated_destination,
            translated_source: expected.source.ip(),
            denied_iif: None,
            timeout: Duration::from_secs(attributes.u32(CTA_EXPECT_TIMEOUT)?.into()),
        },
        is_repeated: false,
    })
}

fn list(read: impl FnMut(Message<'_>)) -> Result<(), NetlinkError> {
    let kind = MessageType {
        subsystem: libc::NFNL_SUBSYS_CTNETLINK_EXP as u8,
        request: IPCTNL_MSG_EXP_GET,
    };
    let head = Head::new(kind, libc::AF_UNSPEC as u8);
    Socket::open()?.list(head, |_| {}, read)
}

/// The length of the mask of the source's address, unless it is the whole address.
fn parse_source_prefix(attributes: &Attributes<'_>) -> Option<u8> {
    let mask = parse_tuple(&attributes.within(CTA_EXPECT_MASK)?)?
        .source
        .ip();
    let prefix = ip_mask_to_prefix(mask).ok()?;
    (prefix < IpNetwork::from(mask).prefix()).then_some(prefix)
}

fn is_ours(message: &Message<'_>) -> bool {
    message.attributes().name(CTA_EXPECT_HELP_NAME) == Some(HELPER)
}

impl ImportedExpectation {
    fn parse(message: Message<'_>) -> Option<Self> {
        let attributes = message.attributes();
        if !is_ours(&message) || attributes.find(CTA_EXPECT_NAT).is_some() {
            return None;
        }
        Some(Self {
            master: parse_tuple(&attributes.within(CTA_EXPECT_MASTER)?)?,
            expected: parse_tuple(&attributes.within(CTA_EXPECT_TUPLE)?)?,
            source_prefix: parse_source_prefix(&attributes),
        })
    }

    /// The expectation with its translation. `None` if it needs no translation, or if its
    /// translation cannot be told.
    #[must_use]
    pub fn complete(&self, master: &ConntrackTuples, timeout: Duration) -> Option<Expectation> {
        let announcer = Direction::BOTH
            .into_iter()
            .find(|announcer| self.is_told_by(master.of(!*announcer)))?;
        let announcing = master.of(announcer);
        let mut translated_destination = announcing.source;
        translated_destination.set_port(self.expected.source.port());
        let expectation = Expectation {
            source: self.expected.source.ip(),
            source_prefix: self.source_prefix,
            destination: self.expected.destination,
            translated_destination,
            translated_source: announcing.destination.ip(),
            denied_iif: None,
            timeout,
        };
        let is_translated =
            expectation.has_translated_destination() || expectation.has_translated_source();
        (is_translated && translated_destination.port() != 0).then_some(expectation)
    }

    /// Whether the connector's packets on the control connection have the expected addresses of the
    /// data connection.
    fn is_told_by(&self, connector: Tuple) -> bool {
        let (source, prefix) = (self.expected.source.ip(), self.source_prefix);
        let network = prefix.and_then(|prefix| IpNetwork::new(source, prefix).ok());
        network
            .unwrap_or_else(|| source.into())
            .contains(connector.source.ip())
            && connector.destination.ip() == self.expected.destination.ip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn tuple(source: &str, destination: &str) -> Tuple {
        Tuple::new(source.parse().unwrap(), destination.parse().unwrap())
    }

    /// A client 10.0.0.2 behind 203.0.113.1 talks to 198.51.100.7.
    fn behind_nat() -> ConntrackTuples {
        ConntrackTuples::new(
            tuple("10.0.0.2:4000", "198.51.100.7:21"),
            tuple("198.51.100.7:21", "203.0.113.1:4000"),
        )
    }

    fn imported(master: &ConntrackTuples, source: &str, destination: &str) -> ImportedExpectation {
        ImportedExpectation {
            master: master.of(Direction::Original),
            expected: tuple(source, destination),
            source_prefix: None,
        }
    }

    #[test]
    fn what_a_client_behind_nat_announced_goes_to_the_port_it_listens_on() {
        let master = behind_nat();
        let expected = imported(&master, "198.51.100.7:6000", "203.0.113.1:5000");
        let expectation = expected.complete(&master, TIMEOUT).unwrap();
        assert_eq!(expectation.source, expected.expected.source.ip());
        assert_eq!(expectation.destination, expected.expected.destination);
        let listening = "10.0.0.2:6000".parse().unwrap();
        assert_eq!(expectation.translated_destination, listening);
        assert_eq!(expectation.translated_source, expectation.source);
    }

    #[test]
    fn what_the_server_announced_comes_from_the_address_it_knows_the_client_by() {
        let master = behind_nat();
        let expected = imported(&master, "10.0.0.2:5000", "198.51.100.7:5000");
        let expectation = expected.complete(&master, TIMEOUT).unwrap();
        assert!(!expectation.has_translated_destination());
        let seen: std::net::IpAddr = "203.0.113.1".parse().unwrap();
        assert_eq!(expectation.translated_source, seen);
    }

    #[test]
    fn a_server_that_connects_from_its_network_is_known_by_it() {
        let master = behind_nat();
        let expected = ImportedExpectation {
            source_prefix: Some(29),
            ..imported(&master, "198.51.100.0:6000", "203.0.113.1:5000")
        };
        let expectation = expected.complete(&master, TIMEOUT).unwrap();
        assert_eq!(expectation.sources(), "198.51.100.0/29".parse().unwrap());
        let known: std::net::IpAddr = "198.51.100.7".parse().unwrap();
        assert_eq!(expectation.translated_source, known);
        let narrower = ImportedExpectation {
            source_prefix: Some(30),
            ..expected
        };
        assert_eq!(narrower.complete(&master, TIMEOUT), None);
    }

    #[test]
    fn what_needs_no_translation_or_cannot_be_told_is_left_alone() {
        let routed = ConntrackTuples::new(
            tuple("10.0.0.2:4000", "198.51.100.7:21"),
            tuple("198.51.100.7:21", "10.0.0.2:4000"),
        );
        let expected = imported(&routed, "198.51.100.7:5000", "10.0.0.2:5000");
        assert_eq!(expected.complete(&routed, TIMEOUT), None);
        let master = behind_nat();
        let of_a_third = imported(&master, "192.0.2.1:6000", "203.0.113.1:5000");
        assert_eq!(of_a_third.complete(&master, TIMEOUT), None);
        let without_its_port = imported(&master, "198.51.100.7:0", "203.0.113.1:5000");
        assert_eq!(without_its_port.complete(&master, TIMEOUT), None);
    }
}
