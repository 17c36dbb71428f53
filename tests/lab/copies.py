"""Control connections as one wire saw them: every copy of every byte, and the announcements."""

import dataclasses
import re
import socket

from captures import RING, segment_of
from lab import CaseFailure
from scripted import decode
from shell import LabError

CONTROL_PORT = 21
ANNOUNCEMENT = re.compile(rb"^(?:(?:PORT|EPRT) |22[79] )[^\r\n]*\r\n", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Copy:
    """The bytes of a stream in one packet, and their place counted from the stream's first byte."""

    start: int
    payload: bytes

    @property
    def end(self):
        return self.start + len(self.payload)


class Stream:
    """One direction of a control connection.

    `flow` is ((address, port), (address, port)), with addresses as bytes.
    """

    def __init__(self, flow, first):
        self.flow, self.first, self.copies = flow, first, []

    def add(self, sequence, payload):
        # Nobody sends two gigabytes of commands, so a place that seems far ahead lies before the
        # first byte.
        start = (sequence - self.first + RING // 2) % RING - RING // 2
        if payload and start >= 0:
            self.copies.append(Copy(start, payload))

    def text(self):
        """The stream's bytes, each as it came first."""
        seen = {}
        for copy in self.copies:
            for offset, byte in enumerate(copy.payload, copy.start):
                seen.setdefault(offset, byte)
        if len(seen) != max(seen, default=-1) + 1:
            raise LabError(f"the capture lacks bytes of {self.flow}")
        return bytes(seen[offset] for offset in range(len(seen)))

    def announcements(self):
        text = self.text()
        return [
            Announcement(self, found.start(), found.group())
            for found in ANNOUNCEMENT.finditer(text)
        ]


@dataclasses.dataclass(frozen=True)
class Announcement:
    """A line that announces, and every copy of any of its bytes."""

    stream: Stream
    start: int
    line: bytes

    def copies(self):
        """The line's bytes in each packet, in the order of the capture."""
        end = self.start + len(self.line)
        for copy in self.stream.copies:
            begin, stop = max(copy.start, self.start), min(copy.end, end)
            if begin < stop:
                yield Copy(begin - self.start, copy.payload[begin - copy.start : stop - copy.start])

    def repeated(self):
        """The copies with a byte that an earlier copy had."""
        seen, repeated = set(), []
        for copy in self.copies():
            span = set(range(copy.start, copy.end))
            if span & seen:
                repeated.append(copy)
            seen |= span
        return repeated

    def changed(self):
        """The copies whose bytes differ from the first ones, wherever they are cut."""
        return [copy for copy in self.copies() if copy.payload != self.line[copy.start : copy.end]]

    def endpoint(self):
        """The endpoint that its reader connects to; a 229 means its sender's address."""
        sender = socket.inet_ntop(
            socket.AF_INET if len(self.stream.flow[0][0]) == 4 else socket.AF_INET6,
            self.stream.flow[0][0],
        )
        return decode(self.line.decode("latin-1"), sender)


def streams(frames):
    """Each direction of each control connection in a capture, from its first packet on."""
    current, all_streams = {}, []
    for frame in frames:
        segment = segment_of(frame)
        if CONTROL_PORT not in (segment.flow[0][1], segment.flow[1][1]):
            continue
        first = (segment.sequence + 1) % RING
        if segment.is_syn and (segment.flow not in current or current[segment.flow].first != first):
            current[segment.flow] = Stream(segment.flow, first)
            all_streams.append(current[segment.flow])
        elif not segment.is_syn and segment.flow in current:
            current[segment.flow].add(segment.sequence, segment.payload)
    return all_streams


def announcements(frames):
    return [announcement for stream in streams(frames) for announcement in stream.announcements()]


def endpoints_tried(frames):
    """The endpoints that somebody tried to connect to."""
    tried = set()
    for frame in frames:
        segment = segment_of(frame)
        if segment.is_syn:
            address, port = segment.flow[1]
            tried.add(
                (
                    socket.inet_ntop(
                        socket.AF_INET if len(address) == 4 else socket.AF_INET6, address
                    ),
                    port,
                )
            )
    return tried


def require_identical(found):
    """An error unless every copy of every announcement has the bytes of the first."""
    changed = [
        (announcement, announcement.changed()) for announcement in found if announcement.changed()
    ]
    if changed:
        detail = "\n".join(
            f"{announcement.line!r} became {copies}" for announcement, copies in changed
        )
        raise CaseFailure(f"{len(changed)} announcements were repeated with other bytes", detail)


def doctored(frames):
    """The frames, with one changed byte in the last packet that repeats part of an announcement."""
    frames, seen, last = list(frames), {}, None
    for number, frame in enumerate(frames):
        segment = segment_of(frame)
        at = ANNOUNCEMENT.search(segment.payload)
        if at and CONTROL_PORT in (segment.flow[0][1], segment.flow[1][1]):
            key = (segment.flow, (segment.sequence + at.start()) % RING)
            last = (number, at.end()) if key in seen else last
            seen[key] = number
    if last is None:
        raise CaseFailure("no announcement was repeated, so this proves nothing")
    number, end = last
    frame = bytearray(frames[number])
    # The byte before the line's end is a digit, a point or a bar.
    frame[len(frame) - len(segment_of(frames[number]).payload) + end - 3] ^= 1
    frames[number] = bytes(frame)
    return frames
