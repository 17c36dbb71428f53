"""TCP segments made by hand, because no host's TCP would send them: false overlaps, strays,
forgeries.

Both ends of a connection are real sockets of the test. `numbers` asks a socket for its sequence
numbers, so that a forged segment can be exact, or wrong by a known amount. Segments leave as frames
to the gateway's link, from any host, whatever their addresses say.
"""

import contextlib
import dataclasses
import json
import socket
import struct
import time

from shell import inside, run

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
RING = 1 << 32
ETHERNET_IPV4, ETHERNET_IPV6 = 0x0800, 0x86DD
# linux/if_ether.h
ETHERNET_ALL = 0x0003
# linux/tcp.h
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
REPAIR_ON, REPAIR_OFF_WITHOUT_PROBE = 1, -1
RECEIVE_QUEUE, SEND_QUEUE = 1, 2


def numbers(sock):
    """(the next sequence number that a socket will send, the next that it expects)."""
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
    try:
        found = []
        for queue in (SEND_QUEUE, RECEIVE_QUEUE):
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
            found.append(sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) % RING)
        return tuple(found)
    finally:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_WITHOUT_PROBE)


@dataclasses.dataclass(frozen=True)
class Forged:
    """One TCP segment: (address, port) of both ends, and its fields."""

    source: tuple
    destination: tuple
    sequence: int
    acknowledged: int = 0
    flags: int = PSH | ACK
    payload: bytes = b""
    # The TTL, or the hop limit of IPv6. With 1 it reaches the gateway and nobody behind it.
    hops: int = 64

    @property
    def is_ipv6(self):
        return ":" in self.source[0]

    def packet(self):
        family = socket.AF_INET6 if self.is_ipv6 else socket.AF_INET
        addresses = b"".join(
            socket.inet_pton(family, address) for address, _ in (self.source, self.destination)
        )
        tcp = (
            struct.pack(
                ">HHIIBBHHH",
                self.source[1],
                self.destination[1],
                self.sequence % RING,
                self.acknowledged % RING,
                5 << 4,
                self.flags,
                0xFFFF,
                0,
                0,
            )
            + self.payload
        )
        sum_of = checksum(addresses + struct.pack(">HH", socket.IPPROTO_TCP, len(tcp)) + tcp)
        tcp = tcp[:16] + struct.pack(">H", sum_of) + tcp[18:]
        if self.is_ipv6:
            fixed = struct.pack(">IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, self.hops)
            return fixed + addresses + tcp
        ip = (
            struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, self.hops, socket.IPPROTO_TCP, 0)
            + addresses
        )
        return ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:] + tcp


def checksum(data):
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def next_of(sender, receiver):
    """The segment that one end would really send next."""
    sequence, acknowledged = numbers(sender.sock)
    return Forged(
        sender.sock.getsockname()[:2], sender.sock.getpeername()[:2], sequence, acknowledged
    )


class Forger:
    """Sends forged segments from one host, by its `device`, to a link of the gateway.

    Use it as a context manager.
    """

    def __init__(self, lab, host, link, device="eth0"):
        self.lab, self.host, self.link, self.device = lab, host, link, device

    def __enter__(self):
        [found] = json.loads(
            run(
                ["ip", "-n", self.lab.topology.gateway, "-j", "link", "show", "dev", self.link]
            ).stdout
        )
        gateway = bytes.fromhex(found["address"].replace(":", ""))
        with inside(self.lab.namespace(self.host)):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self.gateway = gateway
        return self

    def __exit__(self, *exception):
        self.sock.close()

    def send(self, forged):
        protocol = ETHERNET_IPV6 if forged.is_ipv6 else ETHERNET_IPV4
        self.sock.sendto(forged.packet(), (self.device, protocol, 0, 0, self.gateway))


@contextlib.contextmanager
def watch(lab, host, beside=None):
    """Yields `seen(port, seconds)`: whether a SYN to a port of the host arrives in time.

    It does not matter whether anybody answers the SYN. With `beside`, which is SYN or SYN | ACK, such
    a segment with bytes is meant.
    """
    with inside(lab.namespace(host)):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERNET_ALL))

    def seen(port, seconds):
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            wire.settimeout(left)
            try:
                packet, (*_, kind, _, _) = wire.recvfrom(2048)
            except TimeoutError:
                return False
            if kind == socket.PACKET_OUTGOING:
                continue
            if has_bytes_beside(beside, packet, port) if beside else is_syn_to(packet, port):
                return True
        return False

    try:
        yield seen
    finally:
        wire.close()


def is_syn_to(packet, port):
    """Whether a packet is a SYN to a port, and answers none."""
    tcp = tcp_of(packet)
    return is_to(tcp, port) and tcp[13] & (SYN | ACK) == SYN


def has_bytes_beside(flags, packet, port):
    """Whether a packet to a port has bytes, and of SYN and ACK these flags."""
    tcp = tcp_of(packet)
    return is_to(tcp, port) and tcp[13] & (SYN | ACK) == flags and len(tcp) > (tcp[12] >> 4) * 4


def is_to(tcp, port):
    return len(tcp) >= 20 and struct.unpack_from(">H", tcp, 2)[0] == port


def tcp_of(packet):
    """A packet's TCP segment, or nothing.

    IPv6 is read without extension headers, because this lab's hosts send none.
    """
    is_ipv6 = packet[0] >> 4 == 6
    header = 40 if is_ipv6 else (packet[0] & 15) * 4
    length = struct.unpack_from(">H", packet, 4 if is_ipv6 else 2)[0] + 40 * is_ipv6
    is_tcp = packet[6 if is_ipv6 else 9] == socket.IPPROTO_TCP
    return packet[header:length] if is_tcp else b""
