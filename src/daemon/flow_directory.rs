//! The directories of saved flows, one for each network namespace, named by its number.
//!
//! A running daemon holds a shared lock on its directory. A directory is removed by who gets the
//! exclusive lock: an empty one when its daemon ends in order, and one whose namespace is gone when
//! any daemon starts.

use std::{
    ffi::OsStr,
    fs, io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, FlockOperation, Mode, OFlags, StatFs, flock, fstat, fstatfs, open, openat,
        unlinkat,
    },
    io::Errno,
};
use tracing::{info, warn};

use crate::io::namespaces::network_namespaces;

/// How often a directory is made that another process removes at the same time.
const TRIES: usize = 8;

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// `linux/magic.h`: the file systems that are in memory.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Makes the directory of a namespace below `root`, where it is missing, and locks it.
///
/// # Errors
/// It cannot be made.
pub(super) fn open_own(root: &Path, namespace: u64) -> io::Result<OwnedFd> {
    let path = root.join(namespace.to_string());
    for _ in 0..TRIES {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        let opened = match open(&path, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            opened => opened?,
        };
        flock(&opened, FlockOperation::LockShared)?;
        let is_there = fs::metadata(&path)
            .is_ok_and(|there| fstat(&opened).is_ok_and(|own| own.st_ino == there.ino()));
        if is_there {
            return Ok(opened);
        }
    }
    Err(io::Error::other(
        "another process removes it again and again",
    ))
}

/// Removes an empty directory that is this process's alone. Whatever keeps it is no failure.
pub(super) fn remove_if_empty(root: &OwnedFd, name: &str, opened: &OwnedFd) {
    if flock(opened, FlockOperation::NonBlockingLockExclusive).is_ok() {
        unlinkat(root, name, AtFlags::REMOVEDIR).ok();
    }
}

/// Removes the directories of namespaces that are gone, where that is certain.
pub(super) fn remove_dead(root: &Path, own: u64) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let of_others = |name: &String| name.parse().is_ok_and(|number: u64| number != own);
    let candidates: Vec<_> = names.filter(of_others).collect();
    if candidates.is_empty() {
        return;
    }
    // After the names were read: a namespace that is made meanwhile has its directory spared.
    let Ok(living) = network_namespaces() else {
        return;
    };
    let Ok(root) = open(root, DIRECTORY, Mode::empty()) else {
        return;
    };
    let is_dead = |name: &&String| name.parse().is_ok_and(|number| !living.contains(&number));
    for name in candidates.iter().filter(is_dead) {
        match remove_with_flows(&root, name) {
            Ok(true) => info!(
                name,
                "the saved flows of a network namespace that is gone: removed"
            ),
            // It has other files, or a daemon uses it.
            Ok(false) => {}
            Err(error) => warn!(name, %error, "a directory of saved flows could not be removed"),
        }
    }
}

/// Warns where the directory is not in memory.
pub(super) fn warn_of_disk(path: &Path, opened: &OwnedFd) {
    if fstatfs(opened).is_ok_and(|found| !is_in_memory(&found)) {
        let directory = path.display();
        warn!(
            %directory,
            "`restart.directory` is on a disk, and packets may have to wait for it: choose a \
             directory on a tmpfs, such as one in /run"
        );
    }
}

fn is_in_memory(found: &StatFs) -> bool {
    IN_MEMORY.contains(&(found.f_type as u64))
}

/// Removes a directory that has nothing but saved flows. `false` where it has anything else, or is
/// in use.
fn remove_with_flows(root: &OwnedFd, name: &str) -> io::Result<bool> {
    let opened = openat(root, name, DIRECTORY, Mode::empty())?;
    if flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    let mut files = Vec::new();
    for entry in rustix::fs::Dir::read_from(&opened)? {
        let entry = entry?;
        let name = OsStr::new(entry.file_name().to_str().unwrap_or_default()).to_owned();
        match name.to_str() {
            Some("." | "..") => {}
            Some(flow) if is_flow_file(flow) => files.push(name),
            _ => return Ok(false),
        }
    }
    for file in files {
        unlinkat(&opened, file, AtFlags::empty())?;
    }
    unlinkat(root, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

/// Whether a file has the name of a saved flow: `10.0.0.2:40000-203.0.113.1:21`, perhaps with
/// `.new` behind it.
fn is_flow_file(name: &str) -> bool {
    let name = name.strip_suffix(".new").unwrap_or(name);
    let ends = name.split_once('-');
    ends.is_some_and(|(client, server)| is_endpoint(client) && is_endpoint(server))
}

/// IPv6 addresses have no brackets there.
fn is_endpoint(text: &str) -> bool {
    let Some((address, port)) = text.rsplit_once(':') else {
        return false;
    };
    format!("{address}:{port}").parse::<SocketAddr>().is_ok()
        || format!("[{address}]:{port}").parse::<SocketAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_saved_flows_are_taken_for_them() {
        for name in [
            "10.0.0.2:40000-203.0.113.1:21",
            "10.0.0.2:40000-203.0.113.1:21.new",
            "fd00:1::2:40000-2001:db8::2:21",
        ] {
            assert!(is_flow_file(name), "{name}");
        }
        for name in [
            "",
            "notes",
            "10.0.0.2:40000",
            "a:1-b:2",
            "10.0.0.2:21-x.new",
        ] {
            assert!(!is_flow_file(name), "{name}");
        }
    }

    #[test]
    fn a_directory_with_anything_else_or_in_use_stays_and_one_with_flows_only_goes() {
        let root = tempfile::tempdir().unwrap();
        let opened = open(root.path(), DIRECTORY, Mode::empty()).unwrap();
        for name in ["1", "2", "3"] {
            fs::create_dir(root.path().join(name)).unwrap();
            let flow = root.path().join(name).join("10.0.0.2:40000-203.0.113.1:21");
            fs::write(flow, "{}").unwrap();
        }
        fs::write(root.path().join("2/notes"), "mine").unwrap();
        let used = open_own(root.path(), 3).unwrap();
        for (name, is_removed) in [("1", true), ("2", false), ("3", false)] {
            assert_eq!(
                remove_with_flows(&opened, name).unwrap(),
                is_removed,
                "{name}"
            );
            assert_eq!(root.path().join(name).exists(), !is_removed, "{name}");
        }
        remove_if_empty(&opened, "3", &used);
        assert!(root.path().join("3").exists(), "it is not empty");
        let empty = open_own(root.path(), 4).unwrap();
        remove_if_empty(&opened, "4", &empty);
        assert!(!root.path().join("4").exists());
    }

    #[test]
    fn a_tmpfs_is_in_memory_and_other_file_systems_are_not() {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let tried = mounts.lines().filter_map(|mount| {
            let mut fields = mount.split(' ');
            let (at, kind) = (fields.nth(1)?, fields.next()?);
            Some((at, kind, rustix::fs::statfs(at).ok()?))
        });
        for (at, kind, found) in tried.filter(|(_, kind, _)| *kind != "devtmpfs") {
            let expected = ["tmpfs", "ramfs"].contains(&kind);
            assert_eq!(is_in_memory(&found), expected, "{at}, {kind}");
        }
    }
}
