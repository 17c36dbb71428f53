//! Chooses the backend that lets data connections in, and installs what it needs.
//!
//! With `auto` the daemon asks the kernel once, at start. If the kernel takes helpers of ours, it
//! expects the data connections itself. Otherwise our own sets and maps do. Rules that were loaded
//! by hand have made the choice already.

use anyhow::{Context, bail};
use tracing::{info, warn};

use super::{
    bridge_keeper::{BridgeKeeper, Installation},
    config::Config,
    from_config::params_of,
    used_connections::UsedConnections,
};
use crate::{
    io::{
        cthelper,
        ctnetlink::{ChildNat, Conntrack, ConntrackExpectations},
        expectations::Expectations,
        nftables::{
            ApplyError, ExpectationStore, PairStore, Probe, Table, TableAccess, TableOwner,
            has_helper_object, probe, remove_leftover, supports_owned_tables, tracks_bridges,
        },
    },
    proto::net::Layer,
    ruleset::{AcceptLine, Backend, HELPER, QueueStatement, Ruleset},
};

/// How often the daemon tries to load the table. A daemon in another network namespace may remove
/// the shared helper in between.
const LOAD_ATTEMPTS: u32 = 3;

/// The choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    backend: Backend,
    statement: QueueStatement,
    child_nat: ChildNat,
    access: TableAccess,
}

impl Choice {
    /// The backend.
    pub(super) const fn backend(self) -> Backend {
        self.backend
    }

    /// The configuration's name of the backend.
    pub(super) const fn backend_name(self) -> &'static str {
        match self.backend {
            Backend::Nftables => "nftables",
            Backend::Conntrack => "conntrack",
        }
    }

    /// What the operator's rules have to say so that expected data connections pass, in nft's
    /// language and in that of iptables. `data` is their mark bit.
    pub(super) fn accept_line(self, data: u32) -> String {
        let AcceptLine { nft, iptables } = AcceptLine::new(self.backend, data);
        format!("`{nft}` (iptables: `{iptables}`)")
    }

    /// Opens a worker's connection to it. `owner` is that of our table.
    pub(super) fn open_expectations(self, owner: TableOwner) -> anyhow::Result<Expectations> {
        Ok(match self.backend {
            Backend::Nftables => Expectations::Nftables {
                store: ExpectationStore::new(owner),
                conntrack: Conntrack::open().context("cannot open a socket to conntrack")?,
            },
            Backend::Conntrack => Expectations::Conntrack {
                expectations: ConntrackExpectations::open(self.child_nat)
                    .context("cannot open a socket to conntrack")?,
                denied_iif: ExpectationStore::of_denied_iif(owner),
            },
        })
    }
}

/// Asks the kernel for its facilities, and chooses.
///
/// # Errors
/// The kernel lacks what the configuration asks for; the message names the build option or the
/// privilege.
pub(super) fn choose(config: &Config) -> anyhow::Result<Choice> {
    let found = probe().context("cannot ask the kernel what it has")?;
    log_findings(&found);
    let (backend, why) = choose_backend(config, &found)?;
    if let Some((name, availability)) = found.obstacle(backend) {
        bail!("{name}: {availability}");
    }
    let Some(statement) = found.choice() else {
        bail!("the kernel has no way into a queue")
    };
    let choice = Choice {
        backend,
        statement,
        child_nat: if found.nat.is_available() {
            ChildNat::FollowMaster
        } else {
            ChildNat::Absent
        },
        access: choose_access(config)?,
    };
    info!(
        backend = choice.backend_name(),
        why,
        queue = ?statement,
        "backend chosen"
    );
    Ok(choice)
}

fn choose_access(config: &Config) -> anyhow::Result<TableAccess> {
    let is_owned = config.table_owner
        && supports_owned_tables().context("cannot ask the kernel about owned tables")?;
    Ok(if is_owned {
        TableAccess::Owned
    } else {
        TableAccess::Shared
    })
}

fn choose_backend(config: &Config, found: &Probe) -> anyhow::Result<(Backend, String)> {
    let asked = |backend| (backend, "the configuration says so".to_owned());
    let obstacle = found.obstacle(Backend::Conntrack);
    Ok(match (*config.backend, obstacle) {
        (Some(Backend::Nftables), _) => asked(Backend::Nftables),
        (Some(Backend::Conntrack), None) => asked(Backend::Conntrack),
        (Some(Backend::Conntrack), Some((name, availability))) => {
            bail!("backend \"conntrack\" cannot be used here: {name}: {availability}")
        }
        (None, _) if !config.install_rules => choose_by_table(),
        (None, None) => (
            Backend::Conntrack,
            "the kernel takes connection tracking helpers".to_owned(),
        ),
        (None, Some((name, availability))) => {
            (Backend::Nftables, format!("{name}: {availability}"))
        }
    })
}

