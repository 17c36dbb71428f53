//! The core's names for the errors with which the kernel refuses an expectation.

use tracing::warn;

use crate::{
    io::netlink::NetlinkError,
    proto::expect::{ExpectError, ExpectationId},
};

/// Names the kernel's refusal, and logs it with what can be done about it.
pub(super) fn refusal(id: ExpectationId, error: &NetlinkError) -> ExpectError {
    let (reason, hint) = reason_of(error);
    warn!(expectation = id.0, reason = reason.as_str(), %error, hint, "expectation refused");
    reason
}

/// Conntrack and nf_tables have different error numbers for the same reason.
fn reason_of(error: &NetlinkError) -> (ExpectError, &'static str) {
    match error.errno() {
        Some(libc::EEXIST | libc::EBUSY | libc::EALREADY) => (
            ExpectError::Clash,
            "another session, or another connection tracking helper, expects the same connection",
        ),
        Some(libc::EMFILE) => (
            ExpectError::TableFull,
            "raise the sysctl net.netfilter.nf_conntrack_expect_max",
        ),
        Some(libc::ENFILE | libc::ENOSPC) => (ExpectError::TableFull, "a set of our table is full"),
        Some(libc::ENOMEM | libc::ENOBUFS) => (ExpectError::NoMemory, "the kernel has no memory"),
        Some(libc::EPERM | libc::EACCES) => (ExpectError::NotPermitted, "needs CAP_NET_ADMIN"),
        Some(libc::ENOENT) => (
            ExpectError::Gone,
            "the control connection is not in conntrack any more, or our table is gone",
        ),
        Some(libc::EOPNOTSUPP | libc::ESHUTDOWN) => (
            ExpectError::NoHelper,
            "the control connection began without our helper: it works after reconnecting",
        ),
        Some(_) | None => (ExpectError::Other, "unexpected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_kernel_has_a_name() {
        for (errno, reason) in [
            (libc::EEXIST, ExpectError::Clash),
            (libc::EBUSY, ExpectError::Clash),
            (libc::EMFILE, ExpectError::TableFull),
            (libc::ENFILE, ExpectError::TableFull),
            (libc::ENOMEM, ExpectError::NoMemory),
            (libc::EPERM, ExpectError::NotPermitted),
            (libc::ENOENT, ExpectError::Gone),
            (libc::EOPNOTSUPP, ExpectError::NoHelper),
            (libc::ESHUTDOWN, ExpectError::NoHelper),
            (libc::EINVAL, ExpectError::Other),
        ] {
            assert_eq!(reason_of(&NetlinkError::Refused(errno)).0, reason);
        }
    }
}
