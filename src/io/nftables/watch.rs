//! Notices when somebody else changes our tables, or the rules for bridges.

use std::io;

use super::{SUBSYSTEM, TableOwner, family};
use crate::{
    io::netlink::{Message, NetlinkError, Socket},
    proto::net::Layer,
    ruleset::TABLE,
};

/// `NFNLGRP_NFTABLES`: whatever is changed in nf_tables, in this network namespace.
const GROUP: u32 = 7;

/// The attribute of a notification that names the table; all kinds of objects have the same.
const NFTA_TABLE: u16 = 1;
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;

/// What a transaction of somebody else has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// A table of ours.
    pub ours: Option<TableChange>,
    /// Another table of the family `bridge`.
    pub bridge_rules: bool,
}

/// A change of our tables by somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableChange {
    /// The name of the program, where the kernel tells it.
    pub program: Option<String>,
    /// Its process id.
    pub pid: Option<u32>,
}

/// Listens to nf_tables.
#[derive(Debug)]
pub struct TableWatch {
    socket: Socket,
    /// A table of ours was named since the last end of a transaction.
    is_touched: bool,
    /// The same of another table for bridges.
    touches_bridges: bool,
}

impl TableWatch {
    /// Begins to listen. What the owner's socket does is not heard.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open(owner: &TableOwner) -> Result<Self, NetlinkError> {
        let socket = Socket::open()?;
        socket.join(GROUP, owner.port())?;
        Ok(Self {
            socket,
            is_touched: false,
            touches_bridges: false,
        })
    }

    /// Waits until somebody has changed a table of ours, or another one for bridges.
    ///
    /// # Errors
    /// When the socket fails for good. An overrun counts as a change of all by nobody in
    /// particular.
    pub fn wait_for_change(&mut self) -> Result<Notice, NetlinkError> {
        loop {
            let length = match self.socket.receive_datagram() {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Notice {
                        ours: Some(TableChange::default()),
                        bridge_rules: true,
                    });
                }
                Err(error) => return Err(error.into()),
            };
            let mut notice = Notice::default();
            for message in self.socket.received(length) {
                if is_end_of_transaction(&message) {
                    if std::mem::take(&mut self.is_touched) {
                        notice.ours = Some(changed_by(&message));
                    }
                    notice.bridge_rules |= std::mem::take(&mut self.touches_bridges);
                } else if is_about_our_table(&message) {
                    self.is_touched = true;
                } else if message.family() == Some(family(Layer::Bridged)) {
                    self.touches_bridges = true;
                }
            }
            if notice != Notice::default() {
                return Ok(notice);
            }
        }
    }
}

fn is_end_of_transaction(message: &Message<'_>) -> bool {
    message.kind.to_be_bytes() == [SUBSYSTEM, libc::NFT_MSG_NEWGEN as u8]
}

fn changed_by(end: &Message<'_>) -> TableChange {
    let attributes = end.attributes();
    TableChange {
        program: attributes.name(NFTA_GEN_PROC_NAME).map(str::to_owned),
        pid: attributes.u32(NFTA_GEN_PROC_PID),
    }
}

/// A table of another family may have the same name.
fn is_about_our_table(message: &Message<'_>) -> bool {
    let is_of_ours = |layer| message.family() == Some(family(layer));
    Layer::BOTH.into_iter().any(is_of_ours) && message.attributes().name(NFTA_TABLE) == Some(TABLE)
}
