//! Where connections are remembered that could not go on without: one small file each.
//!
//! The folder belongs to one network namespace, so that daemons in several namespaces can share
//! a file system. It is meant to lie on a tmpfs: a reboot ends every connection anyway. A file
//! is replaced by renaming a whole new one over it, so a process that is killed leaves the old
//! or the new, never half of one.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tracing::warn;

use crate::proto::{
    memory::Memory,
    net::{ConntrackTuples, Direction},
};

/// How many remembered connections are read at start, so that a folder full of rubbish cannot
/// keep the daemon from starting.
const FILES_MAX: usize = 131_072;

/// The folder of remembered connections.
#[derive(Clone, Debug)]
pub(super) struct Memories {
    folder: PathBuf,
}

impl Memories {
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
        Ok(Self { folder })
    }

    /// Keeps what a connection needs. A failure is logged: the connection works as long as this
    /// process does.
    pub(super) fn keep(&self, memory: &Memory) {
        let path = self.path_of(&memory.tuples());
        if let Err(error) = replace(&path, &memory.encode()) {
            warn!(path = %path.display(), %error, "a connection would not survive a restart");
        }
    }

    /// Forgets a connection.
    pub(super) fn forget(&self, tuples: &ConntrackTuples) {
        let path = self.path_of(tuples);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!(path = %path.display(), %error, "an old connection is still remembered");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// What is remembered of a connection.
    #[must_use]
    pub(super) fn recall(&self, tuples: &ConntrackTuples) -> Option<Memory> {
        read(&self.path_of(tuples)).filter(|memory| memory.tuples() == *tuples)
    }

    /// Everything that is remembered. What cannot be read is removed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn read_all(&self) -> io::Result<Vec<Memory>> {
        let paths = fs::read_dir(&self.folder)?
            .take(FILES_MAX)
            .filter_map(|entry| Some(entry.ok()?.path()));
        Ok(paths.filter_map(|path| read(&path)).collect())
    }

    fn path_of(&self, tuples: &ConntrackTuples) -> PathBuf {
        let original = tuples.of(Direction::Original);
        let name = format!("{}-{}", original.source, original.destination);
        self.folder.join(name.replace(['[', ']'], ""))
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    io::Write::write_all(&mut file, text)?;
    fs::rename(&new, path)
}

fn read(path: &Path) -> Option<Memory> {
    let text = fs::read(path).ok()?;
    let memory = Memory::parse(&text).ok();
    if memory.is_none() {
        warn!(path = %path.display(), "not a remembered connection: removed");
        fs::remove_file(path).ok();
    }
    memory
}
