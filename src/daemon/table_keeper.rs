//! Keeps our tables in place for as long as the daemon runs, and decides what stays of it
//! afterwards.
//!
//! Other programs may take the table away: `nft flush ruleset` takes every table, and the
//! `/etc/nftables.conf` of a distribution begins with it. Where the kernel can, nobody but the
//! daemon may change the table ([`TableAccess::Owned`]). Elsewhere the daemon listens to nf_tables,
//! and puts the table back, with everything that it held.

use std::{fmt, future, thread};

use anyhow::Context;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{
    backend::Choice, bridge_keeper::BridgeKeeper, flow_store::FlowStore,
    used_connections::UsedConnections,
};
use crate::{
    io::{
        ctnetlink::{Conntrack, list_expected},
        netlink::NetlinkError,
        nftables::{
            ApplyError, ExpectationStore, MasteredExpectation, Notice, PairStore, Table,
            TableAccess, TableChange, TableOwner, TableWatch, is_loaded, restore_elements,
        },
    },
    proto::{
        net::{Direction, Layer},
        shared::SharedTables,
    },
    ruleset::{Backend, Labels, WhenAbsent},
};

/// Our table, and those who watch over it.
pub(super) struct TableKeeper {
    owner: TableOwner,
    changes: mpsc::Receiver<TableChange>,
    bridge_changes: mpsc::Receiver<()>,
    conntrack: Conntrack,
    labels: Labels,
    backend: Backend,
    /// `None` where the operator has loaded it by hand.
    table: Option<Table>,
    /// `None` until the keeper has begun.
    bridges: Option<BridgeKeeper>,
    /// A table could not be put back yet.
    is_missing: bool,
}

/// Why the table stays when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remainder {
    /// Connections with a sequence offset, which must not pass untranslated.
    adjusted: usize,
    /// Expectations whose connections have not come yet.
    expected: usize,
    /// Without the daemon no control connection passes.
    drops: bool,
}

impl Remainder {
    const fn is_empty(&self) -> bool {
        self.adjusted == 0 && self.expected == 0 && !self.drops
    }
}

impl fmt::Display for Remainder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons = Vec::new();
        if self.drops {
            reasons.push(
                "with `when_absent = \"drop\"` no control connection passes until the next start"
                    .to_owned(),
            );
        }
        if self.adjusted > 0 {
            reasons.push(format!(
                "{} connections with a sequence offset wait for the next start, and break without \
                 the table",
                self.adjusted
            ));
        }
        if self.expected > 0 {
            reasons.push(format!(
                "{} announced data connections may still come",
                self.expected
            ));
        }
        f.write_str(&reasons.join(", and "))
    }
}

impl TableKeeper {
    /// A keeper of no table yet. It starts a thread, which waits for changes.
    ///
    /// # Errors
    /// No netlink socket or no thread can be had.
    pub(super) fn start(
        owner: &TableOwner,
        choice: Choice,
        labels: Labels,
    ) -> anyhow::Result<Self> {
        let (changes, bridge_changes) = start_watch(owner)?;
        Ok(Self {
            owner: owner.clone(),
            changes,
            bridge_changes,
            conntrack: Conntrack::open().context("cannot open a socket to conntrack")?,
            labels,
            backend: choice.backend(),
            table: None,
            bridges: None,
            is_missing: false,
        })
    }

