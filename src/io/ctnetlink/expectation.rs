//! Expectations of the kernel's own connection tracking, asked for over netlink.
//!
//! A data connection that matches one is RELATED, and its control connection is its master. The
//! kernel translates it like its master (`nf_nat_follow_master`): its source and destination are
//! those of the announcer's packets on the control connection, with the announced port.
//!
//! Two things of the kernel (6.1 to 7.2, tried) shape the messages:
//!
//! * A new expectation takes its timeout from its helper's policy. The kernel reads the timeout of
//!   a message only if the message *changes* an expectation. So another timeout needs a second
//!   message.
//! * `CTA_EXPECT_HELP_NAME` in a new expectation names the helper of the *child* (until the kernel
//!   dropped it in 2026). It would keep data connections out of flowtables, so we leave it out. The
//!   expectation's own helper is that of its master.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::{entry::parse_tuple, family_of, put_tuple, put_zone};
use crate::{
    io::{
        cthelper::POLICY_TIMEOUT,
        netlink::{Head, MessageBuffer, MessageType, NetlinkError, Socket, flags},
        refusal::refusal,
    },
    proto::{
        expect::{ExpectError, Expectation, ExpectationId},
        net::{ConntrackTuples, Direction, Tuple, Zone},
    },
};

/// `nfnetlink_conntrack.h`
pub(super) mod wire {
    pub(in super::super) const IPCTNL_MSG_EXP_NEW: u8 = 0;
    pub(in super::super) const IPCTNL_MSG_EXP_GET: u8 = 1;
    pub(in super::super) const IPCTNL_MSG_EXP_DELETE: u8 = 2;
    pub(in super::super) const CTA_EXPECT_MASTER: u16 = 1;
    pub(in super::super) const CTA_EXPECT_TUPLE: u16 = 2;
    pub(in super::super) const CTA_EXPECT_MASK: u16 = 3;
    pub(in super::super) const CTA_EXPECT_TIMEOUT: u16 = 4;
    pub(in super::super) const CTA_EXPECT_ID: u16 = 5;
    pub(in super::super) const CTA_EXPECT_HELP_NAME: u16 = 6;
    pub(in super::super) const CTA_EXPECT_ZONE: u16 = 7;
    pub(in super::super) const CTA_EXPECT_NAT: u16 = 10;
    pub(in super::super) const CTA_EXPECT_FN: u16 = 11;
    pub(in super::super) const CTA_EXPECT_NAT_DIR: u16 = 1;
    pub(in super::super) const CTA_EXPECT_NAT_TUPLE: u16 = 2;
}
use wire::*;

/// The kernel's name of its function that translates a child like its master; `nf_nat` has it.
const FOLLOW_MASTER: &str = "nat-follow-master";

/// Whether the kernel translates expected connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildNat {
    /// Like their control connection. No NAT rule of the operator is asked.
    FollowMaster,
    /// The kernel has no NAT.
    Absent,
}

/// A worker's connection to the kernel's expectations.
#[derive(Debug)]
pub struct ConntrackExpectations {
    socket: Socket,
    child_nat: ChildNat,
}

/// The identity of an expectation in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    master: Tuple,
    id: u32,
}

