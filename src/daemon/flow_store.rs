//! The flows that a later process needs to go on with: one small file each.
//!
//! The directory belongs to one network namespace, so that daemons in several namespaces can share
//! a file system. It is meant to lie on a tmpfs: a reboot ends every connection anyway. A file
//! is replaced by renaming a whole new one over it, so a process that is killed leaves the old
//! or the new, never half of one.
//!
//! Files are reached through the directory's descriptor: the daemon's user need not be let into the
//! directories above.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, fchown},
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, open, openat, renameat, unlinkat},
    io::Errno,
};
use tracing::warn;

use super::flow_directory::{open_own, remove_dead, remove_if_empty, warn_of_disk};
use crate::{
    io::namespaces::own_network_namespace,
    proto::{
        net::{ConntrackTuples, Direction, Tuple, Zone},
        saved_flow::SavedFlow,
    },
};

/// How many saved flows are read at start, so that a directory full of rubbish cannot
/// keep the daemon from starting.
const FILES_MAX: usize = 131_072;

/// The directory of saved flows.
#[derive(Debug)]
pub(super) struct FlowStore {
    directory: PathBuf,
    opened: OwnedFd,
    /// The saved flows, by the tuple of each direction.
    index: Mutex<HashMap<Tuple, Saved>>,
    /// The zones in which flows were saved.
    zones: Mutex<BTreeSet<Zone>>,
    /// The directory above.
    root: OwnedFd,
    namespace: u64,
}

/// What is known of a saved flow without its file.
#[derive(Clone, Copy, Debug)]
struct Saved {
    tuples: ConntrackTuples,
    /// Whether a worker of this process has it.
    is_claimed: bool,
}

