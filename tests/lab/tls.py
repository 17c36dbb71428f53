"""FTP within TLS: what is let in although nobody can read the announcement, and what stays shut.

With `tls_data = "range"` an encrypted session's client may reach a range of ports, of exactly the
server that it dialled. Nobody else may reach anything. Real clients and servers show that files
come through. Scripted ones, which encrypt too, show what does not come through.
"""

import contextlib
import dataclasses
import functools
import ssl
import threading
import time

import scripted
import transfers
from clients import CLIENTS, CurlClearing
from deployments import GATEWAY_WAN4, IMPLICIT_TLS_PORT, PASSIVE_PORTS
from guarantees import require
from lab import Batch, Case, CaseFailure
from scripted import Stage, stranger_to
from servers import Listen, make_certificate
from shell import PATIENCE
from topology import HOSTS
from transfers import must_not_transfer, must_transfer

RANGE = {"policy.tls_data": "range", "policy.tls_ports": f"{PASSIVE_PORTS[0]}-{PASSIVE_PORTS[1]}"}
IMPLICIT = {"policy.tls_implicit_ports": [IMPLICIT_TLS_PORT]}
RANGE_OF_PORTS = range(PASSIVE_PORTS[0], PASSIVE_PORTS[1] + 1)
SERVERS = ("vsftpd", "proftpd")
TLS_CLIENTS = (CLIENTS["curl"], CLIENTS["lftp"])


# --- real servers and clients ---


def listens(deployment, port=21):
    """Behind DNAT a server announces its public address itself, because nobody can rewrite it."""
    announce = GATEWAY_WAN4 if deployment == "inside-server" else ""
    return Listen(
        port, announce=announce, tls="implicit" if port == IMPLICIT_TLS_PORT else "explicit"
    )


def modes_of(deployment):
    return ("EPSV",) if deployment.startswith("routed6") else ("PASV", "EPSV")


def real_batches():
    """Explicit with every server, implicit with one, in each deployment."""
    for deployment in ("inside-client", "inside-server", "routed6-server"):
        for server, port in (*((server, 21) for server in SERVERS), ("vsftpd", IMPLICIT_TLS_PORT)):
            settings = {**RANGE, **IMPLICIT} if port == IMPLICIT_TLS_PORT else RANGE
            modes = modes_of(deployment) if port == 21 else ("EPSV",)
            yield transfers.batch(
                "tls",
                deployment,
                server,
                listens(deployment, port),
                modes=modes,
                clients=TLS_CLIENTS,
                settings=settings,
            )


def shut_batches():
    """The same with the shipped configuration, and without a helper: nothing comes through."""
    for deployment in ("inside-client", "inside-server"):
        for group, engine in (("tls-default", ""), ("tls-without-helper", "none")):
            yield transfers.batch(
                group,
                deployment,
                "vsftpd",
                listens(deployment),
                check=must_not_transfer,
                modes=modes_of(deployment),
                clients=[CLIENTS["curl"]],
                engine=engine,
                refusal="reject",
            )


def clearing_batches():
    """A client that goes back to clear text (CCC) can be read again, and needs no range."""
    for deployment in ("inside-client", "inside-server"):
        yield transfers.batch(
            "tls-ccc",
            deployment,
            "proftpd",
            dataclasses.replace(listens(deployment), announce=""),
            check=must_clear_and_transfer,
            modes=modes_of(deployment),
            clients=[CurlClearing()],
            refusal="reject",
        )


def must_clear_and_transfer(client, mode, stage):
    """As `must_transfer`, and the server did go back to clear text."""
    must_transfer(client, mode, stage)
    said = (stage.server.directory / "tls.log").read_text(errors="replace")
    require("CCC" in said, "the server's log does not tell of CCC")


# --- scripted ones ---


