//! Where connections are remembered that could not go on without: one small file each.
//!
//! The folder belongs to one network namespace, so that daemons in several namespaces can share
//! a file system. It is meant to lie on a tmpfs: a reboot ends every connection anyway. A file
//! is replaced by renaming a whole new one over it, so a process that is killed leaves the old
//! or the new, never half of one.
//!
//! Files are reached through the folder's descriptor: the daemon's user need not be let into the
//! folders above.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, open, openat, renameat, unlinkat},
    io::Errno,
};
use tracing::warn;

use crate::proto::{
    net::{ConntrackTuples, Direction},
    saved_flow::SavedFlow,
};

/// How many remembered connections are read at start, so that a folder full of rubbish cannot
/// keep the daemon from starting.
const FILES_MAX: usize = 131_072;

/// The folder of remembered connections.
#[derive(Debug)]
pub(super) struct FlowStore {
    folder: PathBuf,
    opened: OwnedFd,
}

impl FlowStore {
    /// The folder of this network namespace below `root`, made where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let namespace = fs::metadata("/proc/self/ns/net")?.ino();
        let folder = root.join(namespace.to_string());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = open(&folder, flags, Mode::empty())?;
        Ok(Self { folder, opened })
    }

    /// Where the files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a user the owner of the folder and of the files in it.
    ///
    /// An earlier process of that user may have been in a stranger's hand: what it may have put
    /// there in the place of a file, a link to another one, is not given away.
    ///
    /// # Errors
    /// The folder cannot be given.
    pub(super) fn give_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)?.take(FILES_MAX).flatten() {
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

    /// Keeps what a connection needs. A failure is logged: the connection works as long as this
    /// process does.
    pub(super) fn keep(&self, memory: &SavedFlow) {
        let name = name_of(&memory.tuples());
        if let Err(error) = self.replace(&name, &memory.encode()) {
            warn!(name, %error, "a connection would not survive a restart");
        }
    }

    /// Forgets a connection.
    pub(super) fn forget(&self, tuples: &ConntrackTuples) {
        let name = name_of(tuples);
        match self.remove(Path::new(&name)) {
            Err(error) if error != Errno::NOENT => {
                warn!(name, %error, "an old connection is still remembered");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// What is remembered of a connection.
    #[must_use]
    pub(super) fn recall(&self, tuples: &ConntrackTuples) -> Option<SavedFlow> {
        let name = name_of(tuples);
        self.read(Path::new(&name))
            .filter(|memory| memory.tuples() == *tuples)
    }

    /// Everything that is remembered. What cannot be read is removed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn read_all(&self) -> io::Result<Vec<SavedFlow>> {
        let names = fs::read_dir(&self.folder)?
            .take(FILES_MAX)
            .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())));
        Ok(names.filter_map(|name| self.read(&name)).collect())
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
        let memory = SavedFlow::parse(&text).ok();
        if memory.is_none() {
            warn!(name = %name.display(), "not a remembered connection: removed");
            self.remove(name).ok();
        }
        memory
    }

    /// A file of this folder, never one that a link leads to.
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
    let name = format!("{}-{}", original.source, original.destination);
    name.replace(['[', ']'], "")
}
