//! Wakes a worker that waits for packets.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, netlink, netlink::SocketAddrNetlink, sendto,
    socket_with,
};

use crate::io::netlink::{MessageBuffer, MessageType, Socket};

/// Ends a wait from another thread. Clones wake the same worker.
///
/// It sends a message to the queue's socket, as the kernel does. So the worker waits in one system
/// call for packets, time and wakers alike. An eventfd beside the socket would need poll(2): two
/// more calls for each packet that finds the worker idle.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    port: u32,
    woken: AtomicBool,
}

impl Waker {
    pub(super) fn new(queue: &Socket) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::NETFILTER);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        let (port, woken) = (queue.port(), AtomicBool::new(false));
        Ok(Self(Arc::new(Shared {
            socket,
            port,
            woken,
        })))
    }

    /// Makes the current or the next [`recv`](super::Queue::recv) return
    /// [`QueueEvent::Woken`](super::QueueEvent::Woken).
    pub fn wake(&self) {
        self.0.woken.store(true, Ordering::Release);
        let mut message = MessageBuffer::default();
        message.begin(MessageType::BATCH_END, 0, 0, 0, 0);
        let to = SocketAddrNetlink::new(self.0.port, 0);
        // If the socket has no room for it, the worker is not waiting, and will see the flag. If
        // the queue is closed, nobody is left to wake.
        let _ = sendto(&self.0.socket, message.as_bytes(), SendFlags::empty(), &to);
    }

    /// Whether `wake` was called since the last time.
    pub(super) fn was_woken(&self) -> bool {
        self.0.woken.load(Ordering::Relaxed) && self.0.woken.swap(false, Ordering::AcqRel)
    }
}
