//! Our connection tracking helper: the kernel object that lets a control connection have
//! expectations.
//!
//! The kernel's part does nothing. It is registered *disabled*, so the kernel hands no packet to
//! it: the daemon reads control connections through its own queue. The table attaches the helper to
//! the first packet of each control connection.
//!
//! A helper belongs to the whole machine, not to a network namespace, because
//! `nfnetlink_cthelper.c` keeps one list. Therefore registering one needs CAP_NET_ADMIN in the
//! *initial* user namespace. Daemons in several namespaces share the helper of this name. Its
//! policy is the same for all of them, each expectation brings its own timeout, and the core limits
//! the expectations of a session.

use std::time::Duration;

use crate::io::netlink::{Head, MessageBuffer, MessageType, NetlinkError, Socket};

/// The helper's name. The kernel takes at most 15 octets.
pub use crate::ruleset::HELPER;

/// How long an expectation waits unless it says otherwise. It is the default of the configuration,
/// so that an expectation with that timeout needs no second message.
pub(super) const POLICY_TIMEOUT: Duration = Duration::from_secs(300);

/// How many expectations the kernel allows for one control connection (`NF_CT_EXPECT_MAX_CNT`). The
/// core allows fewer.
const EXPECTATIONS_MAX: u32 = 255;

/// `nfnetlink_cthelper.h`
mod wire {
    pub(super) const NFNL_MSG_CTHELPER_NEW: u8 = 0;
    pub(super) const NFNL_MSG_CTHELPER_DEL: u8 = 2;
    pub(super) const NFCTH_NAME: u16 = 1;
    pub(super) const NFCTH_TUPLE: u16 = 2;
    pub(super) const NFCTH_QUEUE_NUM: u16 = 3;
    pub(super) const NFCTH_POLICY: u16 = 4;
    pub(super) const NFCTH_PRIV_DATA_LEN: u16 = 5;
    pub(super) const NFCTH_STATUS: u16 = 6;
    pub(super) const NFCTH_TUPLE_L3PROTONUM: u16 = 1;
    pub(super) const NFCTH_TUPLE_L4PROTONUM: u16 = 2;
    pub(super) const NFCTH_POLICY_SET_NUM: u16 = 1;
    pub(super) const NFCTH_POLICY_SET1: u16 = 2;
    pub(super) const NFCTH_POLICY_NAME: u16 = 1;
    pub(super) const NFCTH_POLICY_EXPECT_MAX: u16 = 2;
    pub(super) const NFCTH_POLICY_EXPECT_TIMEOUT: u16 = 3;
    pub(super) const NFCT_HELPER_STATUS_DISABLED: u32 = 0;
}
use wire::*;

/// Registers the helper for both IP versions, or updates the existing one.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN in the initial user namespace; otherwise mostly a kernel without
/// `CONFIG_NF_CT_NETLINK_HELPER`.
pub fn register(name: &str) -> Result<(), NetlinkError> {
    let mut socket = Socket::open()?;
    [libc::AF_INET, libc::AF_INET6]
        .into_iter()
        .try_for_each(|family| request(&mut socket, NFNL_MSG_CTHELPER_NEW, name, family))
}

/// Removes the helper, also from connections that still have it. They go on without further
/// expectations. Returns whether the helper is gone: it stays while a table of any network
/// namespace uses it.
///
/// # Errors
/// When the kernel refuses for another reason.
pub fn unregister(name: &str) -> Result<bool, NetlinkError> {
    let mut socket = Socket::open()?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        match request(&mut socket, NFNL_MSG_CTHELPER_DEL, name, family) {
            Ok(()) => {}
            Err(error) if error.is(libc::ENOENT) => {}
            Err(error) if error.is(libc::EBUSY) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn request(socket: &mut Socket, request: u8, name: &str, family: i32) -> Result<(), NetlinkError> {
    let kind = MessageType {
        subsystem: libc::NFNL_SUBSYS_CTHELPER as u8,
        request,
    };
    socket.request(Head::new(kind, libc::AF_UNSPEC as u8), |buffer| {
        buffer.put_name(NFCTH_NAME, name);
        buffer.nest(NFCTH_TUPLE, |buffer| {
            buffer.put(NFCTH_TUPLE_L3PROTONUM, &(family as u16).to_be_bytes());
            buffer.put(NFCTH_TUPLE_L4PROTONUM, &[libc::IPPROTO_TCP as u8]);
        });
        if request == NFNL_MSG_CTHELPER_NEW {
            put_properties(buffer);
        }
    })
}

fn put_properties(buffer: &mut MessageBuffer) {
    buffer.put_u32(NFCTH_QUEUE_NUM, 0);
    buffer.put_u32(NFCTH_PRIV_DATA_LEN, 0);
    buffer.put_u32(NFCTH_STATUS, NFCT_HELPER_STATUS_DISABLED);
    buffer.nest(NFCTH_POLICY, |buffer| {
        buffer.put_u32(NFCTH_POLICY_SET_NUM, 1);
        buffer.nest(NFCTH_POLICY_SET1, |buffer| {
            buffer.put_name(NFCTH_POLICY_NAME, HELPER);
            buffer.put_u32(NFCTH_POLICY_EXPECT_MAX, EXPECTATIONS_MAX);
            let timeout = POLICY_TIMEOUT.as_secs() as u32;
            buffer.put_u32(NFCTH_POLICY_EXPECT_TIMEOUT, timeout);
        });
    });
}
