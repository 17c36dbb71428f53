//! One NFQUEUE: packets in, verdicts out.
//!
//! A worker needs two things that the crate `nfq` (0.2.5) does not have. It must wait for a packet,
//! for a deadline and for a request to stop at the same time, but `nfq` keeps its descriptor
//! private. And no packet may be left without a verdict, but `nfq` configures a queue in several
//! requests and throws away packets that arrive between them
//! (`docs/decisions/0003-own-queue-instead-of-nfq.md`).

mod instance_lock;
mod packet_path;
mod queue_error;
mod queue_losses;
mod waker;

use std::{io, time::Duration};

use rustix::net::sockopt::{self, Timeout};
use tracing::debug;

pub use instance_lock::InstanceLock;
pub use queue_error::QueueError;
pub use queue_losses::{LossCounters, QueueLosses};
pub use waker::Waker;

use crate::{
    io::{
        ctnetlink::tuple_of_direction,
        netlink::{
            self, Attributes, Head, Message, MessageBuffer, MessageType, NetlinkError, Socket,
            flags,
        },
    },
    proto::{
        net::{Direction, Ingress, MacAddress, Tuple},
        packet::Segment,
    },
};

/// How many packets the kernel keeps for us before it drops further ones. A worker handles as many
/// in less than a tenth of a second.
const QUEUE_LENGTH_MAX: u32 = 4096;

/// Room in the socket for as many packets of full Ethernet frames, with the kernel's overhead.
const RECEIVE_BUFFER: usize = 16 << 20;

/// No IP packet is longer, and the kernel segments coalesced packets, so each one arrives whole.
const COPY_RANGE: u32 = 0xffff;

/// A packet and the attributes around it.
const DATAGRAM_MAX: usize = COPY_RANGE as usize + 4096;

/// The longest packet that fits into a netlink attribute.
const REPLACEMENT_MAX: usize = u16::MAX as usize - 4;

const NFQNL_CFG_CMD_BIND: u8 = 1;
const NFQNL_CFG_CMD_PF_BIND: u8 = 3;
const NFQNL_COPY_PACKET: u8 = 2;

/// Names a queued packet until its verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueuedPacketId(u32);

/// A queued packet. It waits in the kernel for exactly one verdict.
#[derive(Clone, Copy, Debug)]
pub struct QueuedPacket<'a> {
    /// Its name.
    pub id: QueuedPacketId,
    /// How it came.
    pub ingress: Ingress,
    /// The tuple that conntrack has of it, in its zone, where the kernel tells
    /// (`CONFIG_NETFILTER_NETLINK_GLUE_CT`).
    pub tracked: Option<Tuple>,
    /// The Ethernet address to which it goes, where the hook is one of a bridge.
    pub receiver: Option<MacAddress>,
    /// The packet from its IP header on.
    pub bytes: &'a [u8],
}

/// The verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueVerdict<'a> {
    /// It goes on as it is.
    Accept,
    /// It ends here.
    Drop,
    /// These bytes go on in its place, from the IP header on, checksums included.
    Replace(&'a [u8]),
}

/// The end of a wait.
#[derive(Debug)]
pub enum QueueEvent<'a> {
    /// A packet.
    Packet(QueuedPacket<'a>),
    /// [`Waker::wake`].
    Woken,
    /// The time was up.
    TimedOut,
}

/// A queue, bound for as long as this value lives.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    number: u16,
    verdict: MessageBuffer,
    waker: Waker,
    /// The longest wait that the kernel was told.
    limit: Option<Duration>,
}

impl QueuedPacket<'_> {
    /// Whether NAT has been done to it before this hook, as far as the kernel tells. VRF and IPVS
    /// send a forwarded packet through the output hook once more. It was read at prerouting, before
    /// its NAT.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        let is_elsewhere = |tracked: Tuple| {
            let segment = Segment::parse(self.bytes);
            segment.is_ok_and(|segment| !segment.tuple.has_endpoints_of(&tracked))
        };
        self.ingress.iif.0 == 0 && self.tracked.is_some_and(is_elsewhere)
    }
}