    /// The data connections that have come, for a table that is taken over.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub(super) fn used(&mut self) -> Result<UsedConnections, NetlinkError> {
        UsedConnections::read(&mut self.conntrack, self.backend, self.labels)
    }

    /// Begins to keep this table, and the one for bridges where it is needed.
    pub(super) fn keep(&mut self, table: Option<Table>, bridges: BridgeKeeper) {
        match table.as_ref().map(Table::access) {
            Some(TableAccess::Owned) => info!(
                "our table is in place: no other program can change it while this one runs \
                 (table_owner)"
            ),
            Some(TableAccess::Shared) => {
                info!("our table is in place: if another program changes it, it is put back");
            }
            None => self.warn_of_no_table(),
        }
        self.table = table;
        self.bridges = Some(bridges);
        self.follow_bridges();
    }

    /// Waits until somebody has changed our tables, or the rules for bridges.
    pub(super) async fn notice(&mut self) -> Notice {
        tokio::select! {
            Some(change) = self.changes.recv() => Notice {
                ours: Some(change),
                bridge_rules: false,
            },
            Some(()) = self.bridge_changes.recv() => Notice {
                ours: None,
                bridge_rules: true,
            },
            // The thread has said why it ended.
            else => future::pending().await,
        }
    }

    /// Puts the tables back if that has failed before, and follows the rules for bridges.
    pub(super) fn handle_tick(&mut self, shared: &SharedTables) {
        self.follow_bridges();
        if self.is_missing && self.restore(shared).is_ok() {
            info!("our table was put back");
        }
    }

    /// Puts the tables back whether they were changed or not.
    ///
    /// # Errors
    /// The kernel refuses. The keeper tries again.
    pub(super) fn restore(&mut self, shared: &SharedTables) -> Result<(), ApplyError> {
        let Some(table) = &self.table else {
            return Ok(());
        };
        // Until it is known to be back.
        self.is_missing = true;
        let used = UsedConnections::read(&mut self.conntrack, self.backend, self.labels)?;
        table.restore(&|one| used.has(one))?;
        if let Some(bridges) = &mut self.bridges {
            bridges.restore(&used)?;
        }
        self.is_missing = false;
        self.restore_grants(shared);
        Ok(())
    }

    /// What is expected, each with the time that it has left.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub(super) fn expected(&self) -> Result<Vec<MasteredExpectation>, NetlinkError> {
        match self.backend {
            Backend::Nftables => Ok(self.owner.live()),
            Backend::Conntrack => self.owner.adopt_denied_iifs(list_expected()?),
        }
    }

    /// Removes the table, unless something is left that needs it. Returns whether it is gone.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn leave(
        mut self,
        when_absent: WhenAbsent,
        flow_store: &FlowStore,
    ) -> anyhow::Result<bool> {
        let Some(table) = self.table.take() else {
            return Ok(true);
        };
        // What is withdrawn must not be taken over by the next process.
        let mut store = match self.backend {
            Backend::Nftables => ExpectationStore::new(self.owner.clone()),
            Backend::Conntrack => ExpectationStore::of_denied_iif(self.owner.clone()),
        };
        store.flush();
        let left = self.remainder(when_absent, flow_store);
        if left.is_empty() {
            if let Some(bridges) = &mut self.bridges {
                bridges.remove()?;
            }
            table.remove()?;
            return Ok(true);
        }
        let removal = if self.bridges.as_ref().is_some_and(BridgeKeeper::is_in_place) {
            "`nft 'delete table inet ftp_alg; delete table bridge ftp_alg'`"
        } else {
            "`nft delete table inet ftp_alg`"
        };
        // A connection is lost with the table, or none passes.
        if left.adjusted > 0 || left.drops {
            warn!("our table stays: {left}; {removal} removes it");
        } else {
            info!("our table stays: {left}; {removal} removes it");
        }
        Ok(false)
    }

    /// The operator loads the table, and may have forgotten it.
    fn warn_of_no_table(&self) {
        match is_loaded(&self.owner, Layer::Routed) {
            Ok(true) => {}
            Ok(false) => warn!(
                "no table inet ftp_alg is loaded, and `install_rules` is false: nothing is read \
                 until you load what `ftp-alg rules` prints"
            ),
            Err(error) => warn!(%error, "nf_tables could not be asked for the table inet ftp_alg"),
        }
    }

    /// Does what a change of nf_tables by somebody else asks for.
    pub(super) fn handle_notice(&mut self, notice: &Notice, shared: &SharedTables) {
        // Before anything is put back that nobody needs any more.
        self.follow_bridges();
        if let Some(change) = &notice.ours {
            self.handle_change(change, shared);
        }
    }

    fn follow_bridges(&mut self) {
        let Some(bridges) = &mut self.bridges else {
            return;
        };
        let (conntrack, backend, labels) = (&mut self.conntrack, self.backend, self.labels);
        bridges.follow(|| UsedConnections::read(conntrack, backend, labels));
    }

    /// Puts the tables back after a change.
    fn handle_change(&mut self, change: &TableChange, shared: &SharedTables) {
        let TableChange { program, pid } = change;
        let program = program.as_deref().unwrap_or("a program");
        let pid = pid.unwrap_or(0);
        if self.table.is_none() {
            self.handle_change_by_hand(program, pid);
            return;
        }
        match self.restore(shared) {
            Ok(()) => warn!(
                program,
                pid,
                "our table was changed by another program, and is put back with all that it held"
            ),
            Err(error) => error!(
                program,
                pid,
                %error,
                "our table was changed by another program, and could not be put back: it is tried \
                 again every ten seconds"
            ),
        }
    }

    /// The operator's table was changed: perhaps taken away, perhaps loaded anew.
    fn handle_change_by_hand(&mut self, program: &str, pid: u32) {
        let used = UsedConnections::read(&mut self.conntrack, self.backend, self.labels);
        let restored = used
            .map_err(ApplyError::from)
            .and_then(|used| restore_elements(&self.owner, self.backend, &|one| used.has(one)));
        match restored {
            Ok(true) => warn!(
                program,
                pid, "the table inet ftp_alg was changed: it has what is expected again"
            ),
            Ok(false) => warn!(
                program,
                pid,
                "the table inet ftp_alg was taken away: nothing is read until you load again what \
                 `ftp-alg rules` prints"
            ),
            Err(error) => error!(
                program,
                pid,
                %error,
                "the table inet ftp_alg was changed, and what is expected could not be put back"
            ),
        }
    }

    fn restore_grants(&self, shared: &SharedTables) {
        let pairs = shared.grants().pairs();
        let mut store = PairStore::new(self.owner.clone());
        let failed = pairs.into_iter().find_map(|pair| store.add(pair).err());
        if let Some(error) = failed {
            warn!(%error, "grants of encrypted sessions could not be put back");
        }
    }

    fn remainder(&mut self, when_absent: WhenAbsent, flow_store: &FlowStore) -> Remainder {
        let adjusted = count_adjusted(&mut self.conntrack, self.labels, flow_store);
        let expected = match self.backend {
            Backend::Nftables => Ok(self.owner.live().len()),
            Backend::Conntrack => list_expected().map(|expected| expected.len()),
        };
        let or_one = |counted: Result<usize, NetlinkError>| {
            counted.unwrap_or_else(|error| {
                warn!(%error, "the kernel could not be asked what is left: our table stays");
                1
            })
        };
        Remainder {
            adjusted: or_one(adjusted),
            expected: or_one(expected),
            drops: when_absent == WhenAbsent::Drop,
        }
    }
}

