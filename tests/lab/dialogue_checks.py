"""Rows of the table of dialogues that are more than a script: ports, time, TLS, multipath TCP."""

import functools
import socket
import struct
import time

from dialogues import Dialogue, goes_on, play
from guarantees import require
from scripted import CONNECT_SECONDS, Offer, echo, listen
from shell import inside, write_sysctls

# What a load balancer says in front of everything (P48). Version 2 here has a TLV: type 0xea, 3
# bytes. It begins with lines in which a reader of commands finds QUIT.
ADDRESSES = socket.inet_aton("192.0.2.2") + socket.inet_aton("198.51.100.7")
TLV = b"\xea\0\3lab"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY_HEADERS = {
    "v1": b"PROXY TCP4 192.0.2.2 198.51.100.7 40001 21\r\n",
    "v1-unknown": b"PROXY UNKNOWN\r\n",
    "v2": SIGNATURE + struct.pack(">BBH", 0x21, 0x11, 12) + ADDRESSES + struct.pack(">HH", 1, 21),
    "v2-with-TLV": SIGNATURE
    + struct.pack(">BBH", 0x21, 0x11, 12 + len(TLV))
    + ADDRESSES
    + struct.pack(">HH", 40001, 21)
    + TLV,
    "v2-local": SIGNATURE + struct.pack(">BBH", 0x20, 0, 0),
}

# Ports to which other helpers of gateways listen: SIP, H.323, PPTP, SCCP, IRC (P40).
HELPER_PORTS = (5060, 1720, 1723, 2000, 6667)
# Outside the ports that the hosts of the lab give to their own connections.
FREE_PORTS = range(22000, 22010)


def keeps_announced_ports(mode, stage):
    """The outside port is the announced one where that is free (P39)."""
    with play(stage) as performed:
        performed.perform(LOGGED_IN)
        for port in FREE_PORTS:
            offer = performed.session.announce(mode, port=port)
            require(offer.port == port, f"announced {port}, and the other end heard {offer.port}")
            require(offer.connects(), "the data connection did not come through")
            offer.close()
        goes_on(performed)


def avoids_helper_ports(mode, stage):
    """No announcement names an outside port that other helpers listen to (P40)."""
    with play(stage) as performed:
        performed.perform(LOGGED_IN)
        for port in HELPER_PORTS:
            offer = performed.session.announce(mode, port=port)
            require(offer.port not in HELPER_PORTS, f"the other end heard port {offer.port}")
            require(offer.connects(), "the data connection did not come through")
            offer.close()
        goes_on(performed)


LOGGED_IN = """
    S 220 ready
    C USER anonymous
    S 230 logged in
    """
RECALL_SECONDS = 2


def recall_from_tape(mode, stage):
    """The data connection comes late, and the server says 125 meanwhile (P42)."""
    with play(stage) as performed:
        performed.perform(LOGGED_IN)
        offer = performed.session.announce(mode)
        performed.session.command("RETR 'A.B'")
        for _ in range(RECALL_SECONDS * 4):
            time.sleep(0.5)
            performed.session.reply("125-Waiting for the recall of data set A.B")
        performed.session.reply("125 Sending data set A.B")
        require(offer.connects(), "after the recall the data connection did not come through")
        performed.session.reply("250 Transfer completed successfully.")
        goes_on(performed)


ESTABLISHED_SECONDS = 3


def control_is_idle_in_transfer(mode, stage):
    """While data flows nobody speaks, and the server's 226 still comes through (P43).

    The gateway forgets idle connections soon.
    """
    gateway = stage.lab.topology.gateway
    name = "net.netfilter.nf_conntrack_tcp_timeout_established"
    with inside(gateway), open(f"/proc/sys/{name.replace('.', '/')}") as setting:
        before = setting.read().strip()
    write_sysctls(gateway, [f"{name}={ESTABLISHED_SECONDS}"])
    try:
        with play(stage) as performed:
            performed.perform(LOGGED_IN)
            offer = performed.session.announce(mode)
            performed.session.exchange("RETR a", "150 here it comes")
            require(flows(offer, 2 * ESTABLISHED_SECONDS), "the data connection did not work")
            performed.session.reply("226 done")
            goes_on(performed)
    finally:
        write_sysctls(gateway, [f"{name}={before}"])


def flows(offer, seconds):
    """Whether the data connection carries bytes for so long."""
    with offer.connector_socket(None, CONNECT_SECONDS) as connection:
        try:
            connection.connect((offer.address, offer.port))
            offer.listener.settimeout(CONNECT_SECONDS)
            accepted, _ = offer.listener.accept()
            with accepted:
                accepted.settimeout(CONNECT_SECONDS)
                end = time.monotonic() + seconds
                while time.monotonic() < end and echo(connection, accepted):
                    time.sleep(0.2)
        except OSError:
            return False
    return time.monotonic() >= end


TLS_PORT = 50_050
CLIENT_HELLO = b"\x16\x03\x01\0\x06\x01\0\0\x02\x03\x03"
SERVER_HELLO = b"\x16\x03\x03\0\x06\x02\0\0\x02\x03\x03"


def auth_answered(code, stage):
    """AUTH TLS is answered by this code, and TLS follows; its range of ports is then open (P10)."""
    with play(stage) as performed:
        performed.perform("S 220 ready")
        performed.session.exchange("AUTH TLS", f"{code} starting SSL connection")
        for speaker, listener, record in (
            (performed.session.client, performed.session.server, CLIENT_HELLO),
            (performed.session.server, performed.session.client, SERVER_HELLO),
        ):
            speaker.send(record)
            listener.sock.settimeout(CONNECT_SECONDS)
            require(listener.receive() == record, "a record of TLS did not come through")
        server = stage.deployment.server
        listener = listen(stage.lab.namespace(server), performed.session.server.address, TLS_PORT)
        performed.listeners.append(listener)
        client = performed.session.client
        offer = Offer(
            performed.session,
            listener,
            performed.session.client_host,
            client.address,
            client.peer_address,
            TLS_PORT,
        )
        require(offer.connects(), "the data connection within TLS did not come through")


def rows():
    """Each of these over both routes."""
    for mode in ("PORT", "PASV"):
        for name, check, source in (
            ("announced-port-is-kept", keeps_announced_ports, "P39"),
            ("control-idle-in-transfer", control_is_idle_in_transfer, "P43"),
        ):
            yield Dialogue(f"{name}/{mode}", check=functools.partial(check, mode), source=source)
        yield Dialogue(
            f"recall-from-tape/{mode}",
            check=functools.partial(recall_from_tape, mode),
            source="P42",
            settings={"expectation.timeout": f"{RECALL_SECONDS}s"},
        )
    # A port is chosen for an announcer behind NAT alone.
    for mode, route in (("PORT", "snat"), ("PASV", "dnat")):
        yield Dialogue(
            f"port-of-another-helper/{mode}",
            check=functools.partial(avoids_helper_ports, mode),
            source="P40",
            routes=(route,),
        )
    for code in (200, 234):
        yield Dialogue(
            f"AUTH-answered-{code}",
            check=functools.partial(auth_answered, code),
            source="P10: VxWorks",
            settings={"policy.tls_data": "range", "policy.tls_ports": "50000-50099"},
        )
