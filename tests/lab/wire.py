"""What a capture on both sides of the gateway says against it."""

import ipaddress
import socket

import captures
from captures import RING, packets, segment_of
from copies import CONTROL_PORT
from shell import LabError
from topology import PRIVATE_LAN4

# Longer than any packet of a control connection here.
SNAPSHOT = 2048

FIN, RST, ACK = 0x01, 0x04, 0x10
PRIVATE = ipaddress.ip_network(PRIVATE_LAN4)
# An announcement of a private address, in the words of each mode.
PRIVATE_WORDS = (b"10,0,0,", b"10.0.0.")
FAULTS_SHOWN = 8


def faults(capture):
    """Descriptions of packets that should never have left."""
    if lost := capture.lost():
        raise LabError(f"the captures lack {lost} packets")
    found = []
    for side, path in capture.files.items():
        frames = list(packets(path))
        found += [f"{side}: {fault}" for fault in sequence_faults(frames)]
        found += [f"{side}: other bytes than at first: {fault}" for fault in changed_bytes(frames)]
        if side == "outside":
            found += [f"{side}: {fault}" for fault in private_faults(frames)]
    return found


def shown(flow):
    ends = (f"{socket.inet_ntop(family(a), a)}:{port}" for a, port in flow)
    return " > ".join(ends)


def family(address):
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def private_faults(frames):
    """Packets outside that have a private address, in their header or in an announcement."""
    found = []
    for frame in frames:
        segment = segment_of(frame)
        addresses = [ipaddress.ip_address(address) for address, _ in segment.flow]
        if any(address in PRIVATE for address in addresses if address.version == 4):
            found.append(f"a private address: {shown(segment.flow)}")
        if is_control(segment) and any(words in segment.payload for words in PRIVATE_WORDS):
            found.append(f"an untranslated line: {segment.payload!r}")
    return found[:FAULTS_SHOWN]


def is_control(segment):
    return CONTROL_PORT in (segment.flow[0][1], segment.flow[1][1])


class Side:
    """One direction of a control connection, as one link saw it so far."""

    def __init__(self, first):
        self.first, self.sent = first, 0

    def place(self, number):
        """A sequence number, counted from the first byte."""
        return (number - self.first + RING // 2) % RING - RING // 2


def sequence_faults(frames):
    """Segments that leave a gap, and acknowledgements of what nobody has sent.

    A number that lacks its offset is one of these, or has other bytes than before.
    """
    sides, found = {}, []
    for frame in frames:
        segment = segment_of(frame)
        if not is_control(segment):
            continue
        if segment.is_syn:
            sides[segment.flow] = Side((segment.sequence + 1) % RING)
            continue
        if segment.flags & RST or segment.flow not in sides:
            continue
        side, other = sides[segment.flow], sides.get((segment.flow[1], segment.flow[0]))
        start = side.place(segment.sequence)
        end = start + len(segment.payload) + bool(segment.flags & FIN)
        if start > side.sent and (segment.payload or segment.flags & FIN):
            found.append(f"{shown(segment.flow)}: a gap of {start - side.sent} bytes: {segment}")
        side.sent = max(side.sent, end)
        if other and segment.flags & ACK and other.place(segment.ack) > other.sent:
            more = other.place(segment.ack) - other.sent
            found.append(f"{shown(segment.flow)}: acknowledges {more} bytes too many: {segment}")
    return found[:FAULTS_SHOWN]


def changed_bytes(frames):
    """Control segments that repeat a sequence number with other bytes than before."""
    control = [frame for frame in frames if is_control(segment_of(frame))]
    return captures.inconsistent_frames(control)[:FAULTS_SHOWN]
