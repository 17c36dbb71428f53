"""Captures both sides of the gateway, and reads a capture far enough to compare TCP payloads."""

import os
import re
import struct
import time
import typing

from shell import PATIENCE, Background, LabError

SIDES = {"inside": "lan", "outside": "wan"}
SETTLE_SECONDS = 0.3 * PATIENCE
LINK_HEADER = 14
SYN = 0x02
RING = 1 << 32


class Capture:
    """Runs tcpdump on both links of the gateway, or on others, during the `with` block."""

    def __init__(self, lab, name, expression="tcp", directory=None, snapshot=0, links=SIDES):
        # The buffer has a place of the snapshot's length for each packet, so few for a large one.
        self.lab, self.expression, self.snapshot = lab, expression, snapshot
        self.links = links
        self.files = {
            side: os.path.join(directory or lab.workspace, f"{name}.{side}.pcap") for side in links
        }

    def __enter__(self):
        self.running = [self.start(side) for side in self.links]
        return self

    def start(self, side):
        log = self.lab.workspace / f"tcpdump.{side}.log"
        # An earlier capture of the lab was ready, and this one is not yet.
        log.unlink(missing_ok=True)
        process = Background(
            [
                "tcpdump",
                "-Z",
                "root",
                "-U",
                "-n",
                "-s",
                str(self.snapshot),
                "--immediate-mode",
                "-B",
                "16384",
                "-i",
                self.links[side],
                "-w",
                self.files[side],
                self.expression,
            ],
            log,
            namespace=self.lab.topology.gateway,
        )
        process.wait_for(lambda: "listening on" in process.output(), 5, "capturing")
        return process

    def __exit__(self, *exception):
        # The last packets are still on their way through the capture's buffer.
        time.sleep(SETTLE_SECONDS)
        for process in self.running:
            process.stop()

    def lost(self):
        """How many packets the captures did not get."""
        said = "".join(process.output() for process in self.running)
        return sum(map(int, re.findall(r"(\d+) packets? dropped by kernel", said)))


def packets(path):
    """The captured frames of a pcap file as tcpdump writes it."""
    with open(path, "rb") as file:
        if file.read(24)[:4] != b"\xd4\xc3\xb2\xa1":
            raise LabError(f"{path} is not a capture of tcpdump on this machine")
        while header := file.read(16):
            yield file.read(struct.unpack("<8xI4x", header)[0])


class Segment(typing.NamedTuple):
    """A TCP segment; `flow` is ((source, port), (destination, port)) with addresses as bytes."""

    flow: tuple
    sequence: int
    is_syn: bool
    payload: bytes
    ack: int = 0
    flags: int = 0


def segment_of(frame):
    """The TCP segment in a frame."""
    version = frame[LINK_HEADER] >> 4
    if version == 4:
        ip_length, total = (frame[LINK_HEADER] & 15) * 4, struct.unpack_from(
            ">H", frame, LINK_HEADER + 2
        )[0]
        addresses = (
            frame[LINK_HEADER + 12 : LINK_HEADER + 16],
            frame[LINK_HEADER + 16 : LINK_HEADER + 20],
        )
    else:
        ip_length, total = 40, 40 + struct.unpack_from(">H", frame, LINK_HEADER + 4)[0]
        addresses = (
            frame[LINK_HEADER + 8 : LINK_HEADER + 24],
            frame[LINK_HEADER + 24 : LINK_HEADER + 40],
        )
    tcp = frame[LINK_HEADER + ip_length : LINK_HEADER + total]
    source, destination, sequence, ack = struct.unpack_from(">HHII", tcp)
    return Segment(
        ((addresses[0], source), (addresses[1], destination)),
        sequence,
        bool(tcp[13] & SYN),
        tcp[(tcp[12] >> 4) * 4 :],
        ack,
        tcp[13],
    )


def inconsistent_bytes(path):
    """Descriptions of segments that repeat a sequence number with other bytes than before."""
    return inconsistent_frames(packets(path))


def inconsistent_frames(frames):
    """The same of frames."""
    first, seen, changed = {}, {}, []
    for frame in frames:
        segment = segment_of(frame)
        # A later connection of the same two ends counts from another number.
        if segment.is_syn and first.get(segment.flow) != segment.sequence:
            first[segment.flow], seen[segment.flow] = segment.sequence, {}
        bytes_seen = seen.setdefault(segment.flow, {})
        for offset, byte in enumerate(segment.payload):
            before = bytes_seen.setdefault((segment.sequence + offset) % RING, byte)
            if before != byte:
                changed.append(f"{segment.flow}: {segment.payload!r} at {segment.sequence}")
                break
    return changed
