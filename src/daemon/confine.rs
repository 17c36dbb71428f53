//! Drops the privileges that the daemon does not need once its sockets are open
//! (`io::confinement`).
//!
//! The daemon keeps CAP_NET_ADMIN, which every message to netfilter needs. CAP_NET_RAW is needed
//! only to open raw sockets, and they are open. The daemon switches to the configured user. It may
//! still reach its configuration, which SIGHUP reads again, and the directory of saved flows.
//!
//! There are two steps. [`drop_privileges`] runs while the process has one thread, because threads
//! inherit the restrictions. [`install_seccomp`] runs once the workers' threads exist, because it
//! forbids new ones.

use std::{fs::File, path::Path};

use anyhow::{Context, ensure};
use tracing::{info, warn};

use super::{config::ProcessKeys, flow_store::FlowStore};
use crate::io::confinement::{
    self, Account, AllowedPaths, CapabilitySet, LandlockStatus, ProcessCredentials,
    allowed_syscalls, forbid_new_privileges, install_landlock, keep_capabilities,
};

/// The daemon's user if the configuration names none and this machine has such a user.
const OWN_USER: &str = "ftp-alg";

/// The result of the first step.
pub(super) struct Confinement {
    user: String,
    landlock: LandlockStatus,
}

/// Switches to the configured user, keeps the one capability, and restricts the paths.
///
/// # Errors
/// There is no such user, or the kernel refuses. A kernel without Landlock causes a warning only.
pub(super) fn drop_privileges(
    process: &ProcessKeys,
    path: &Path,
    flow_store: &FlowStore,
) -> anyhow::Result<Confinement> {
    let threads = std::fs::read_dir("/proc/self/task").context("/proc is not there")?;
    ensure!(
        threads.count() == 1,
        "threads were started before the privileges were dropped"
    );
    let current = Account::current();
    let account = user_to_switch_to(process.user.as_deref(), &current)?;
    let user = account.as_ref().unwrap_or(&current).name().to_owned();
    let paths = process
        .landlock
        .then(|| allowed_paths(path, flow_store, account.as_ref().unwrap_or(&current)))
        .transpose()?;
    if let Some(account) = account {
        flow_store
            .give_to(account.uid(), account.gid())
            .map_err(|error| not_given(&error, account.name()))?;
        account.switch_user()?;
    }
    keep_capabilities(CapabilitySet::NET_ADMIN).context("cannot drop capabilities")?;
    forbid_new_privileges().context("cannot forbid new privileges")?;
    Ok(Confinement {
        user,
        landlock: restrict_paths(paths)?,
    })
}

/// In a user namespace without the daemon's user, nothing can be given to it (EINVAL).
fn not_given(error: &std::io::Error, user: &str) -> anyhow::Error {
    let hint = match error.raw_os_error() {
        Some(libc::EINVAL) => {
            ": this user namespace has no such user; set `user = \"root\"` in [process]"
        }
        Some(_) | None => "",
    };
    anyhow::anyhow!("cannot give the saved flows to the user {user}: {error}{hint}")
}

/// Filters the system calls of all threads, and logs the privileges that are left.
///
/// # Errors
/// The kernel refuses.
pub(super) fn install_seccomp(
    process: &ProcessKeys,
    confinement: &Confinement,
    path: &Path,
) -> anyhow::Result<()> {
    if process.seccomp {
        confinement::install_seccomp()
            .context("system calls (`process.seccomp = false` goes without)")?;
    }
    let held = ProcessCredentials::current();
    info!(
        user = confinement.user,
        uid = held.uid,
        gid = held.gid,
        capabilities = held.capabilities,
        bounding = held.bounding,
        no_new_privs = held.has_no_new_privs,
        seccomp = %Seccomp(held.is_filtered),
        landlock = %confinement.landlock,
        "holds"
    );
    if let Err(error) = File::open(path) {
        let path = path.display();
        warn!(%path, %error, "this user cannot read the configuration: SIGHUP will change nothing");
    }
    Ok(())
}

/// `None` if the process has that user already.
fn user_to_switch_to(user: Option<&str>, current: &Account) -> anyhow::Result<Option<Account>> {
    let account = match user {
        Some(name) => Some(Account::find(name)?.with_context(|| no_user(name))?),
        None if current.uid() == 0 => own_account()?,
        None => None,
    };
    Ok(account.filter(|account| account.uid() != current.uid()))
}

/// A machine without that user is no error.
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

/// The directory of saved flows, and the directory of the configuration, because editors replace
/// the file by a new one. For root that directory holds too much (/etc/shadow): root may read only
/// the file itself.
fn allowed_paths(
    path: &Path,
    flow_store: &FlowStore,
    user: &Account,
) -> anyhow::Result<AllowedPaths> {
    let file = path
        .canonicalize()
        .with_context(|| path.display().to_string())?;
    let directory = file.parent().filter(|_| user.uid() != 0);
    let paths = AllowedPaths::open(directory.unwrap_or(&file), flow_store.directory())?;
    // The directory of saved flows is removed in the end, if it is empty.
    let above = flow_store.directory().parent();
    let paths = paths.with_emptied(above.unwrap_or(flow_store.directory()))?;
    let manager = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    Ok(if manager.as_encoded_bytes().starts_with(b"@") {
        paths.with_abstract_sockets()
    } else {
        paths
    })
}

fn restrict_paths(paths: Option<AllowedPaths>) -> anyhow::Result<LandlockStatus> {
    let Some(paths) = paths else {
        return Ok(LandlockStatus::Absent("process.landlock is false"));
    };
    let status = install_landlock(&paths)?;
    if let LandlockStatus::Absent(why) = status {
        warn!(
            why,
            "no Landlock: only the user's rights protect the files of this machine"
        );
    }
    Ok(status)
}

struct Seccomp(bool);

impl std::fmt::Display for Seccomp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            true => write!(f, "{} system calls", allowed_syscalls()),
            false => f.write_str("off: process.seccomp is false"),
        }
    }
}
