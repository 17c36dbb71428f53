//! The list of system calls that the process may make (seccomp).
//!
//! Any other call fails with EPERM, and its caller sees an ordinary error. So the process starts no
//! program, process or thread, makes no memory executable, opens no socket but to netfilter and to
//! the service manager, and touches no other process.
//!
//! `strace -f -Z ftp-alg run ...` shows a call that is missing here. Add it with its reason.

use std::{collections::BTreeMap, env::consts::ARCH};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, apply_filter_all_threads,
};

/// Why the filter cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The list cannot be made into a filter for this kind of machine.
    #[error("no filter of system calls for this kind of machine ({ARCH}): {0}")]
    Unmade(#[from] BackendError),
    /// The kernel refuses.
    #[error("the kernel takes no filter of system calls: {0} (it needs CONFIG_SECCOMP_FILTER)")]
    Refused(#[from] seccompiler::Error),
}

/// Calls that are allowed with any arguments.
const ALLOWED: &[i64] = &[
    // Open descriptors: the queue, netlink, raw sockets, signals, the kernel's counters, the log.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    // Files. Landlock and the user's rights decide which.
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_flock,
    // Memory. Mapping is below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Signals to this process, and the end of a thread or of all.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // What threads that were started before may still set up.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    // Clocks, randomness, and what this process is.
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_capget,
    libc::SYS_getcwd,
];

/// Older calls, which C libraries on this architecture still use and newer ones do not have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

/// A thread's name, and what this process may do.
const PRCTLS: &[i32] = &[
    libc::PR_SET_NAME,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_SECCOMP,
    libc::PR_CAPBSET_READ,
];

/// Restricts all threads of this process to the list, for good.
///
/// # Errors
/// No call is filtered then.
pub fn install_seccomp() -> Result<(), SeccompError> {
    let arch = ARCH.try_into()?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules()?, refused, SeccompAction::Allow, arch)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter_all_threads(&program)?)
}

/// How many system calls are on the list.
#[must_use]
pub fn allowed_syscalls() -> usize {
    rules().map_or(0, |rules| rules.len())
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let any = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|&call| (call, Vec::new()));
    let mut rules: BTreeMap<_, _> = any.collect();
    rules.insert(libc::SYS_socket, sockets()?);
    // No memory is ever made executable.
    rules.insert(libc::SYS_mmap, vec![without(2, libc::PROT_EXEC)?]);
    rules.insert(libc::SYS_mprotect, vec![without(2, libc::PROT_EXEC)?]);
    let flags = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
    rules.insert(libc::SYS_fcntl, each(1, &flags)?);
    rules.insert(libc::SYS_prctl, each(0, PRCTLS)?);
    // abort(): the end of a process that found a fault of its own.
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    rules.insert(libc::SYS_tgkill, each(0, &[own])?);
    Ok(rules)
}

/// To netfilter (a request of its own when the daemon ends), and to the service manager.
fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let netfilter = vec![
        equal(0, libc::AF_NETLINK)?,
        equal(2, libc::NETLINK_NETFILTER)?,
    ];
    let manager = vec![equal(0, libc::AF_UNIX)?, equal(2, 0)?];
    Ok(vec![
        SeccompRule::new(netfilter)?,
        SeccompRule::new(manager)?,
    ])
}

fn each(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    values
        .iter()
        .map(|&value| SeccompRule::new(vec![equal(argument, value)?]))
        .collect()
}

fn equal(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, u64::from(value as u32))
}

fn without(argument: u8, bits: i32) -> Result<SeccompRule, BackendError> {
    let mask = SeccompCmpOp::MaskedEq(u64::from(bits as u32));
    SeccompRule::new(vec![SeccompCondition::new(argument, Dword, mask, 0)?])
}
