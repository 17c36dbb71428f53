//! A netlink socket for one thread: request, answer, list.
#![expect(
    unsafe_code,
    reason = "libmnl's socket is a raw pointer, and rustix does not have all options"
)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    net::{
        RecvFlags, recv,
        sockopt::{self, Timeout},
    },
};

use super::{
    ANSWER_TIMEOUT, MessageBuffer, MessageType, Messages, NetlinkError,
    attributes::Message,
    message::{Head, flags},
};

/// The longest datagram of answers that the kernel sends (`NLMSG_GOODSIZE` and more).
const ANSWER_SIZE: usize = 32 * 1024;

/// Where a message has the address of its sender (`struct nlmsghdr`), in bytes.
const SENDER_AT: u32 = 12;

/// A socket to the kernel's netfilter subsystems, or to that of routing.
pub struct Socket {
    socket: mnl::Socket,
    request: MessageBuffer,
    answer: Box<[u8]>,
    sequence: u32,
}

// SAFETY: the wrapped pointer is owned by this value alone, and libmnl keeps no state of a thread.
unsafe impl Send for Socket {}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        descriptor(&self.socket)
    }
}

fn descriptor(socket: &mnl::Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open for as long as the socket lives, which the returned borrow
    // does not outlive.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

impl Socket {
    /// Opens a socket.
    ///
    /// # Errors
    /// When the kernel has no netfilter netlink, or no descriptor is left.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::with_answers_of(ANSWER_SIZE)
    }

    /// Opens a socket to the kernel's routing subsystem.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn to_routing() -> Result<Self, NetlinkError> {
        Self::on_bus(mnl::Bus::Route, ANSWER_SIZE)
    }

    /// Opens a socket that can receive datagrams of this size.
    pub(crate) fn with_answers_of(size: usize) -> Result<Self, NetlinkError> {
        Self::on_bus(mnl::Bus::Netfilter, size)
    }

    fn on_bus(bus: mnl::Bus, size: usize) -> Result<Self, NetlinkError> {
        let socket = Self {
            socket: mnl::Socket::new(bus)?,
            request: MessageBuffer::default(),
            answer: vec![0; size].into_boxed_slice(),
            sequence: 0,
        };
        // A child would keep what the kernel ties to the socket: a queue, the ownership of a table.
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(io::Error::from)?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))
            .map_err(io::Error::from)?;
        Ok(socket)
    }

    /// The sequence number for the next message.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends one request, with the attributes that `write` adds, and waits until the kernel has
    /// carried it out.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn request(
        &mut self,
        head: Head,
        write: impl FnOnce(&mut MessageBuffer),
    ) -> Result<(), NetlinkError> {
        let sequence = self.write(head.with(flags::ACK), write);
        self.send(self.request.as_bytes())?;
        self.acknowledged(sequence, sequence)
    }

    /// Sends one request and hands its one answer to `read`. Returns `None` if the kernel answers
    /// ENOENT.
    ///
    /// # Errors
    /// Any other refusal, and [`NetlinkError::Malformed`] if `read` returns `None`.
    pub fn ask<T>(
        &mut self,
        head: Head,
        write: impl FnOnce(&mut MessageBuffer),
        read: impl FnOnce(Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        let sequence = self.write(head, write);
        self.send(self.request.as_bytes())?;
        loop {
            let answer = self.receive()?.find(|message| message.sequence == sequence);
            let Some(answer) = answer else { continue };
            return match answer.error() {
                Some(libc::ENOENT) => Ok(None),
                Some(errno) => Err(NetlinkError::Refused(errno)),
                None => read(answer).ok_or(NetlinkError::Malformed).map(Some),
            };
        }
    }

    /// Sends a request for a list and hands each of its entries to `read`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn list(
        &mut self,
        head: Head,
        write: impl FnOnce(&mut MessageBuffer),
        mut read: impl FnMut(Message<'_>),
    ) -> Result<(), NetlinkError> {
        let sequence = self.write(head.with(flags::DUMP), write);
        self.send(self.request.as_bytes())?;
        loop {
            for message in self
                .receive()?
                .filter(|message| message.sequence == sequence)
            {
                match message.error() {
                    Some(errno) => return Err(NetlinkError::Refused(errno)),
                    None if message.is_done() => return Ok(()),
                    None => read(message),
                }
            }
        }
    }

    /// Sends a batch of messages, which the kernel carries out completely or not at all, and waits
    /// for the end. A batch without messages is not sent.
    ///
    /// # Errors
    /// The first error that the kernel reports for any of the messages.
    pub fn transaction(
        &mut self,
        subsystem: u8,
        write: impl FnOnce(&mut Batch<'_>),
    ) -> Result<(), NetlinkError> {
        let first = self.next_sequence();
        let resource = u16::from(subsystem);
        self.request.clear();
        self.request
            .begin(MessageType::BATCH_BEGIN, 0, first, 0, resource);
        write(&mut Batch(self));
        let last = self.sequence;
        if last == first {
            return Ok(());
        }
        // The kernel acknowledges the last message after all others.
        self.request.acknowledge();
        self.request
            .begin(MessageType::BATCH_END, 0, last, 0, resource);
        self.send(self.request.as_bytes())?;
        self.acknowledged(first, last)
    }

    /// Sends messages that somebody else has written, numbered `first` to `last`, and waits for the
    /// acknowledgement of the last one.
    ///
    /// # Errors
    /// The first error that the kernel reports for any of the messages.
    pub(crate) fn send_written(
        &mut self,
        bytes: &[u8],
        first: u32,
        last: u32,
    ) -> Result<(), NetlinkError> {
        self.send(bytes)?;
        self.acknowledged(first, last)
    }

    /// Writes one message in place of the earlier ones; returns its sequence number.
    fn write(&mut self, head: Head, write: impl FnOnce(&mut MessageBuffer)) -> u32 {
        let sequence = self.next_sequence();
        self.request.clear();
        self.request
            .begin(head.kind, head.flags, sequence, head.family, 0);
        write(&mut self.request);
        sequence
    }

    /// Waits for the acknowledgement of the message numbered `last`.
    fn acknowledged(&mut self, first: u32, last: u32) -> Result<(), NetlinkError> {
        loop {
            for message in self.receive()? {
                // The numbers wrap. Answers to an earlier, refused request lie outside the range.
                if message.sequence.wrapping_sub(first) > last.wrapping_sub(first) {
                    continue;
                }
                // A refused batch may have no answer to its last message.
                match message.error() {
                    Some(0) | None => {}
                    Some(errno) => return Err(NetlinkError::Refused(errno)),
                }
                if message.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    /// The address by which other sockets reach this one.
    pub(crate) fn port(&self) -> u32 {
        self.socket.portid()
    }

    /// Sends without waiting for an answer.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        self.socket.send(bytes)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<Messages<'_>, NetlinkError> {
        let received = self.receive_datagram().map_err(|error| {
            let is_late = error.kind() == io::ErrorKind::WouldBlock;
            if is_late {
                NetlinkError::NoAnswer
            } else {
                error.into()
            }
        })?;
        Ok(self.received(received))
    }

    /// Waits for a datagram; returns its length.
    ///
    /// It calls recv(2), because libmnl's recvmsg(2) costs half a microsecond more for each packet.
    pub(crate) fn receive_datagram(&mut self) -> io::Result<usize> {
        let socket = descriptor(&self.socket);
        loop {
            match recv(socket, &mut self.answer[..], RecvFlags::TRUNC) {
                Ok((read, sent)) if read < sent => return Err(Errno::NOSPC.into()),
                Ok((read, _)) => return Ok(read),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives what the kernel tells this group (`NFNLGRP_*`) from now on, but for what the socket
    /// with the address `except` has caused.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn join(&self, group: u32, except: u32) -> Result<(), NetlinkError> {
        self.filter_out_sender(except)?;
        self.set_option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &group)
    }

    /// Messages of this sender do not even wake the receiver: there may be thousands a second.
    fn filter_out_sender(&self, port: u32) -> Result<(), NetlinkError> {
        // Such a program reads words in network order, and the header has them in the host's.
        let port = u32::from_be_bytes(port.to_ne_bytes());
        let statement = |code: u32, k| libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf: 0,
            k,
        };
        let mut program = [
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, SENDER_AT),
            libc::sock_filter {
                jf: 1,
                ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, port)
            },
            statement(libc::BPF_RET | libc::BPF_K, 0),
            statement(libc::BPF_RET | libc::BPF_K, u32::MAX),
        ];
        let program = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        self.set_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    fn set_option<T>(&self, level: i32, option: i32, value: &T) -> Result<(), NetlinkError> {
        // SAFETY: the descriptor is open, and the value is alive and as long as it is said to be.
        // What it points to is alive as well: the kernel reads it within the call.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error().into())
        }
    }

    /// The messages of the datagram received last, which has this length.
    pub(crate) fn received(&self, length: usize) -> Messages<'_> {
        Messages::new(self.answer.get(..length).unwrap_or_default())
    }
}

/// The messages of one transaction.
#[derive(Debug)]
pub struct Batch<'a>(&'a mut Socket);

impl Batch<'_> {
    /// Adds a message with the attributes that `write` adds.
    pub fn add(&mut self, head: Head, write: impl FnOnce(&mut MessageBuffer)) {
        let sequence = self.0.next_sequence();
        let buffer = &mut self.0.request;
        buffer.begin(head.kind, head.flags, sequence, head.family, 0);
        write(buffer);
    }
}