impl Queue {
    /// Binds a queue number. The kernel drops packets that find no place in the queue.
    ///
    /// # Errors
    /// When another process has that number, or the privilege or the kernel's support is missing.
    pub fn open(number: u16) -> Result<Self, QueueError> {
        let socket = Socket::with_answers_of(DATAGRAM_MAX)?;
        let waker = Waker::new(&socket).map_err(NetlinkError::Socket)?;
        let mut queue = Self {
            socket,
            number,
            verdict: MessageBuffer::default(),
            waker,
            limit: Some(netlink::ANSWER_TIMEOUT),
        };
        queue.enlarge_buffer()?;
        // A kernel that cannot show conntrack's entry refuses before it binds.
        let bound = match queue.bind(Shown::WithEntry) {
            Err(error) if error.is(libc::EOPNOTSUPP) => queue.bind(Shown::Alone),
            bound => bound,
        };
        bound.map_err(|error| QueueError::of_bind(number, error))?;
        Ok(queue)
    }

    /// A handle by which another thread ends a [`recv`](Self::recv).
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for the next packet, at most this long, or for ever. It may end earlier: the time is
    /// rounded down to a power of two of milliseconds, because each new value costs a system call.
    ///
    /// # Errors
    /// When the socket fails for good. An overrun is survived; the kernel counts what it costs
    /// ([`LossCounters`]).
    pub fn recv(&mut self, timeout: Option<Duration>) -> Result<QueueEvent<'_>, QueueError> {
        self.limit_wait(timeout)?;
        let length = loop {
            if self.waker.was_woken() {
                return Ok(QueueEvent::Woken);
            }
            let length = match self.socket.receive_datagram() {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(QueueEvent::TimedOut);
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => continue,
                Err(error) => return Err(NetlinkError::from(error).into()),
            };
            match self.content(length) {
                Content::Packet => break length,
                // The packet is gone already, because its interface went down.
                Content::Refusal(errno) => {
                    let error = io::Error::from_raw_os_error(errno);
                    debug!(queue = self.number, %error, "a verdict was refused");
                }
                Content::Nothing => {}
            }
        };
        let packet = self.socket.received(length).find_map(|one| parse(&one));
        packet
            .map(QueueEvent::Packet)
            .ok_or(QueueError::Netlink(NetlinkError::Malformed))
    }

    /// Gives a packet its verdict.
    ///
    /// # Errors
    /// When it cannot be sent. A packet that is too long to be sent is dropped first.
    pub fn verdict(
        &mut self,
        id: QueuedPacketId,
        verdict: QueueVerdict<'_>,
    ) -> Result<(), QueueError> {
        let (code, payload) = match verdict {
            QueueVerdict::Accept => (libc::NF_ACCEPT, None),
            QueueVerdict::Drop => (libc::NF_DROP, None),
            QueueVerdict::Replace(bytes) if bytes.len() > REPLACEMENT_MAX => {
                self.verdict(id, QueueVerdict::Drop)?;
                return Err(QueueError::TooLong(bytes.len()));
            }
            QueueVerdict::Replace(bytes) => (libc::NF_ACCEPT, Some(bytes)),
        };
        let kind = message(libc::NFQNL_MSG_VERDICT);
        self.verdict.clear();
        self.verdict.begin(kind, 0, 0, 0, self.number);
        let header = [&code.to_be_bytes()[..], &id.0.to_be_bytes()];
        self.verdict
            .put_parts(libc::NFQA_VERDICT_HDR as u16, &header);
        if let Some(bytes) = payload {
            self.verdict.put(libc::NFQA_PAYLOAD as u16, bytes);
        }
        self.socket.send(self.verdict.as_bytes())?;
        Ok(())
    }

    fn enlarge_buffer(&self) -> Result<(), QueueError> {
        // Only a privileged process may exceed the limit of the system.
        sockopt::set_socket_recv_buffer_size_force(&self.socket, RECEIVE_BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&self.socket, RECEIVE_BUFFER))
            .map_err(|error| socket_error(error).into())
    }

    /// Binds and configures in one request, so that no packet is queued half-configured.
    fn bind(&mut self, shown: Shown) -> Result<(), NetlinkError> {
        let sequence = self.socket.next_sequence();
        let mut buffer = MessageBuffer::default();
        buffer.begin(
            message(libc::NFQNL_MSG_CONFIG),
            flags::ACK,
            sequence,
            0,
            self.number,
        );
        buffer.put(libc::NFQA_CFG_CMD as u16, &[NFQNL_CFG_CMD_BIND, 0, 0, 0]);
        let mode = [&COPY_RANGE.to_be_bytes()[..], &[NFQNL_COPY_PACKET]];
        buffer.put_parts(libc::NFQA_CFG_PARAMS as u16, &mode);
        buffer.put_u32(libc::NFQA_CFG_QUEUE_MAXLEN as u16, QUEUE_LENGTH_MAX);
        let set = match shown {
            Shown::WithEntry => libc::NFQA_CFG_F_CONNTRACK,
            Shown::Alone => 0,
        };
        // Segments, not super-segments; drop when full.
        let unset = libc::NFQA_CFG_F_GSO | libc::NFQA_CFG_F_FAIL_OPEN;
        buffer.put_u32(libc::NFQA_CFG_FLAGS as u16, set as u32);
        buffer.put_u32(libc::NFQA_CFG_MASK as u16, (set | unset) as u32);
        self.socket.send(buffer.as_bytes())?;
        self.await_bound(sequence)
    }

    /// Waits for the answer to `bind`. A packet that was queued before the answer is dropped, and
    /// its sender sends it again.
    fn await_bound(&mut self, sequence: u32) -> Result<(), NetlinkError> {
        loop {
            let length = self.socket.receive_datagram()?;
            let mut early = Vec::new();
            let mut answer = None;
            for one in self.socket.received(length) {
                match one.error() {
                    Some(errno) if one.sequence == sequence => answer = Some(errno),
                    Some(_) => {}
                    None => early.extend(parse(&one).map(|packet| packet.id)),
                }
            }
            for id in early {
                // The queue is bound. Only the socket could fail, and its next use will show that.
                let _ = self.verdict(id, QueueVerdict::Drop);
            }
            match answer {
                Some(0) => return Ok(()),
                Some(errno) => return Err(NetlinkError::Refused(errno)),
                None => {}
            }
        }
    }

    fn content(&self, length: usize) -> Content {
        let mut messages = self.socket.received(length);
        match messages.next() {
            Some(first) => match first.error() {
                Some(errno) => Content::Refusal(errno),
                None if parse(&first).is_some() => Content::Packet,
                // The message of a waker.
                None => Content::Nothing,
            },
            None => Content::Nothing,
        }
    }

    fn limit_wait(&mut self, timeout: Option<Duration>) -> Result<(), QueueError> {
        let limit = timeout.map(rounded);
        if self.limit != limit {
            sockopt::set_socket_timeout(&self.socket, Timeout::Recv, limit)
                .map_err(socket_error)?;
            self.limit = limit;
        }
        Ok(())
    }
}