impl FlowStore {
    /// The directory of this network namespace below `root`, made where it is missing. Those of
    /// namespaces that are gone are removed.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let namespace = own_network_namespace()?;
        let directory = root.join(namespace.to_string());
        let opened = open_own(root, namespace)?;
        warn_of_disk(&directory, &opened);
        remove_dead(root, namespace);
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        Ok(Self {
            directory,
            opened,
            root: open(root, flags, Mode::empty())?,
            namespace,
            index: Mutex::default(),
            zones: Mutex::default(),
        })
    }

    /// Removes the directory if nothing is saved in it.
    pub(super) fn close(&self) {
        remove_if_empty(&self.root, &self.namespace.to_string(), &self.opened);
    }

    /// Where the files are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a user the owner of the directory and of the files in it.
    ///
    /// An earlier process of that user may have been in a stranger's hand: what it may have put
    /// there in the place of a file, a link to another one, is not given away.
    ///
    /// # Errors
    /// The directory cannot be given.
    pub(super) fn give_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)?.take(FILES_MAX).flatten() {
            let Ok(file) = self.open_file(&entry.file_name(), OFlags::RDONLY) else {
                continue;
            };
            let metadata = file.metadata()?;
            if metadata.is_file() && metadata.nlink() == 1 {
                fchown(&file, Some(uid), Some(gid))?;
            }
        }
        fchown(&self.opened, Some(uid), Some(gid))
    }

    /// Saves a flow. A failure is logged: the connection works as long as this
    /// process does.
    pub(super) fn save(&self, saved: &SavedFlow) {
        let tuples = saved.tuples();
        self.note(tuples, true);
        let name = name_of(&tuples);
        if let Err(error) = self.replace(&name, &saved.encode()) {
            warn!(name, %error, "a connection would not survive a restart");
        }
    }

    /// Deletes what is saved of a connection, if anything is.
    pub(super) fn delete(&self, tuples: &ConntrackTuples) {
        let mut index = self.index();
        let is_its = |saved: &Saved| saved.tuples == *tuples;
        let mut was_saved = false;
        for direction in Direction::BOTH {
            let tuple = tuples.of(direction);
            if index.get(&tuple).is_some_and(is_its) {
                index.remove(&tuple);
                was_saved = true;
            }
        }
        drop(index);
        if !was_saved {
            return;
        }
        let name = name_of(tuples);
        match self.remove(Path::new(&name)) {
            Err(error) if error != Errno::NOENT => {
                warn!(name, %error, "an old flow is still saved");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// The tuples of the saved flow to which a packet with this tuple belongs, as the packet shows
    /// it before NAT. Flows of an earlier process are known once [`read_all`](Self::read_all) has
    /// read them.
    #[must_use]
    pub(super) fn find(&self, tuple: Tuple) -> Option<ConntrackTuples> {
        self.index().get(&tuple).map(|saved| saved.tuples)
    }

    /// The same in whatever zone: the first of several.
    #[must_use]
    pub(super) fn find_in_any_zone(&self, tuple: Tuple) -> Option<ConntrackTuples> {
        let zones = self.zones().clone();
        let mut tuples = zones.into_iter().map(|zone| tuple.in_zone(zone));
        tuples.find_map(|tuple| self.find(tuple))
    }

    /// Gives a worker what is saved of a connection.
    #[must_use]
    pub(super) fn load(&self, tuples: &ConntrackTuples) -> Option<SavedFlow> {
        let name = name_of(tuples);
        let saved = self
            .read(Path::new(&name))
            .filter(|saved| saved.tuples() == *tuples)?;
        self.note(*tuples, true);
        Some(saved)
    }

    /// Whether a flow is saved that no worker of this process has.
    #[must_use]
    pub(super) fn is_unclaimed(&self, tuples: &ConntrackTuples) -> bool {
        let index = self.index();
        let saved = index.get(&tuples.of(Direction::Original));
        saved.is_some_and(|saved| saved.tuples == *tuples && !saved.is_claimed)
    }

    /// Every saved flow. What cannot be read is removed.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn read_all(&self) -> io::Result<Vec<SavedFlow>> {
        let names = fs::read_dir(&self.directory)?
            .take(FILES_MAX)
            .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())));
        let saved: Vec<_> = names.filter_map(|name| self.read(&name)).collect();
        for tuples in saved.iter().map(SavedFlow::tuples) {
            self.note(tuples, false);
        }
        Ok(saved)
    }

    fn note(&self, tuples: ConntrackTuples, is_claimed: bool) {
        let mut index = self.index();
        for direction in Direction::BOTH {
            index.insert(tuples.of(direction), Saved { tuples, is_claimed });
        }
        drop(index);
        let zones = Direction::BOTH.map(|direction| tuples.of(direction).zone);
        self.zones().extend(zones);
    }

    fn index(&self) -> MutexGuard<'_, HashMap<Tuple, Saved>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn zones(&self) -> MutexGuard<'_, BTreeSet<Zone>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let new = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        self.open_file(new.as_ref(), flags)?.write_all(text)?;
        Ok(renameat(&self.opened, &new, &self.opened, name)?)
    }

    fn read(&self, name: &Path) -> Option<SavedFlow> {
        let mut file = self.open_file(name.as_os_str(), OFlags::RDONLY).ok()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        let saved = SavedFlow::parse(&text).ok();
        if saved.is_none() {
            warn!(name = %name.display(), "not a saved flow: removed");
            self.remove(name).ok();
        }
        saved
    }

    /// A file of this directory, never one that a link leads to.
    fn open_file(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(openat(&self.opened, name, flags, mode)?.into())
    }

    fn remove(&self, name: &Path) -> Result<(), Errno> {
        unlinkat(&self.opened, name, AtFlags::empty())
    }
}

fn name_of(tuples: &ConntrackTuples) -> String {
    let original = tuples.of(Direction::Original);
    let zone = match original.zone {
        Zone(0) => String::new(),
        Zone(number) => format!("-zone{number}"),
    };
    let name = format!("{}-{}{zone}", original.source, original.destination);
    name.replace(['[', ']'], "")
}
