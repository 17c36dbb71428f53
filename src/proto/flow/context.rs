//! What a flow may use while it handles one input.

use std::{net::SocketAddr, time::Instant};

use super::settings::Settings;
use crate::proto::{
    egress::{Effects, OwnPacket, PacketId},
    event::{Event, EventKind},
    expect::{ExpectError, Expectation, ExpectationId},
    kernel::Kernel,
    net::{ConntrackTuples, Direction, Ingress},
    session::{SessionId, Withdrawal},
    shared::SharedTables,
};

/// The flow's surroundings, for one input.
pub struct Context<'a> {
    /// The operator's settings.
    pub settings: &'a Settings,
    /// The tables that all cores share.
    pub shared: &'a SharedTables,
    /// The kernel.
    pub kernel: &'a mut dyn Kernel,
    /// What leaves.
    pub effects: &'a mut Effects,
    /// The ids of the expectations.
    pub expectation_ids: &'a mut IdSequence,
    /// Whom events are about.
    pub subject: Subject,
    /// The packet at hand; 0 where there is none.
    pub packet: PacketId,
    /// How the packet at hand came, where that is known.
    pub ingress: Option<Ingress>,
    /// The time of the input.
    pub now: Instant,
}

/// Whom an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The session.
    pub session: SessionId,
    /// The client, as its packets show it at the gateway.
    pub client: SocketAddr,
    /// The server, as the client knows it.
    pub server: SocketAddr,
}

impl Subject {
    /// The session of a control connection.
    #[must_use]
    pub fn of(session: SessionId, tuples: &ConntrackTuples) -> Self {
        let original = tuples.of(Direction::Original);
        Self {
            session,
            client: original.source,
            server: original.destination,
        }
    }

    /// The event of this kind about it.
    #[must_use]
    pub fn event(self, kind: EventKind) -> Event {
        Event {
            session: self.session,
            client: self.client,
            server: self.server,
            kind,
        }
    }
}

/// Numbers that differ from those of every other core: each core has its own remainder.
#[derive(Clone, Copy, Debug)]
pub struct IdSequence {
    last: u64,
    step: u64,
}

impl IdSequence {
    /// The numbers of core `index` of `count`.
    #[must_use]
    pub fn of_core(index: u64, count: u64) -> Self {
        Self {
            last: index,
            step: count.max(1),
        }
    }

    /// The next number.
    pub fn advance(&mut self) -> u64 {
        self.last = self.last.wrapping_add(self.step);
        self.last
    }
}

impl Context<'_> {
    /// Reports an event about the flow.
    pub(super) fn report(&mut self, kind: EventKind) {
        self.effects.events.push(self.subject.event(kind));
    }

    /// Sends packets of our own. The caller of the flow adds how they go.
    pub(super) fn send(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) {
        let own = packets.into_iter().map(|bytes| OwnPacket {
            bytes,
            ingress: None,
            of_receiver: None,
        });
        self.effects.packets.extend(own);
    }

    /// Installs an expectation of the flow; see [`expect_newest`].
    pub(super) fn expect(
        &mut self,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<ExpectationId, ExpectError> {
        expect_newest(self.kernel, self.expectation_ids, expectation, master)
    }
}

/// Installs an expectation. Where the same connection is expected already, the older expectation
/// makes way: its session was given up by its client, and the newest announcement counts.
///
/// # Errors
/// The kernel's refusal; nothing is in force then.
pub fn expect_newest(
    kernel: &mut dyn Kernel,
    ids: &mut IdSequence,
    expectation: &Expectation,
    master: &ConntrackTuples,
) -> Result<ExpectationId, ExpectError> {
    let id = ExpectationId(ids.advance());
    match kernel.expect(id, expectation, master) {
        Ok(()) => Ok(id),
        Err(ExpectError::Clash) => {
            kernel.unexpect(id, expectation, master, Withdrawal::Superseded);
            let id = ExpectationId(ids.advance());
            kernel.expect(id, expectation, master).map(|()| id)
        }
        Err(error) => Err(error),
    }
}
