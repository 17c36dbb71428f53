//! The errors of a netlink dialog.

use std::io;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused the request.
    #[error("the kernel refused: {}", io::Error::from_raw_os_error(*.0))]
    Refused(i32),
    /// The request could not be sent, or its answer not received.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel did not answer in time.
    #[error("the kernel did not answer within {} s", super::ANSWER_TIMEOUT.as_secs())]
    NoAnswer,
    /// The kernel's answer cannot be read.
    #[error("the kernel's answer cannot be read")]
    Malformed,
}

impl NetlinkError {
    /// The error number of the kernel, if it gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(errno) => Some(*errno),
            Self::Socket(error) => error.raw_os_error(),
            Self::NoAnswer | Self::Malformed => None,
        }
    }

    /// Whether the kernel refused with this error number.
    #[must_use]
    pub fn is(&self, errno: i32) -> bool {
        matches!(self, Self::Refused(refused) if *refused == errno)
    }
}
