"""Rows of the table of dialogues about addresses and ports that the operator's keys speak of, or
that are chosen here. Each has its twin in the same case, or in attacks_commands.py."""

import functools
import ipaddress
import socket
import time

from dialogues import Dialogue, goes_on, play
from guarantees import require
from scripted import CONNECT_SECONDS, echo, listen, stranger_to
from shell import inside, write_sysctls
from topology import GATEWAY_WAN4, ip_batch

# What another router would translate the gateway's outside address to, and a victim's address.
PUBLIC = "192.0.2.200"
VICTIM = "192.0.2.201"
LOGGED_IN = """
    S 220 ready
    C USER anonymous
    S 230 logged in
    """


def behind_another_router(mode, names_public, stage):
    """The gateway stands behind another router, whose address it announces (P31, P32).

    The connection arrives with the gateway's own address, as that router translates it.
    """
    with play(stage) as performed:
        performed.perform(LOGGED_IN)
        # Only an announcement of who stands behind the gateway is translated there.
        is_announcer_inside = (mode == "PORT") == stage.deployment.name.endswith("client")
        address = PUBLIC if names_public and is_announcer_inside else None
        offer = performed.session.announce(mode, address=address)
        if is_announcer_inside:
            require(offer.address == PUBLIC, f"the other end heard {offer.address}")
            offer.address = GATEWAY_WAN4
        require(offer.connects(), "the data connection did not come through")
        offer.close()
        if mode == "PORT":
            refuses_victim(performed)


def refuses_victim(performed):
    """The twin: another address than the named one is still that of a third host (RFC 2577)."""
    performed.say("C", f"PORT {VICTIM.replace('.', ',')},19,137")
    performed.unheard["C"].clear()
    heard = performed.session.server.line()
    require("PORT" not in heard, f"the server heard {heard!r}")
    performed.session.server.send(b"200 well\r\n")
    answer = performed.session.client.line()
    require(answer.startswith("550"), f"the client read {answer!r}")


def sibling(address):
    return str(ipaddress.ip_address(address) + 1)


def from_another_address(stage):
    """A server connects from another address of its network (P35), and nobody else does."""
    server = stage.deployment.server
    with play(stage) as performed:
        performed.perform(LOGGED_IN)
        offer = performed.session.announce("PORT")
        offer.source = sibling(offer.source)
        add_address(stage.lab.namespace(server), offer.source)
        require(
            offer.stays_shut(host=stranger_to(server)), "a stranger's data connection came through"
        )
        require(offer.connects(), f"the connection from {offer.source} did not come through")
        require(offer.stays_shut(), "a second data connection came through")
        offer.close()
        goes_on(performed)


def add_address(namespace, address):
    """Once: the cases of a batch share their hosts."""
    ip_batch(namespace, [f"address replace {address}/32 dev eth0"])


TRANSFERS = 200
# A client whose system gives it the same few ports again and again.
CLIENT_PORTS = range(52_000, 52_020)
DATA_PORT = 20


def burst_of_active_transfers(stage):
    """The server connects from port 20, so no outside port may come again within its TIME-WAIT."""
    outside = set()
    with play(stage) as performed:
        performed.perform(LOGGED_IN)
        for count in range(TRANSFERS):
            port = CLIENT_PORTS[count % len(CLIENT_PORTS)]
            offer = performed.session.announce("PORT", port=port)
            require(offer.port not in outside, f"port {offer.port} came again")
            outside.add(offer.port)
            transfer_from_port_20(offer)
            offer.close()
        goes_on(performed)


def transfer_from_port_20(offer):
    """The server closes first, so it has the TIME-WAIT."""
    with inside(offer.session.stage.lab.namespace(offer.connector)):
        connection = socket.socket()
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind((offer.source, DATA_PORT))
        connection.settimeout(CONNECT_SECONDS)
        connection.connect((offer.address, offer.port))
        offer.listener.settimeout(CONNECT_SECONDS)
        accepted, _ = offer.listener.accept()
        accepted.settimeout(CONNECT_SECONDS)
        require(echo(connection, accepted), "the data connection does not work")
    with accepted:
        require(accepted.recv(1) == b"", "the server has closed")


LISTENING, RESERVED = 50_123, 50_124
# The daemon looks every ten seconds.
LOOK_SECONDS = 11


def port_of_this_gateway(stage):
    """No announcement gets a port on which the gateway listens, nor one that it reserves."""
    gateway = stage.lab.topology.gateway
    setting = "net.ipv4.ip_local_reserved_ports"
    with listen(gateway, "0.0.0.0", LISTENING), play(stage) as performed:
        write_sysctls(gateway, [f"{setting}={RESERVED}"])
        try:
            time.sleep(LOOK_SECONDS)
            performed.perform(LOGGED_IN)
            for port in (LISTENING, RESERVED):
                offer = performed.session.announce("PORT", port=port)
                require(
                    offer.port not in (LISTENING, RESERVED), f"the server heard port {offer.port}"
                )
                require(offer.connects(), "the data connection did not come through")
                offer.close()
        finally:
            write_sysctls(gateway, [f"{setting}="])


def rows():
    for mode in ("PORT", "PASV"):
        for names_public in (False, True):
            yield Dialogue(
                f"behind-another-router/{mode}/{'public' if names_public else 'own'}-address",
                check=functools.partial(behind_another_router, mode, names_public),
                source="P31, P32",
                settings={"nat.public": {GATEWAY_WAN4: PUBLIC}},
            )
    yield Dialogue(
        "server-connects-from-another-address",
        check=from_another_address,
        source="P35",
        settings={"policy.data_sources": ["203.0.113.0/28", "10.0.0.16/28"]},
    )
    for name, check, source in (
        ("burst-of-active-transfers", burst_of_active_transfers, "suites"),
        ("port-of-this-gateway", port_of_this_gateway, "P40"),
    ):
        yield Dialogue(name, check=check, source=source, routes=("snat",))
