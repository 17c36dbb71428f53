"""What a session sees when our table is replaced, or the daemon restarts, at the worst moment.

The worst moment is while a packet of the session waits in the queue. The kernel drops it there. A
stopped daemon (SIGSTOP) makes this moment as long as the case needs it.
"""

import contextlib
import functools
import pathlib
import re
import signal
import time

from engines import as_toml, ftp_alg_binary
from guarantees import require
from lab import Batch, Case, NotApplicable
from scripted import retransmissions, scripted
from shell import PATIENCE, run, run_tool
from stress import TRANSLATED

HEARD_SECONDS = 30 * PATIENCE


@contextlib.contextmanager
def stopped(engine):
    """The daemon takes no packet meanwhile, and its queues stay."""
    process = engine.process.process
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def waiting(engine):
    """How many packets wait in the daemon's queues: queue_total of /proc."""
    rows = pathlib.Path(f"/proc/{engine.process.pid}/net/netfilter/nfnetlink_queue").read_text()
    return sum(int(row.split()[2]) for row in rows.splitlines())


def wait_for_queued(engine):
    engine.process.wait_for(lambda: waiting(engine), 5, "a packet in the queue")


def require_ours(stage):
    if not stage.lab.engine.is_ours:
        raise NotApplicable("it has no table and no daemon")


def replace_table(engine):
    """Loads our table by hand once more, as the running and stopped daemon has it."""
    chosen = re.search(r'"backend":"(\w+)"', engine.log())[1]
    config = pathlib.Path(engine.workspace, "replaced.toml")
    config.write_text(as_toml({**engine.configuration(), "backend": chosen}))
    rules = run([ftp_alg_binary(), "rules", "--config", str(config)]).stdout
    run_tool(["nft", "-f", "-"], namespace=engine.gateway, stdin=rules)


def replaced(mode, stage):
    """An announcement waits in the queue while the table is replaced, and arrives rewritten.

    The kernel may drop it. Then its sender repeats it.
    """
    require_ours(stage)
    engine, session = stage.lab.engine, stage.session()
    announcer = session.client if mode in ("PORT", "EPRT") else session.server
    said = {}

    def send(peer, line):
        with stopped(engine):
            peer.send(line)
            wait_for_queued(engine)
            said["before"] = waiting(engine)
            replace_table(engine)
            said["after"] = waiting(engine)
        said["began"] = time.monotonic()

    offer = session.announce(mode, send=send, timeout=HEARD_SECONDS)
    seconds = time.monotonic() - said["began"]
    require(offer.connects(), "the announced data connection did not come through")
    offer.close()
    session.exchange("NOOP", "200 well")
    require(session.announce(mode).connects(), "the next data connection did not come through")
    return (
        f"{said['before']} packets waited before, {said['after']} after; the announcement arrived "
        f"{seconds:.2f} s later; {retransmissions(announcer.sock)} retransmissions"
    )


def restarted(mode, stage):
    """A command waits in the queue while the daemon is restarted. Its session only waits."""
    require_ours(stage)
    engine, session = stage.lab.engine, stage.session()
    require(session.announce(mode).connects(), "the first data connection did not come through")
    with stopped(engine):
        session.client.send(b"NOOP\r\n")
        wait_for_queued(engine)
        engine.process.process.send_signal(signal.SIGTERM)
    engine.process.stop(signal.SIGTERM)
    engine.spawn()
    require(session.server.line(HEARD_SECONDS) == "NOOP", "another line arrived")
    session.reply("200 well", HEARD_SECONDS)
    require(session.announce(mode).connects(), "the next data connection did not come through")
    return f"{retransmissions(session.client.sock)} retransmissions"


def batches():
    for deployment, mode in TRANSLATED:
        # Nobody could replace an owned table.
        for name, check, settings in (
            ("table", replaced, {"table_owner": False}),
            ("daemon", restarted, {}),
        ):
            name = f"reload/{name}/{deployment}/{mode}"
            case = Case(name, functools.partial(check, mode))
            yield Batch(name, deployment, (case,), scripted, settings=settings, stock=True)
