"""Reads the labels of conntrack entries, which the program conntrack prints by name only."""

import socket
import struct

from shell import inside

# linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
NETLINK_NETFILTER = 12
CT_GET = 1 << 8 | 1
REQUEST_DUMP = 0x1 | 0x300
ERROR, DONE = 2, 3
TYPE_MASK = 0x3FFF
PROTOINFO, LABELS = 4, 22
TCP = STATE = 1
ESTABLISHED = 3
BUFFER_BYTES = 1 << 18


def count_established(bit, namespace):
    """How many established TCP connections of a namespace have this bit in their label."""
    return sum(_has(entry, bit) and _is_established(entry) for entry in _entries(namespace))


def _has(entry, bit):
    label = entry.get(LABELS, b"")
    return bool(label and label[bit // 8] & 1 << bit % 8)


def _is_established(entry):
    tcp = _attributes(_attributes(entry.get(PROTOINFO, b"")).get(TCP, b""))
    return tcp.get(STATE) == bytes([ESTABLISHED])


def _entries(namespace):
    with inside(namespace):
        asked = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with asked:
        head = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
        asked.send(struct.pack("=IHHII", 16 + len(head), CT_GET, REQUEST_DUMP, 1, 0) + head)
        while True:
            answer = asked.recv(BUFFER_BYTES)
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == DONE:
                    return
                if kind == ERROR:
                    raise OSError("conntrack does not list its entries")
                yield _attributes(answer[20:length])
                answer = answer[length:]


def _attributes(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & TYPE_MASK] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