impl ConntrackExpectations {
    /// Opens the connection.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open(child_nat: ChildNat) -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open()?,
            child_nat,
        })
    }

    /// Installs an expectation; it is in force when this returns. An older expectation of the same
    /// connection makes way, because the newest announcement counts.
    ///
    /// # Errors
    /// Nothing is in force then.
    pub fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), ExpectError> {
        if !is_of_one_family(expectation) {
            return Err(ExpectError::Other);
        }
        let created = match self.create(expectation, master) {
            Err(error) if error.is(libc::EEXIST) => self
                .delete(expectation, zone_of(master), None)
                .and_then(|_| self.create(expectation, master)),
            other => other,
        };
        created
            .and_then(|()| self.limit(expectation, master))
            .map_err(|error| refusal(id, &error))
    }

    /// Gives an expectation this timeout from now on, if it is still there.
    ///
    /// # Errors
    /// When the kernel refuses; the expectation is as it was.
    pub fn renew(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), ExpectError> {
        self.set_timeout(expectation, master)
            .map_err(|error| refusal(id, &error))
    }

    /// Withdraws an expectation of this control connection. Returns whether it was still unused.
    ///
    /// # Errors
    /// When the kernel refuses; the expectation then lives until its timeout.
    pub fn unexpect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<bool, ExpectError> {
        let found = self
            .find(expectation, zone_of(master))
            .map_err(|error| refusal(id, &error))?;
        match found {
            // Another session may expect the same by now: a server uses its ports again.
            Some(found)
                if found
                    .master
                    .has_endpoints_of(&master.of(Direction::Original)) =>
            {
                self.delete(expectation, zone_of(master), Some(found.id))
                    .map_err(|error| refusal(id, &error))
            }
            Some(_) | None => Ok(false),
        }
    }

    /// Whether the first packet of an expected connection has come: the kernel has dropped the
    /// expectation before its time. `None` where the kernel does not tell.
    pub fn is_used(&mut self, expectation: &Expectation, master: &ConntrackTuples) -> Option<bool> {
        let found = self.find(expectation, zone_of(master)).ok()?;
        Some(found.is_none())
    }

    fn create(
        &mut self,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), NetlinkError> {
        let head = message(IPCTNL_MSG_EXP_NEW, expectation).with(flags::CREATE | flags::EXCL);
        let is_translated =
            self.child_nat == ChildNat::FollowMaster && is_between_ends(expectation, master);
        self.socket.request(head, |buffer| {
            put_whole(buffer, expectation, master);
            if is_translated {
                put_translation(buffer, expectation, master);
            }
        })
    }

    /// Gives a new expectation its own timeout, unless its helper has the same.
    fn limit(
        &mut self,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), NetlinkError> {
        if seconds(expectation.timeout) == seconds(POLICY_TIMEOUT) {
            return Ok(());
        }
        self.set_timeout(expectation, master)
    }

    fn set_timeout(
        &mut self,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), NetlinkError> {
        let head = message(IPCTNL_MSG_EXP_NEW, expectation);
        let limited = self.socket.request(head, |buffer| {
            put_whole(buffer, expectation, master);
            buffer.put_u32(CTA_EXPECT_TIMEOUT, seconds(expectation.timeout));
        });
        match limited {
            // Its connection has come already.
            Err(error) if error.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn find(
        &mut self,
        expectation: &Expectation,
        zone: Zone,
    ) -> Result<Option<Found>, NetlinkError> {
        self.socket.ask(
            message(IPCTNL_MSG_EXP_GET, expectation),
            |buffer| put_key(buffer, expectation, zone),
            |answer| {
                let attributes = answer.attributes();
                Some(Found {
                    master: parse_tuple(&attributes.within(CTA_EXPECT_MASTER)?)?,
                    id: attributes.u32(CTA_EXPECT_ID)?,
                })
            },
        )
    }

    /// Whether there was one to delete: with this id, or any.
    fn delete(
        &mut self,
        expectation: &Expectation,
        zone: Zone,
        id: Option<u32>,
    ) -> Result<bool, NetlinkError> {
        let head = message(IPCTNL_MSG_EXP_DELETE, expectation);
        let deleted = self.socket.request(head, |buffer| {
            put_key(buffer, expectation, zone);
            if let Some(id) = id {
                buffer.put_u32(CTA_EXPECT_ID, id);
            }
        });
        match deleted {
            Ok(()) => Ok(true),
            Err(error) if error.is(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

const fn message(request: u8, expectation: &Expectation) -> Head {
    let kind = MessageType {
        subsystem: libc::NFNL_SUBSYS_CTNETLINK_EXP as u8,
        request,
    };
    Head::new(kind, family_of(expectation.source))
}

/// The tuple, which names an expectation. The mask leaves the connector's port open, so the tuple
/// has the port there on which the announcer listens. conntrackd brings it to another gateway that
/// way ([`ImportedExpectation`](super::ImportedExpectation)).
fn put_key(buffer: &mut MessageBuffer, expectation: &Expectation, zone: Zone) {
    let port = expectation.translated_destination.port();
    let tuple = Tuple::new(
        SocketAddr::new(expectation.source, port),
        expectation.destination,
    );
    put_tuple(buffer, CTA_EXPECT_TUPLE, &tuple);
    put_zone(buffer, CTA_EXPECT_ZONE, zone);
}

/// The zone of a control connection, which the kernel compares with that of an expectation
/// (`nf_ct_zone_equal_any`). One direction may be in zone 0.
fn zone_of(master: &ConntrackTuples) -> Zone {
    let [original, reply] = Direction::BOTH.map(|direction| master.of(direction).zone);
    if original.is_default() {
        reply
    } else {
        original
    }
}

/// The tuple, the mask, which leaves the connector's port open, and the control connection.
fn put_whole(buffer: &mut MessageBuffer, expectation: &Expectation, master: &ConntrackTuples) {
    put_key(buffer, expectation, zone_of(master));
    let whole = match expectation.source {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from([0xff; 16])),
    };
    let source = SocketAddr::new(expectation.sources().mask(), 0);
    let mask = Tuple::new(source, SocketAddr::new(whole, u16::MAX));
    put_tuple(buffer, CTA_EXPECT_MASK, &mask);
    put_tuple(buffer, CTA_EXPECT_MASTER, &master.of(Direction::Original));
}

/// The parameters of `nf_nat_follow_master`: the direction of the data connection compared with its
/// master, and the port on which the announcer listens.
fn put_translation(
    buffer: &mut MessageBuffer,
    expectation: &Expectation,
    master: &ConntrackTuples,
) {
    let announcer = announcer(expectation, master);
    let nothing = match expectation.source {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let listening = Tuple::new(
        expectation.translated_destination,
        SocketAddr::new(nothing, 0),
    );
    buffer.nest(CTA_EXPECT_NAT, |buffer| {
        let direction = match !announcer {
            Direction::Original => 0,
            Direction::Reply => 1,
        };
        buffer.put_u32(CTA_EXPECT_NAT_DIR, direction);
        put_tuple(buffer, CTA_EXPECT_NAT_TUPLE, &listening);
    });
    buffer.put_name(CTA_EXPECT_FN, FOLLOW_MASTER);
}

/// Whether the announced endpoint belongs to an end of the control connection. That of a third
/// party is not translated in this way.
fn is_between_ends(expectation: &Expectation, master: &ConntrackTuples) -> bool {
    let listener = expectation.translated_destination.ip();
    Direction::BOTH
        .into_iter()
        .any(|direction| master.sender(direction).ip() == listener)
}

/// The direction of the control connection in which the announcer sends. If both directions fit,
/// both ends have the same addresses, and the translation is the same.
fn announcer(expectation: &Expectation, master: &ConntrackTuples) -> Direction {
    let client = master.of(Direction::Original);
    let is_client = client.source.ip() == expectation.translated_destination.ip()
        && client.destination.ip() == expectation.translated_source;
    if is_client {
        Direction::Original
    } else {
        Direction::Reply
    }
}

fn is_of_one_family(expectation: &Expectation) -> bool {
    let addresses = [
        expectation.destination.ip(),
        expectation.translated_source,
        expectation.translated_destination.ip(),
    ];
    addresses
        .iter()
        .all(|address| address.is_ipv4() == expectation.source.is_ipv4())
}

/// The timeout in whole seconds, rounded up.
fn seconds(timeout: Duration) -> u32 {
    let rounded = timeout
        .as_secs()
        .saturating_add(u64::from(timeout.subsec_nanos() > 0));
    u32::try_from(rounded).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: &str, destination: &str) -> Tuple {
        Tuple::new(source.parse().unwrap(), destination.parse().unwrap())
    }

    /// A client 10.0.0.2 behind 203.0.113.1 talks to 198.51.100.7.
    fn master() -> ConntrackTuples {
        ConntrackTuples::new(
            tuple("10.0.0.2:4000", "198.51.100.7:21"),
            tuple("198.51.100.7:21", "203.0.113.1:4000"),
        )
    }

    fn expectation(source: &str, destination: &str, to: &str, from: &str) -> Expectation {
        Expectation {
            source: source.parse().unwrap(),
            source_prefix: None,
            destination: destination.parse().unwrap(),
            translated_destination: to.parse().unwrap(),
            translated_source: from.parse().unwrap(),
            denied_iif: None,
            timeout: Duration::from_secs(60),
        }
    }

    #[test]
    fn the_announcer_is_the_end_that_the_connection_goes_to() {
        let to_client = expectation(
            "198.51.100.7",
            "203.0.113.1:5000",
            "10.0.0.2:6000",
            "198.51.100.7",
        );
        assert_eq!(announcer(&to_client, &master()), Direction::Original);
        let to_server = expectation(
            "10.0.0.2",
            "198.51.100.7:5000",
            "198.51.100.7:5000",
            "203.0.113.1",
        );
        assert_eq!(announcer(&to_server, &master()), Direction::Reply);
    }

    #[test]
    fn a_part_of_a_second_is_a_second() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_millis(2000)), 2);
        assert_eq!(seconds(Duration::from_millis(2001)), 3);
        assert_eq!(seconds(Duration::MAX), u32::MAX);
    }
}