/// What the kernel shows of a queued packet.
#[derive(Clone, Copy)]
enum Shown {
    /// The packet and the conntrack entry of its connection.
    WithEntry,
    Alone,
}

/// The content of a datagram from the queue's socket.
enum Content {
    Packet,
    Refusal(i32),
    Nothing,
}

/// At least a millisecond, at most nine hours.
fn rounded(timeout: Duration) -> Duration {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let power = milliseconds.max(1).ilog2().min(25);
    Duration::from_millis(1 << power)
}

/// Asks the queue subsystem for something that changes nothing, to see whether it answers.
pub(super) fn probe() -> Result<(), NetlinkError> {
    Socket::open()?.request(Head::new(message(libc::NFQNL_MSG_CONFIG), 0), |buffer| {
        buffer.put(libc::NFQA_CFG_CMD as u16, &[NFQNL_CFG_CMD_PF_BIND, 0, 0, 0]);
    })
}

const fn message(request: i32) -> MessageType {
    MessageType {
        subsystem: libc::NFNL_SUBSYS_QUEUE as u8,
        request: request as u8,
    }
}

fn parse<'a>(message: &Message<'a>) -> Option<QueuedPacket<'a>> {
    let attributes = message.attributes();
    Some(QueuedPacket {
        id: QueuedPacketId(attributes.u32(libc::NFQA_PACKET_HDR as u16)?),
        ingress: packet_path::parse(message, &attributes),
        tracked: parse_tuple(&attributes),
        receiver: packet_path::parse_receiver(&attributes),
        bytes: attributes.find(libc::NFQA_PAYLOAD as u16)?,
    })
}

/// `enum ip_conntrack_info`: from here on the values are of the reply direction.
const IP_CT_IS_REPLY: u32 = 3;

fn parse_tuple(attributes: &Attributes<'_>) -> Option<Tuple> {
    let entry = attributes.within(libc::NFQA_CT as u16)?;
    let info = attributes.u32(libc::NFQA_CT_INFO as u16)?;
    let direction = if info < IP_CT_IS_REPLY {
        Direction::Original
    } else {
        Direction::Reply
    };
    tuple_of_direction(&entry, direction)
}

fn socket_error(error: rustix::io::Errno) -> NetlinkError {
    NetlinkError::Socket(error.into())
}
