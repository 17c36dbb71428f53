//! The network namespaces of this machine, as far as the processes of this PID namespace show them.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The number of the network namespace of this process.
///
/// # Errors
/// /proc is not there.
pub fn own_network_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/net")?.ino())
}

/// The numbers of all network namespaces that a process can enter: those of the threads, those that
/// are mounted, and those that a descriptor holds.
///
/// # Errors
/// Some process does not show its namespaces to this one, or hides altogether. Then there may be
/// more.
pub fn network_namespaces() -> io::Result<BTreeSet<u64>> {
    // Where processes are hidden, the first one is too.
    fs::metadata("/proc/1/ns/net")?;
    let mut found = BTreeSet::from([own_network_namespace()?]);
    for process in entries(Path::new("/proc"))? {
        let name = process.file_name().unwrap_or_default();
        if name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            or_gone(collect(&process, &mut found))?;
        }
    }
    Ok(found)
}

fn collect(process: &Path, found: &mut BTreeSet<u64>) -> io::Result<()> {
    for thread in entries(&process.join("task"))? {
        let metadata = or_gone(fs::metadata(thread.join("ns/net")).map(Some))?;
        found.extend(metadata.map(|metadata| metadata.ino()));
    }
    for descriptor in entries(&process.join("fd"))? {
        let target = or_gone(fs::read_link(descriptor).map(Some))?.unwrap_or_default();
        found.extend(target.to_str().and_then(number_of));
    }
    let mounts = or_gone(fs::read_to_string(process.join("mountinfo")))?;
    // The fourth field is the root of the mount (proc_pid_mountinfo(5)).
    let roots = mounts.lines().filter_map(|mount| mount.split(' ').nth(3));
    found.extend(roots.filter_map(number_of));
    Ok(())
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = or_gone(fs::read_dir(directory).map(Some))?;
    let paths = entries.into_iter().flatten();
    paths.map(|entry| Ok(entry?.path())).collect()
}

/// A process that has ended shows nothing, and holds nothing.
fn or_gone<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        // ESRCH, or EINVAL of a mount table without a namespace.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
            Ok(T::default())
        }
        other => other,
    }
}

/// 4026531833, of `net:[4026531833]`.
fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_network_namespace_has_its_number() {
        assert_eq!(number_of("net:[4026531833]"), Some(4_026_531_833));
        for other in ["pid:[4026531836]", "socket:[17]", "net:[x]", "/"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
