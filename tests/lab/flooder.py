"""One side of a flood, as a program of its own, because it must not disturb the measuring test.

    flooder.py serve ADDRESS PORT        greets, lets everybody in, answers each line, and
                                         prints the bytes that it read when a client leaves
    flooder.py commands ADDRESS PORT N S N sessions that say NOOP as fast as they can for S seconds
    flooder.py line ADDRESS PORT BYTES   a session with one line of that many bytes
    flooder.py half-open SOURCE ADDRESS MAC COUNT PORT...
                                         SYNs from one address, and never an ACK

attacks_floods.py runs it.
"""

import os
import socket
import sys
import threading
import time

from forge import ETHERNET_IPV4, SYN, Forged

CHUNK = 1 << 16
FIRST_PORT, PORTS = 10_000, 50_000


def serve(address, port):
    listener = socket.create_server((address, int(port)), backlog=4096)
    print("ready", flush=True)
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=answer, args=(accepted,), daemon=True).start()


def answer(sock):
    total = 0
    with sock:
        try:
            sock.sendall(b"220 flood\r\n")
            while read := sock.recv(CHUNK):
                total += len(read)
                sock.sendall(b"230 well\r\n" * read.count(b"\n"))
        except OSError:
            pass
    print(f"read {total}", flush=True)


def log_in(address, port):
    sock = socket.create_connection((address, int(port)))
    sock.recv(CHUNK)
    sock.sendall(b"USER anonymous\r\n")
    sock.recv(CHUNK)
    return sock


def commands(address, port, sessions, seconds):
    until = time.monotonic() + float(seconds)
    threads = [
        threading.Thread(target=repeat, args=(log_in(address, port), until))
        for _ in range(int(sessions))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def repeat(sock, until):
    """Says NOOP again and again; a thread reads the answers."""
    threading.Thread(target=discard, args=(sock,), daemon=True).start()
    lines = b"NOOP\r\n" * (CHUNK // 6)
    sent = 0
    sock.settimeout(2)
    while time.monotonic() < until:
        try:
            sent += sock.send(lines[sent % 6 :])
        except OSError:
            break
    print(f"said {sent // 6}", flush=True)


def discard(sock):
    try:
        while sock.recv(CHUNK):
            pass
    except OSError:
        pass


def line(address, port, size):
    sock = log_in(address, port)
    chunk, left = b"x" * CHUNK, int(size)
    while left:
        left -= sock.send(chunk[:left])
    sock.sendall(b"\r\n")
    print(f"heard {sock.recv(CHUNK)!r}", flush=True)


def half_open(source, address, gateway, count, *ports):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    place = ("eth0", ETHERNET_IPV4, 0, 0, bytes.fromhex(gateway))
    for number in range(int(count)):
        port = int(ports[number // PORTS % len(ports)])
        forged = Forged((source, FIRST_PORT + number % PORTS), (address, port), number, flags=SYN)
        wire.sendto(forged.packet(), place)
    print(f"asked {count}", flush=True)


MODES = {"serve": serve, "commands": commands, "line": line, "half-open": half_open}

if __name__ == "__main__":
    # The flooder stands for another machine, and takes only what is left of this one
    # (attacks_floods.py).
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    MODES[sys.argv[1]](*sys.argv[2:])