/// With rules loaded by hand: the backend that they were printed for.
fn choose_by_table() -> (Backend, String) {
    match has_helper_object() {
        Ok(true) => (
            Backend::Conntrack,
            "the loaded table attaches our helper".to_owned(),
        ),
        Ok(false) | Err(_) => (
            Backend::Nftables,
            "install_rules is off, and no loaded table attaches our helper".to_owned(),
        ),
    }
}

fn log_findings(found: &Probe) {
    info!(
        nf_tables = %found.nf_tables,
        nat = %found.nat,
        queue_statement = %found.queue_statement,
        queue_target = %found.queue_target,
        nfnetlink_queue = %found.queues,
        ctnetlink = %found.ctnetlink,
        labels = %found.labels,
        nfnetlink_cthelper = %found.helper,
        helper_object = %found.helper_object,
        "the kernel"
    );
}

/// Registers the helper if the backend needs it, and loads our table unless the operator has.
///
/// # Errors
/// The kernel refuses.
pub(super) fn install(
    config: &Config,
    choice: Choice,
    owner: &TableOwner,
    used: &UsedConnections,
) -> anyhow::Result<Option<Table>> {
    let ruleset = Ruleset::build(&params_of(config, choice.statement, choice.backend));
    for attempt in 1.. {
        if choice.backend == Backend::Conntrack {
            cthelper::register(HELPER).context("cannot register our connection tracking helper")?;
        }
        if !config.install_rules {
            forget_grants(config, owner);
            for layer in Layer::BOTH {
                owner
                    .adopt(layer)
                    .context("cannot read what is expected already")?;
            }
            return Ok(None);
        }
        match Table::apply(owner, ruleset.clone(), choice.access, &|one| used.has(one)) {
            Err(ApplyError::Unsupported) if ruleset.helper.is_some() && attempt < LOAD_ATTEMPTS => {
            }
            applied => return verify(applied.context("cannot load our table")?).map(Some),
        }
    }
    Ok(None)
}

/// Whoever keeps the table for what bridges forward. One that an earlier daemon has left is taken
/// over, or removed where nobody needs it.
///
/// # Errors
/// The kernel refuses.
pub(super) fn keep_bridges(
    config: &Config,
    choice: Choice,
    owner: &TableOwner,
) -> anyhow::Result<BridgeKeeper> {
    let params = params_of(config, choice.statement, choice.backend);
    let installation = match choice.statement {
        _ if !config.install_rules => Installation::ByHand,
        QueueStatement::Native => Installation::Own,
        QueueStatement::XtTarget | QueueStatement::Elsewhere => Installation::Impossible,
    };
    let is_needed = tracks_bridges(owner).context("cannot list the rules of bridges")?;
    if installation == Installation::Own && !is_needed {
        remove_leftover(owner, Layer::Bridged).context("cannot remove the table for bridges")?;
    }
    let ruleset = Ruleset::build_bridged(&params);
    Ok(BridgeKeeper::new(
        owner.clone(),
        ruleset,
        choice.access,
        installation,
    ))
}

/// Takes back the grants of an earlier daemon. A table that was loaded by hand outlives a daemon,
/// with its grants. They open nothing, but nobody else would take them out.
fn forget_grants(config: &Config, owner: &TableOwner) {
    if config.policy.granted_ports().is_none() {
        return;
    }
    if let Err(error) = PairStore::new(owner.clone()).flush() {
        warn!(%error, "what an earlier daemon had granted could not be taken back");
    }
}

fn verify(table: Table) -> anyhow::Result<Table> {
    table
        .verify()
        .context("our table is not as it was loaded")?;
    Ok(table)
}

/// Unregisters the helper, unless it is still needed: by a connection of this network namespace,
/// which the next daemon will handle, or by the table of a daemon in another namespace.
pub(super) fn leave(choice: Choice) {
    if choice.backend != Backend::Conntrack {
        return;
    }
    let is_used = Conntrack::open().and_then(|mut conntrack| conntrack.has_helped());
    let result = match is_used {
        Ok(true) => Ok(false),
        Ok(false) => cthelper::unregister(HELPER),
        Err(error) => Err(error),
    };
    match result {
        Ok(true) => info!(helper = HELPER, "unregistered"),
        Ok(false) => info!(helper = HELPER, "stays registered: it is in use"),
        Err(error) => warn!(helper = HELPER, %error, "could not be unregistered"),
    }
}