class Encrypted:
    """The batch's scripted server, and the TLS of both ends."""

    def __init__(self, stage, certificate):
        self.stage = stage
        self.for_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.for_server.load_cert_chain(certificate)
        self.for_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.for_client.check_hostname, self.for_client.verify_mode = False, ssl.CERT_NONE

    def session(self, **more):
        """A control connection that went to TLS and logged in there."""
        session = self.stage.connect(**more)
        session.reply("220 scripted")
        session.exchange("AUTH TLS", "234 go ahead")
        self.encrypt(session)
        session.exchange("USER anonymous", "230 logged in")
        return session

    def encrypt(self, session):
        """Both ends shake hands, each in its own thread, because each waits for the other."""
        server = threading.Thread(target=self.accept, args=(session.server,))
        server.start()
        try:
            session.client.sock = self.for_client.wrap_socket(session.client.sock)
        finally:
            server.join()

    def accept(self, peer):
        peer.sock = self.for_server.wrap_socket(peer.sock, server_side=True)

    def offer(self, session, port=PASSIVE_PORTS[0]):
        """The server announces a port within TLS; the client connects to the address that it
        dialled.
        """
        return session.announce("EPSV", port=port)

    def forget(self):
        """Closes a case's sessions, because a live one would open ports for the next case."""
        for session in self.stage.opened:
            session.close()
        self.stage.opened = []


def in_turn(check, ends):
    """Runs a check with sessions of its own."""
    try:
        check(ends)
    finally:
        ends.forget()


@contextlib.contextmanager
def encrypted(lab, deployment):
    """A batch's set-up."""
    stage = Stage(lab, deployment)
    try:
        yield Encrypted(stage, make_certificate(lab.file("scripted.pem")))
    finally:
        stage.close()


def range_is_open(ends):
    """Several ports of the range are open, in any order, and one of them again."""
    session = ends.session()
    for port in (PASSIVE_PORTS[1], PASSIVE_PORTS[0], PASSIVE_PORTS[0]):
        offer = ends.offer(session, port)
        require(offer.connects(), f"port {port} of the range did not come through")
        offer.close()


def outside_of_range_is_shut(ends):
    """The ports beside the range stay shut."""
    session = ends.session()
    for port in (PASSIVE_PORTS[0] - 1, PASSIVE_PORTS[1] + 1):
        require(
            ends.offer(session, port).stays_shut(),
            f"port {port} came through, which is not of the range",
        )
    require(ends.offer(session).connects(), "a port of the range did not come through")


def another_host_gets_nothing(ends):
    """The client's neighbour has no session and gets nothing while the client's session lives.

    Behind SNAT both have the same address outside.
    """
    offer = ends.offer(ends.session())
    require(
        offer.stays_shut(host=stranger_to(offer.connector)), "a host without a session came through"
    )
    require(
        offer.connects(),
        "after the stranger's attempt the rightful connection did not come through",
    )


def gone_with_the_session(ends):
    """After the control connection's end nothing comes through."""
    session = ends.session()
    require(ends.offer(session).connects(), "a port of the range did not come through")
    offer = ends.offer(session, PASSIVE_PORTS[0] + 1)
    session.close()
    time.sleep(0.5 * PATIENCE)
    require(
        offer.stays_shut(), "a data connection came through after the control connection had closed"
    )


def clear_sessions_get_nothing(ends):
    """A session in clear text opens what it announces and no more, because its AUTH was refused."""
    session = ends.stage.session()
    session.exchange("AUTH TLS", "504 not here")
    announced = session.announce("EPSV")
    require(
        elsewhere(announced, ends.stage.deployment.server).stays_shut(),
        "a port that nobody announced came through",
    )
    require(announced.connects(), "what was announced in clear text did not come through")


def clear_sessions_beside_it(ends):
    """A session in clear text works beside an encrypted one of the same client."""
    ends.session()
    session = ends.stage.session()
    for mode in ("EPSV",) if ends.stage.deployment.version == 6 else ("PASV", "PORT"):
        require(session.announce(mode).connects(), f"{mode} in clear text did not come through")
    session.exchange("NOOP", "200 well")


def told_of_tls_gets_nothing(ends):
    """A 234 within another answer, or without a question, does not make a session encrypted."""
    session = ends.stage.session()
    session.command("STAT")
    for line in ("211-Status:", "234 go ahead", "211 End"):
        session.reply(line)
    session.reply("234 go ahead")
    offer = session.announce("EPSV")
    require(
        elsewhere(offer, ends.stage.deployment.server).stays_shut(),
        "a port that nobody announced came through",
    )


def other_servers_are_shut(ends):
    """The server's neighbour, which the client never dialled, stays shut."""
    offer = ends.offer(ends.session())
    neighbour = next(
        host for host in HOSTS if host.name == stranger_to(ends.stage.deployment.server)
    )
    beside = elsewhere(
        offer,
        neighbour.name,
        neighbour.public6 if ends.stage.deployment.version == 6 else neighbour.public4,
    )
    require(beside.stays_shut(), "a host came through to a server that it has no session with")
    require(offer.connects(), "a port of the range did not come through")


