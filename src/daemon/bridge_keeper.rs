//! Keeps the table for what bridges forward, where the operator's firewall tracks that.
//!
//! A `ct` expression in a table of the family `bridge` switches connection tracking on for every
//! bridge. So this table is loaded only beside rules of the operator that do so already, and goes
//! with them.

use tracing::{error, info, warn};

use super::used_connections::UsedConnections;
use crate::{
    io::{
        netlink::NetlinkError,
        nftables::{ApplyError, Table, TableAccess, TableOwner, is_loaded, tracks_bridges},
    },
    proto::net::Layer,
    ruleset::Ruleset,
};

/// Who puts the table in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Installation {
    /// The daemon.
    Own,
    /// The operator (`install_rules = false`).
    ByHand,
    /// Nobody: the kernel lacks nft's `queue` statement.
    Impossible,
}

/// The table for what bridges forward.
#[derive(Debug)]
pub(super) struct BridgeKeeper {
    owner: TableOwner,
    ruleset: Ruleset,
    access: TableAccess,
    installation: Installation,
    /// `None` where nobody tracks what bridges forward.
    table: Option<Table>,
    /// The log has what stands in the way.
    has_said: bool,
}

impl BridgeKeeper {
    /// A keeper of no table yet.
    pub(super) const fn new(
        owner: TableOwner,
        ruleset: Ruleset,
        access: TableAccess,
        installation: Installation,
    ) -> Self {
        Self {
            owner,
            ruleset,
            access,
            installation,
            table: None,
            has_said: false,
        }
    }

    /// Whether the table is in place.
    pub(super) const fn is_in_place(&self) -> bool {
        self.table.is_some()
    }

    /// Loads the table if somebody tracks by now what bridges forward, and removes it if nobody
    /// does any more. `used` tells the data connections that have come. A failure is logged, and
    /// the next call tries again.
    pub(super) fn follow(&mut self, used: impl FnOnce() -> Result<UsedConnections, NetlinkError>) {
        match self.try_to_follow(used) {
            Ok(()) => {}
            Err(_) if self.has_said => {}
            Err(error) => {
                self.has_said = true;
                error!(
                    %error,
                    "what bridges forward is not read, because the table bridge ftp_alg could not \
                     be loaded: it is tried again every ten seconds"
                );
            }
        }
    }

    /// Puts the table back, where it is needed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn restore(&mut self, used: &UsedConnections) -> Result<(), ApplyError> {
        let is_needed = tracks_bridges(&self.owner)?;
        match &self.table {
            Some(table) if is_needed => table.restore(&|one| used.has(one)),
            Some(_) | None => Ok(()),
        }
    }

    /// Removes the table.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn remove(&mut self) -> Result<(), ApplyError> {
        self.table.take().map_or(Ok(()), Table::remove)
    }

    fn try_to_follow(
        &mut self,
        used: impl FnOnce() -> Result<UsedConnections, NetlinkError>,
    ) -> Result<(), ApplyError> {
        let is_needed = tracks_bridges(&self.owner)?;
        match self.installation {
            Installation::Own if is_needed == self.is_in_place() => {}
            Installation::Own if is_needed => self.load(&used()?)?,
            Installation::Own => {
                self.remove()?;
                info!(
                    "no firewall of a bridge tracks connections any more: the table bridge \
                     ftp_alg is removed"
                );
            }
            Installation::ByHand if is_needed => self.ask_for_table()?,
            Installation::Impossible if is_needed => self.warn_once(
                "a firewall of a bridge tracks connections, and the kernel lacks nft's `queue` \
                 statement (CONFIG_NFT_QUEUE): what bridges forward is not read",
            ),
            Installation::ByHand | Installation::Impossible => self.has_said = false,
        }
        Ok(())
    }

    fn load(&mut self, used: &UsedConnections) -> Result<(), ApplyError> {
        let ruleset = self.ruleset.clone();
        let table = Table::apply(&self.owner, ruleset, self.access, &|one| used.has(one))?;
        table.verify()?;
        self.table = Some(table);
        self.has_said = false;
        info!(
            "a firewall of a bridge tracks connections: the table bridge ftp_alg is in place, and \
             what bridges forward is read"
        );
        Ok(())
    }

    fn ask_for_table(&mut self) -> Result<(), ApplyError> {
        if is_loaded(&self.owner, Layer::Bridged)? {
            self.has_said = false;
        } else {
            self.warn_once(
                "a firewall of a bridge tracks connections, and `install_rules` is false: what \
                 bridges forward is not read until you load what `ftp-alg rules --bridge` prints",
            );
        }
        Ok(())
    }

    fn warn_once(&mut self, said: &str) {
        if !std::mem::replace(&mut self.has_said, true) {
            warn!("{said}");
        }
    }
}
