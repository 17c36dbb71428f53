//! The one socket through which this process changes our tables.
//!
//! While a table has an owner (`flags owner`), the kernel takes changes of it from its owner's
//! socket alone. So the workers share the socket. They lose nothing by it, because the kernel
//! carries out one transaction after the other anyway.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::net::sockopt;

use super::{
    adopted,
    live::{LiveExpectations, key_of},
    mastered::{Master, MasteredExpectation},
};
use crate::{
    io::{
        clock,
        netlink::{NetlinkError, Socket},
    },
    proto::{
        expect::{Expectation, ExpectationId},
        net::{Layer, Tuple},
    },
};

/// Room for a transaction with the whole table and some hundred elements, in bytes.
const SEND_BUFFER: usize = 1 << 20;

/// The control connection where it does not matter: an element is deleted by its key.
const NOBODY: Tuple = Tuple::new(
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
);

/// A handle to the socket that owns our tables. Clones share the socket.
#[derive(Clone, Debug)]
pub struct TableOwner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    has_pending_deletes: AtomicBool,
}

/// What the handles share.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) socket: Socket,
    /// The expectations whose elements are in the tables.
    pub(super) live: LiveExpectations,
    /// The withdrawn expectations, which the next transaction deletes.
    pub(super) pending_deletes: Vec<MasteredExpectation>,
}

impl TableOwner {
    /// Opens the socket. The table need not exist yet.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::open()?;
        // Only a privileged process may exceed the limit of the system. What does not fit is
        // refused, and logged.
        let _ = sockopt::set_socket_send_buffer_size_force(&socket, SEND_BUFFER);
        Ok(Self(Arc::new(Shared {
            held: Mutex::new(Held {
                socket,
                live: LiveExpectations::default(),
                pending_deletes: Vec::new(),
            }),
            has_pending_deletes: AtomicBool::new(false),
        })))
    }

    /// The address of the socket, by which notifications name who has changed something.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.lock().socket.port()
    }

    /// The expectations whose time is not up yet, each with the time that it has left.
    #[must_use]
    pub fn live(&self) -> Vec<MasteredExpectation> {
        self.lock().live.unexpired(clock::now())
    }

    /// Takes over the expectations that an earlier process has left in the table of a layer.
    ///
    /// # Errors
    /// When nf_tables cannot be asked.
    pub fn adopt(&self, layer: Layer) -> Result<(), NetlinkError> {
        let mut held = self.lock();
        for mastered in adopted::read(&mut held.socket, layer)? {
            let now = clock::now();
            held.live.insert(ExpectationId::INHERITED, mastered, now);
        }
        Ok(())
    }

    /// Takes over the denied interfaces of expectations that the kernel itself has, and completes
    /// the expectations with them. Those of expectations that were used are withdrawn.
    ///
    /// # Errors
    /// When nf_tables cannot be asked.
    pub fn adopt_denied_iifs(
        &self,
        mut expected: Vec<MasteredExpectation>,
    ) -> Result<Vec<MasteredExpectation>, NetlinkError> {
        let mut held = self.lock();
        let mut denied = adopted::read_denied_iifs(&mut held.socket)?;
        for one in &mut expected {
            one.expectation.denied_iif = denied.remove(&key_of(&one.expectation));
            held.live
                .insert(ExpectationId::INHERITED, *one, clock::now());
        }
        for ((source, destination), iif) in denied {
            held.pending_deletes.push(MasteredExpectation {
                master: Master::from(NOBODY),
                expectation: Expectation {
                    source,
                    source_prefix: None,
                    destination,
                    translated_destination: destination,
                    translated_source: source,
                    denied_iif: Some(iif),
                    timeout: Duration::ZERO,
                },
                is_repeated: false,
            });
        }
        self.note_pending_deletes(&held);
        Ok(expected)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Held> {
        // What a panic leaves behind is a socket between two requests: answers to an earlier one
        // are known by their number.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether withdrawn expectations are not deleted yet. It takes no lock.
    pub(super) fn has_pending_deletes(&self) -> bool {
        self.0.has_pending_deletes.load(Ordering::Relaxed)
    }

    pub(super) fn note_pending_deletes(&self, held: &Held) {
        let has_some = !held.pending_deletes.is_empty();
        self.0
            .has_pending_deletes
            .store(has_some, Ordering::Relaxed);
    }
}
