"""aioftp's suite, whose client and server share one event loop: see stretched.py."""

import asyncio
import socket

import aioftp.client
import aioftp.server

from stretched import CONTROL_PORT, in_server, is_local, place


def prepare(modules):
    aioftp.server.asyncio = AsyncioInServer()
    for module in modules:
        # These tests take the server's ports away from it.
        if module.__name__.endswith("test_connection"):
            module.asyncio = AsyncioInServer()
    connect = aioftp.client.BaseClient.connect

    async def connect_to_target(self, host, port=CONTROL_PORT):
        """The client remembers the host, because an EPSV reply names none."""
        if port == CONTROL_PORT and is_local(host):
            host = place.target[6 if ":" in host else 4]
        return await connect(self, host, port)

    aioftp.client.BaseClient.connect = connect_to_target


class AsyncioInServer:
    """asyncio as aioftp's server sees it: sockets that listen are in the server's namespace."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    async def start_server(self, callback, host=None, port=None, **options):
        family = socket.AF_INET6 if ":" in (host or "") else socket.AF_INET
        # The one callback that takes control connections.
        if getattr(callback, "__name__", "") == "dispatcher":
            port = CONTROL_PORT
        options.pop("family", None)
        with in_server():
            sock = socket.create_server(
                (place.server[6 if family == socket.AF_INET6 else 4], port or 0), family=family
            )
        return await asyncio.start_server(callback, sock=sock, **options)
