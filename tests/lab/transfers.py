"""Transfers with real clients and servers: every deployment, server, client and mode."""

import contextlib
import dataclasses
import ftplib
import functools
import io
import itertools
import shutil

import deployments
from clients import CLIENTS, MODES, Job, Target, abort, answer_after, logged_in, modes_sent
from lab import BIG, SMALL, UPLOAD, Batch, Case, CaseFailure
from servers import SERVERS, Listen
from shell import inside

# A transfer takes well under a second. The rest is for a busy machine and a slow login.
TIMEOUT = 20
# Where nothing may come through, a client that still waits after this time has failed.
HOPELESS_TIMEOUT = 8

TEN_PORTS = ((30000, 30009), "40000-40009")


@dataclasses.dataclass
class Stage:
    """The server and the deployment that a batch's cases work with."""

    lab: object
    deployment: deployments.Deployment
    server: object
    counter: object = dataclasses.field(default_factory=itertools.count)


@contextlib.contextmanager
def with_server(server_class, listen, lab, deployment):
    """Runs a server behind (or beyond) the gateway."""
    listen = dataclasses.replace(listen, version=deployment.version)
    server = server_class(
        lab.namespace(deployment.server), lab.workspace, [lab.file(SMALL), lab.file(BIG)], listen
    )
    try:
        server.start()
        yield Stage(lab, deployment, server)
    finally:
        server.stop()


def perform(stage, client, mode, timeout):
    """Lets a client fetch and store.

    Returns (what it said, the names of the files that arrived intact).
    """
    number = next(stage.counter)
    directory = stage.lab.workspace / f"client-{number}"
    directory.mkdir()
    shutil.copy(stage.lab.file(UPLOAD), directory)
    server = stage.server
    port = stage.deployment.outside_port(server.listen.port)
    stored_as = f"{client.name}-{number}.bin"
    job = Job(
        mode,
        Target(stage.deployment.target, port, server.user, server.password, server.listen.tls),
        directory,
        (SMALL, BIG),
        UPLOAD,
        stored_as,
    )
    said = client.perform(stage.lab.namespace(stage.deployment.client), job, timeout)
    arrived = {name for name in (SMALL, BIG) if same(directory / name, stage.lab.file(name))}
    if same(server.uploaded(stored_as), stage.lab.file(UPLOAD)):
        arrived.add(UPLOAD)
    shutil.rmtree(directory)
    server.uploaded(stored_as).unlink(missing_ok=True)
    return said, arrived


def same(one, other):
    return one.exists() and one.read_bytes() == other.read_bytes()


def must_transfer(client, mode, stage):
    """Every file arrives, and the client used only the mode that it was told to use."""
    said, arrived = perform(stage, client, mode, TIMEOUT)
    wanted = {SMALL, BIG} | ({UPLOAD} if client.can_store else set())
    if arrived != wanted:
        raise CaseFailure(f"did not arrive: {', '.join(sorted(wanted - arrived))}", said)
    if modes_sent(said) != {mode}:
        raise CaseFailure(f"used {sorted(modes_sent(said))} in place of {mode}", said)


def must_not_transfer(client, mode, stage):
    """No file came through, although the client got as far as its announcement."""
    said, arrived = perform(stage, client, mode, HOPELESS_TIMEOUT)
    if arrived:
        raise CaseFailure(f"arrived although nothing helps: {', '.join(sorted(arrived))}", said)
    if mode not in modes_sent(said):
        raise CaseFailure(f"{mode} was never sent, so this proves nothing", said)


def cases(prefix, version, check, clients=None, modes=MODES):
    """A case for each client and mode; a mode that a client cannot do is listed with the reason."""
    for client in clients or CLIENTS.values():
        for mode in modes:
            reason = client.unsupported[version].get(mode, "")
            yield Case(
                f"{prefix}/{client.name}/{mode}", functools.partial(check, client, mode), reason
            )


def batch(
    group,
    deployment,
    server,
    listen,
    *,
    check=must_transfer,
    modes=MODES,
    clients=None,
    settings=None,
    **more,
):
    place = deployments.named(deployment)
    settings = {**place.settings(listen.port), **(settings or {})}
    name = f"{group}/{deployment}/{listen.port}/{server}"
    return Batch(
        name,
        deployment,
        tuple(cases(name, place.version, check, clients, modes)),
        functools.partial(with_server, SERVERS[server], listen),
        settings=settings,
        **more,
    )


def transfer_batches():
    """Every deployment with every server on port 21; the two NAT deployments on port 2121 too."""
    for deployment in deployments.DEPLOYMENTS.values():
        ports = (21, 2121) if deployment.name in ("inside-client", "inside-server") else (21,)
        for port, server in itertools.product(ports, SERVERS):
            yield batch("transfer", deployment.name, server, Listen(port))


def ten_port_batches():
    """A server with a passive range of ten, behind a gateway that may use ten outside ports."""
    passive, outside = TEN_PORTS
    for deployment, server in itertools.product(("inside-client", "inside-server"), SERVERS):
        yield batch(
            "ten-ports",
            deployment,
            server,
            Listen(21, passive=passive),
            settings={"nat.ports": outside},
        )


def public_address_batches():
    """Servers that announce the gateway's public address, as manuals advise behind NAT."""
    for server in SERVERS:
        yield batch(
            "announces-public",
            "inside-server",
            server,
            Listen(21, announce=deployments.GATEWAY_WAN4),
            modes=("PASV",),
        )


def helpless_batches():
    """The same transfers must fail without a helper, or a pass elsewhere means nothing."""
    for deployment in deployments.DEPLOYMENTS:
        for server in SERVERS:
            # In a hairpin both hosts share a link, so a client can reach the server's address
            # without the gateway. That works if the server takes a data connection from another
            # address than its control connection's.
            modes = ("PORT", "EPRT") if deployment == "hairpin" else MODES
            yield batch(
                "without-helper",
                deployment,
                server,
                Listen(21),
                check=must_not_transfer,
                modes=modes,
                engine="none",
                refusal="reject",
            )


def after_abort(stage):
    """The client ends a transfer and makes the next in the same session; twice."""
    server, address = stage.server, stage.deployment.target
    target = Target(address, server.listen.port, server.user, server.password)
    namespace = stage.lab.namespace(stage.deployment.client)
    try:
        with logged_in(namespace, target) as client, inside(namespace):
            for _ in range(2):
                with client.transfercmd(f"RETR pub/{BIG}") as data:
                    data.recv(1000)
                    abort(client)
                answer_after(client, "SYST")
                arrived = io.BytesIO()
                client.retrbinary(f"RETR pub/{SMALL}", arrived.write)
                if arrived.getvalue() != stage.lab.file(SMALL).read_bytes():
                    raise CaseFailure("the next file did not come through whole")
    except ftplib.all_errors as error:
        raise CaseFailure(f"in ftplib's session: {error or 'it ended'}") from error


def abort_batches():
    """An aborted transfer with each server.

    Pure-FTPd 1.0.50 answers neither RETR nor ABOR with a final code.
    """
    for deployment, server in itertools.product(("inside-client", "inside-server"), SERVERS):
        name = f"abort/{deployment}/21/{server}"
        yield Batch(
            name,
            deployment,
            (Case(f"{name}/ftplib/PASV", after_abort),),
            functools.partial(with_server, SERVERS[server], Listen(21)),
        )


def batches():
    yield from abort_batches()
    yield from transfer_batches()
    yield from ten_port_batches()
    yield from public_address_batches()
    yield from helpless_batches()
