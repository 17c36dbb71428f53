"""Stretches a suite that talks to itself on the loopback address over two network namespaces.

The program runs in the client's namespace. Its servers' sockets are made in the server's namespace,
where they stay: a thread moves there by setns(2) for as long as it makes them. Three things are
translated, so that the suite itself need not change:

- a server that listens on the loopback address gets its host's own address and the port 21,
- a client that connects to that server goes to the address that the operator gave the clients,
- the loopback address otherwise means the client's own address.

No address of a data connection is translated, because that is what the gateway is there for.
"""

import contextlib
import ctypes
import dataclasses
import functools
import ipaddress
import json
import os
import socket
import threading

CONTROL_PORT = 21
LOOPBACK = ("localhost", "127.0.0.1", "::1")
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the two ends are; each address in both families: {4: …, 6: …}."""

    server_namespace: str
    server: dict
    client: dict
    # What the client dials: the server, or the gateway that stands before it.
    target: dict

    @classmethod
    def from_environment(cls):
        fields = json.loads(os.environ["SUITE_PLACE"])
        return cls(
            **{
                name: (
                    {int(key): text for key, text in value.items()}
                    if isinstance(value, dict)
                    else value
                )
                for name, value in fields.items()
            }
        )


place = Place.from_environment()
# What this thread does: `is_server` while it is in the server's namespace, `is_listening` while it
# makes the socket that control connections come to.
context = threading.local()


def family_of(sock):
    return 6 if sock.family == socket.AF_INET6 else 4


def is_local(host):
    """Whether a suite means its own machine by this host."""
    if host in ("", "localhost", *place.server.values(), *place.client.values()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def enter(namespace):
    with open(namespace) as descriptor:
        if libc.setns(descriptor.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def in_server(is_listening=False):
    """This thread makes sockets in the server's namespace."""
    before = vars(context).copy()
    here = f"/proc/self/task/{threading.get_native_id()}/ns/net"
    with open(here) as home:
        enter(f"/run/netns/{place.server_namespace}")
        context.is_server, context.is_listening = True, is_listening
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)
            vars(context).clear()
            vars(context).update(before)


def constructed_in_server(function):
    """A server's constructor, whose socket is the one that control connections come to."""

    @functools.wraps(function)
    def wrapped(*arguments, **options):
        with in_server(is_listening=True):
            return function(*arguments, **options)

    return wrapped


def run_in_server(function):
    """The body of a server's thread."""

    @functools.wraps(function)
    def wrapped(*arguments, **options):
        with in_server():
            return function(*arguments, **options)

    return wrapped


def translate_sockets():
    """From now on addresses are translated as this module says."""
    bind, connect, connect_ex = socket.socket.bind, socket.socket.connect, socket.socket.connect_ex

    def translated_bind(sock, address):
        if getattr(context, "is_listening", False) and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            host = address[0] if address[0] == "::" else place.server[family_of(sock)]
            address = (host, CONTROL_PORT, *address[2:])
        return bind(sock, at_client(sock, address))

    def translated(sock, address):
        if (
            not getattr(context, "is_server", False)
            and sock.family in (socket.AF_INET, socket.AF_INET6)
            and address[1] == CONTROL_PORT
            and is_local(address[0])
        ):
            return (place.target[family_of(sock)], *address[1:])
        return at_client(sock, address)

    def at_client(sock, address):
        """The client's own address in place of the loopback one."""
        if (
            not getattr(context, "is_server", False)
            and sock.family in (socket.AF_INET, socket.AF_INET6)
            and address[0] in LOOPBACK
        ):
            return (place.client[family_of(sock)], *address[1:])
        return address

    socket.socket.bind = translated_bind
    socket.socket.connect = lambda sock, address: connect(sock, translated(sock, address))
    socket.socket.connect_ex = lambda sock, address: connect_ex(sock, translated(sock, address))
    gethostbyname = socket.gethostbyname
    socket.gethostbyname = lambda name: (
        place.client[4] if name == "localhost" else gethostbyname(name)
    )
