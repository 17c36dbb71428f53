//! Messages of our own in a transaction of libnftnl's: what its objects cannot say.
#![expect(
    unsafe_code,
    reason = "libnftnl hands a transaction's messages over as raw memory"
)]

use std::ffi::c_void;

use nftnl::{MsgType, NlMsg};

use super::message;
use crate::{
    io::netlink::{Head, MessageBuffer, flags},
    proto::net::Layer,
};

/// Where a message has its sequence number (`struct nlmsghdr`).
const SEQUENCE_AT: usize = 8;

/// A whole message, with its sequence number still to come.
pub(super) struct Written(MessageBuffer);

impl Written {
    /// A request that adds something, with the attributes that `write` adds.
    pub(super) fn add(layer: Layer, request: i32, write: impl FnOnce(&mut MessageBuffer)) -> Self {
        Self::new(message(layer, request).with(flags::CREATE), write)
    }

    /// A request that deletes something.
    pub(super) fn delete(
        layer: Layer,
        request: i32,
        write: impl FnOnce(&mut MessageBuffer),
    ) -> Self {
        Self::new(message(layer, request), write)
    }

    /// The same request, acknowledged. The last message of a transaction has to be: kernels before
    /// 6.10 do not acknowledge the end.
    pub(super) fn acknowledged(mut self) -> Self {
        self.0.acknowledge();
        self
    }

    fn new(head: Head, write: impl FnOnce(&mut MessageBuffer)) -> Self {
        let mut buffer = MessageBuffer::default();
        buffer.begin(head.kind, head.flags, 0, head.family, 0);
        write(&mut buffer);
        Self(buffer)
    }
}

// SAFETY: a message of ours has a few attributes, far fewer than the largest message allows.
unsafe impl NlMsg for Written {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _: MsgType) {
        let mut bytes = self.0.as_bytes().to_vec();
        bytes[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&sequence.to_ne_bytes());
        // SAFETY: the caller gives room for the largest message, and ours is shorter.
        unsafe {
            buffer
                .cast::<u8>()
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
}