/// Starts the thread that listens to nf_tables. It ends with the process.
fn start_watch(
    owner: &TableOwner,
) -> anyhow::Result<(mpsc::Receiver<TableChange>, mpsc::Receiver<()>)> {
    let mut watch = TableWatch::open(owner).context("cannot listen to nf_tables")?;
    // Of several changes at once one is enough: the table is put back as a whole.
    let (sender, changes) = mpsc::channel(1);
    let (bridge_sender, bridge_changes) = mpsc::channel(1);
    let listen = move || {
        loop {
            match watch.wait_for_change() {
                Ok(notice) => {
                    if let Some(change) = notice.ours {
                        let _ = sender.try_send(change);
                    }
                    if notice.bridge_rules {
                        let _ = bridge_sender.try_send(());
                    }
                }
                Err(error) => {
                    return error!(%error, "changes of our table are not noticed any more");
                }
            }
        }
    };
    let thread = thread::Builder::new().name("table-watch".to_owned());
    thread.spawn(listen).context("cannot start a thread")?;
    Ok((changes, bridge_changes))
}

/// How many connections have a sequence offset that is known, and are not over.
fn count_adjusted(
    conntrack: &mut Conntrack,
    labels: Labels,
    flow_store: &FlowStore,
) -> Result<usize, NetlinkError> {
    let mut count = 0;
    conntrack.list_labelled(labels.adjust, |entry| {
        let is_over = entry.tcp_state.is_some_and(|state| state.is_over());
        // Both bits stand for a connection of the kernel's helper.
        let is_untouched = entry.label.has(labels.opaque);
        let original = entry.tuples.of(Direction::Original);
        let is_known = flow_store.find(original) == Some(entry.tuples);
        count += usize::from(!is_over && !is_untouched && is_known);
    })?;
    Ok(count)
}
