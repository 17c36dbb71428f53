//! Wakes a worker that waits for packets.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};

/// Ends a wait from another thread. Clones wake the same worker.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    event: OwnedFd,
    /// Lets a busy worker see it without a system call.
    woken: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self(Arc::new(Shared {
            event,
            woken: AtomicBool::new(false),
        })))
    }

    /// Makes the current or the next [`recv`](super::Queue::recv) return
    /// [`Event::Woken`](super::Event::Woken).
    pub fn wake(&self) {
        self.0.woken.store(true, Ordering::Release);
        // It can only fail for a counter that is full, and then the worker wakes as well.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    /// Whether it was called since this was asked last.
    pub(super) fn was_woken(&self) -> bool {
        self.0.woken.load(Ordering::Relaxed) && self.0.woken.swap(false, Ordering::AcqRel)
    }

    /// Makes the descriptor unreadable until the next call.
    pub(super) fn drain(&self) {
        let _ = rustix::io::read(&self.0.event, &mut [0u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