def server_gets_nothing(ends):
    """The range belongs to the server, and does not let the server reach the client."""
    session = ends.session()
    offer = ends.offer(session)
    back = elsewhere(offer, ends.stage.deployment.client, session.server.peer_address)
    back = dataclasses.replace(
        back, connector=ends.stage.deployment.server, source=session.server.address
    )
    require(back.stays_shut(), "the server's connection to the client came through")
    require(offer.connects(), "a port of the range did not come through")


def elsewhere(offer, host, address=None):
    """An endpoint that nobody announced: a port of the range on a listening host."""
    port = offer.port + 1 if offer.port in RANGE_OF_PORTS else PASSIVE_PORTS[0]
    stage = offer.session.stage
    listener = scripted.listen(
        stage.lab.namespace(host), scripted.wildcard(stage.deployment.version), port
    )
    return dataclasses.replace(
        offer, listener=listener, address=address or offer.address, port=port
    )


def unnamed_server_gets_nothing(ends):
    """With `tls_servers` the range is open only towards the servers that it names."""
    require(
        ends.offer(ends.session()).stays_shut(),
        "a data connection to a server that is not named came through",
    )


AT_ONCE = 2


def no_more_than_at_once(ends):
    """`tls_at_once` data connections live, and the next one has to wait until one ends."""
    session = ends.session()
    offers = [ends.offer(session, PASSIVE_PORTS[0] + number) for number in range(AT_ONCE + 1)]
    with contextlib.ExitStack() as living:
        held = [living.enter_context(established(offer)) for offer in offers[:AT_ONCE]]
        require(
            offers[AT_ONCE].stays_shut(),
            f"data connection {AT_ONCE + 1} came through beside {AT_ONCE}",
        )
        for end in held[0]:
            end.close()
        time.sleep(0.5 * PATIENCE)
        require(
            offers[AT_ONCE].connects(timeout=5 * PATIENCE),
            "after one had ended the next did not come through",
        )


@contextlib.contextmanager
def established(offer):
    """Both ends of a data connection that stays open until they are closed."""
    offer.listener.settimeout(2.5 * PATIENCE)
    with offer.connector_socket(None, 2.5 * PATIENCE) as connection:
        try:
            connection.connect((offer.address, offer.port))
            accepted, _ = offer.listener.accept()
        except OSError as error:
            raise CaseFailure(
                f"a data connection within tls_at_once did not come through: {error}"
            ) from error
        with accepted:
            yield connection, accepted


CHECKS = {
    "range-is-open": range_is_open,
    "outside-of-range-is-shut": outside_of_range_is_shut,
    "another-host-gets-nothing": another_host_gets_nothing,
    "other-servers-are-shut": other_servers_are_shut,
    "server-gets-nothing": server_gets_nothing,
    "gone-with-the-session": gone_with_the_session,
    "clear-sessions-get-nothing": clear_sessions_get_nothing,
    "told-of-tls-gets-nothing": told_of_tls_gets_nothing,
    "clear-sessions-beside-it": clear_sessions_beside_it,
    "no-more-than-at-once": no_more_than_at_once,
}


def scripted_batches():
    for deployment in ("inside-client", "inside-server", "routed6-client"):
        cases = tuple(
            Case(f"tls-guarantee/{name}/{deployment}", functools.partial(in_turn, check))
            for name, check in CHECKS.items()
            # A server behind NAT could not get out, whatever is open.
            if check is not server_gets_nothing or deployment == "routed6-client"
        )
        yield Batch(
            f"tls-guarantee/{deployment}",
            deployment,
            cases,
            encrypted,
            refusal="reject",
            settings={**RANGE, "policy.tls_at_once": AT_ONCE},
        )
    name = "tls-guarantee/unnamed-server-gets-nothing/inside-client"
    yield Batch(
        name,
        "inside-client",
        (Case(name, unnamed_server_gets_nothing),),
        encrypted,
        refusal="reject",
        settings={**RANGE, "policy.tls_servers": ["192.0.2.0/24"]},
    )


def batches():
    yield from real_batches()
    yield from shut_batches()
    yield from clearing_batches()
    yield from scripted_batches()
