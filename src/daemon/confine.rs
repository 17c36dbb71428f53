//! Gives up what the daemon does not need once its sockets are open (`io::confinement`).
//!
//! It keeps CAP_NET_ADMIN, which each message to netfilter needs; CAP_NET_RAW is needed to open raw
//! sockets only, and they are open. It becomes the user of the configuration. It reaches its own
//! configuration (SIGHUP reads it again) and the folder of remembered connections. This happens in
//! two steps: [`shed`] while there is only one thread, so that the others are born with no more,
//! and [`seal`] once they are there, so that no further one can be made.

use std::{fs::File, path::Path};

use anyhow::{Context, ensure};
use tracing::{info, warn};

use super::{
    config::{Process, User},
    flow_store::FlowStore,
};
use crate::io::confinement::{
    Account, CapabilitySet, Fence, Reach, allowed_count, fence, filter, give_up_privileges_to_come,
    holdings, keep_only,
};

/// Whom the daemon becomes where the configuration names nobody, if this machine has such a user.
const OWN_USER: &str = "ftp-alg";

/// What was given up so far.
pub(super) struct Shed {
    user: String,
    fence: Fence,
}

/// Becomes the configured user, keeps the one capability, and puts the fence up.
///
/// # Errors
/// There is no such user, or the kernel refuses. A kernel without Landlock is warned of only.
pub(super) fn shed(process: &Process, path: &Path, flow_store: &FlowStore) -> anyhow::Result<Shed> {
    let threads = std::fs::read_dir("/proc/self/task").context("/proc is not there")?;
    ensure!(
        threads.count() == 1,
        "threads were started before privileges were given up"
    );
    let current = Account::current();
    let account = whom_to_become(&process.user, &current)?;
    let user = account.as_ref().unwrap_or(&current).name().to_owned();
    let reach = process
        .landlock
        .then(|| reach(path, flow_store, account.as_ref().unwrap_or(&current)))
        .transpose()?;
    if let Some(account) = account {
        flow_store
            .give_to(account.uid(), account.gid())
            .context("cannot give remembered connections to the daemon's user")?;
        account.assume()?;
    }
    keep_only(CapabilitySet::NET_ADMIN).context("cannot give up capabilities")?;
    give_up_privileges_to_come().context("cannot give up privileges to come")?;
    Ok(Shed {
        user,
        fence: put_up_fence(reach)?,
    })
}

/// Filters the system calls of all threads, and says what is held from now on.
///
/// # Errors
/// The kernel refuses.
pub(super) fn seal(process: &Process, shed: &Shed, path: &Path) -> anyhow::Result<()> {
    if process.seccomp {
        filter().context("system calls (`process.seccomp = false` goes without)")?;
    }
    let held = holdings();
    info!(
        user = shed.user,
        uid = held.uid,
        gid = held.gid,
        capabilities = held.capabilities,
        bounding = held.bounding,
        no_new_privs = held.has_no_new_privs,
        seccomp = %Seccomp(held.is_filtered),
        landlock = %shed.fence,
        "holds"
    );
    if let Err(error) = File::open(path) {
        let path = path.display();
        warn!(%path, %error, "this user cannot read the configuration: SIGHUP will change nothing");
    }
    Ok(())
}

/// Nobody, where the process is that user already.
fn whom_to_become(user: &User, current: &Account) -> anyhow::Result<Option<Account>> {
    let account = match user {
        User::Named(name) => Some(Account::find(name)?.with_context(|| no_user(name))?),
        User::OwnIfThere if current.uid() == 0 => own_account()?,
        User::OwnIfThere => None,
    };
    Ok(account.filter(|account| account.uid() != current.uid()))
}

/// A machine that has no such user is worked on all the same.
fn own_account() -> anyhow::Result<Option<Account>> {
    let account = Account::find(OWN_USER)?;
    if account.is_none() {
        warn!("stays root: {}", no_user(OWN_USER));
    }
    Ok(account)
}

fn no_user(name: &str) -> String {
    format!(
        "this machine has no user `{name}`; `useradd --system --no-create-home --shell \
         /usr/sbin/nologin {name}` makes it"
    )
}

/// The folder of remembered connections, and what SIGHUP reads: the folder of the configuration,
/// since editors put a new file in the old one's place. Who stays root would reach too much in
/// there (/etc/shadow), and reaches the file itself only.
fn reach(path: &Path, flow_store: &FlowStore, user: &Account) -> anyhow::Result<Reach> {
    let file = path
        .canonicalize()
        .with_context(|| path.display().to_string())?;
    let folder = file.parent().filter(|_| user.uid() != 0);
    let reach = Reach::open(folder.unwrap_or(&file), flow_store.folder())?;
    let manager = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    Ok(if manager.as_encoded_bytes().starts_with(b"@") {
        reach.with_abstract_sockets()
    } else {
        reach
    })
}

fn put_up_fence(reach: Option<Reach>) -> anyhow::Result<Fence> {
    let Some(reach) = reach else {
        return Ok(Fence::Missing("process.landlock is false"));
    };
    let up = fence(&reach)?;
    if let Fence::Missing(why) = up {
        warn!(
            why,
            "no Landlock: files are guarded by the user's rights only"
        );
    }
    Ok(up)
}

struct Seccomp(bool);

impl std::fmt::Display for Seccomp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            true => write!(f, "{} system calls", allowed_count()),
            false => f.write_str("off: process.seccomp is false"),
        }
    }
}
