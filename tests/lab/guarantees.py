"""What must stay shut, and unusual sessions that must come through; one behaviour a case."""

import functools
import time

import deployments
from lab import Batch, Case, CaseFailure, NotApplicable
from scripted import REFUSED_SECONDS, decode, encode, listen, scripted, stranger_to
from shell import PATIENCE, run_tool
from topology import GATEWAY_WAN4, INSIDE1, INSIDE2, ip_batch

# Each of these announcements needs the helper to rewrite it or to open its port.
ROUTES = (
    ("inside-client", "PORT"),
    ("inside-client", "EPRT"),
    ("inside-client", "PASV"),
    ("inside-client", "EPSV"),
    ("inside-server", "PORT"),
    ("inside-server", "EPRT"),
    ("inside-server", "PASV"),
    ("inside-server", "EPSV"),
    ("routed-client", "PORT"),
    ("routed-server", "PASV"),
    ("double-nat", "PORT"),
    ("double-nat", "PASV"),
    ("routed6-client", "EPRT"),
    ("routed6-client", "EPSV"),
    ("routed6-server", "EPRT"),
    ("routed6-server", "EPSV"),
)
TEN_PORTS = range(40000, 40010)
SAME_PORT = 5555
POOL_CLIENTS = [f"10.0.0.{number}" for number in range(101, 109)]


def require(truth, reason):
    if not truth:
        raise CaseFailure(reason)


def require_logged(engine, words, reason):
    """Raises unless the log has these words soon: a packet's verdict comes before its log line."""
    deadline = time.monotonic() + PATIENCE
    while words not in engine.log():
        require(time.monotonic() < deadline, reason)
        time.sleep(0.01)


def one_shot(mode, stage):
    """An announcement is good for one data connection."""
    session = stage.session()
    offer = session.announce(mode)
    require(offer.connects(), "the announced data connection did not come through")
    require(offer.stays_shut(), "a second data connection to the same port came through")
    session.exchange("NOOP", "200 well")


def stranger_gets_nothing(mode, stage):
    """A pinhole is for the control connection's other end, and a stranger does not use it up."""
    offer = stage.session().announce(mode)
    require(
        offer.stays_shut(host=stranger_to(offer.connector)),
        "a third host's connection came through",
    )
    require(
        offer.connects(),
        "after the stranger's attempt the rightful connection did not come through",
    )


def unsolicited_opens_nothing(mode, stage):
    """A 227 or 229 that answers no PASV or EPSV is not an announcement."""
    session = stage.session()
    server = stage.lab.namespace(stage.deployment.server)
    offer = session.announce(mode)
    require(offer.connects(), "the announced data connection did not come through")
    listener = listen(server, session.server.address, 0)
    offer.listener = listener
    session.command("NOOP")
    session.server.send(
        encode(mode, session.server.address, listener.getsockname()[1]).encode() + b"\r\n"
    )
    offer.address, offer.port = decode(session.client.line(), offer.address)
    require(offer.stays_shut(), "a connection to an unsolicited endpoint came through")


def newer_replaces_older(mode, stage):
    """Of two announcements only the newer is open."""
    session = stage.session()
    older, newer = session.announce(mode), session.announce(mode)
    require(older.stays_shut(), "the superseded data connection came through")
    require(newer.connects(), "the newer data connection did not come through")


def refusal_closes(mode, stage):
    """The server's refusal closes what the client has announced; the next one works."""
    session = stage.session()
    for refusal in ("450 not now", "500 no"):
        offer = session.announce(mode, reply=refusal)
        require(offer.stays_shut(), f"a data connection came through after {refusal!r}")
    require(session.announce(mode).connects(), "the next data connection did not come through")


def rein_and_quit_close(mode, stage):
    """REIN and QUIT close what the client has announced, while the connection still stands."""
    for command, reply in (("REIN", "220 anew"), ("QUIT", "221 bye")):
        session = stage.session()
        offer = session.announce(mode)
        session.exchange(command, reply)
        require(offer.stays_shut(), f"a data connection came through after {command}")


def server_connects_before_it_answers(mode, stage):
    """A server may connect before it answers, and its answer opens nothing more."""
    session = stage.session()
    offer = session.announce(mode, reply=None)
    require(offer.connects(), "the announced data connection did not come through")
    session.reply("200 noted")
    require(offer.stays_shut(), "a second data connection to the same port came through")
    session.exchange("NOOP", "200 well")


PIPELINED_ROUNDS = 100


def pipelined_is_never_overtaken(mode, stage):
    """A client sends PORT and RETR in one segment, and the server connects when it reads RETR.

    Its first SYN comes through every time, and not only a repeated one.
    """
    session = stage.session()
    for _ in range(PIPELINED_ROUNDS):
        offer = session.announce(
            mode, send=lambda peer, line: peer.send(line + b"RETR file\r\n"), reply=None
        )
        require(session.server.line() == "RETR file", "RETR did not arrive")
        require(offer.connects(), "the announced data connection did not come through")
        require(offer.repeated_syns == 0, "a first SYN was lost")
        offer.close()
        session.reply("200 noted")
        session.reply("226 done")


def client_speaks_first(mode, stage):
    """A client that does not wait for the greeting is served like any other.

    lftp without `ftp:sync-mode` is one.
    """
    session = stage.connect()
    session.command("FEAT")
    session.reply("220 scripted")
    session.reply("211 none")
    session.exchange("USER anonymous", "230 logged in")
    require(session.announce(mode).connects(), "the announced data connection did not come through")


def late_gets_nothing(mode, stage):
    """After `expectation.timeout` nothing comes through."""
    if not stage.lab.engine.is_ours:
        raise NotApplicable("its timeout of five minutes cannot be set")
    offer = stage.session().announce(mode)
    time.sleep(3.5)
    require(offer.stays_shut(), "a data connection came through after the timeout")


def gone_with_the_session(mode, stage):
    """When the control connection is closed, its pinholes close."""
    session = stage.session()
    offer = session.announce(mode)
    session.close()
    time.sleep(0.5 * PATIENCE)
    require(
        offer.stays_shut(), "a data connection came through after the control connection had closed"
    )


def nothing_without_the_rules(mode, stage):
    """Without the helper's rules the same transfer fails."""
    require(
        stage.session().announce(mode).connects(),
        "the announced data connection did not come through",
    )
    stage.lab.engine.disable()
    require(
        stage.session().announce(mode).stays_shut(),
        "a data connection came through without the helper's rules",
    )


DROP_FIRST_SYN = """
    table inet syn_loss {{
      set seen {{
        type ipv4_addr . inet_service . ipv4_addr . inet_service
        flags dynamic
        timeout 1m
        size 4096
      }}
      chain lose {{
        type filter hook {hook} priority -5
        tcp dport {ports} accept
        tcp flags & (syn | ack) != syn accept
        ip saddr . tcp sport . ip daddr . tcp dport @seen accept
        add @seen {{ ip saddr . tcp sport . ip daddr . tcp dport }} drop
      }}
    }}
    """


def lost_syn(where, mode, stage):
    """The data connection's first SYN is lost; the repeated one comes through."""
    session = stage.session()
    offer = session.announce(mode)
    namespace = {
        "beyond": stage.lab.namespace(listener_host(stage, mode)),
        "gateway": stage.lab.topology.gateway,
    }[where]
    hook = "forward" if where == "gateway" else "input"
    run_tool(
        ["nft", "-f", "-"],
        namespace=namespace,
        stdin=DROP_FIRST_SYN.format(hook=hook, ports=deployments.PORTS),
    )
    try:
        require(offer.connects(timeout=5 * PATIENCE), "the repeated SYN did not come through")
    finally:
        run_tool(["nft", "delete", "table", "inet", "syn_loss"], namespace=namespace)
    session.exchange("NOOP", "200 well")


def listener_host(stage, mode):
    return stage.deployment.client if mode in ("PORT", "EPRT") else stage.deployment.server


def announces_address(address, stage):
    """A server behind DNAT may announce its public address, or none, instead of its own."""
    offer = stage.session().announce("PASV", address=address)
    require(offer.address == GATEWAY_WAN4, f"the client heard {offer.address}")
    require(offer.connects(), "the announced data connection did not come through")


def ten_ports_are_reused(mode, stage):
    """Thirty transfers through ten outside ports."""
    session = stage.session()
    for _ in range(30):
        offer = session.announce(mode)
        if stage.lab.engine.is_ours:
            require(offer.port in TEN_PORTS, f"port {offer.port} is outside of [nat] ports")
        require(offer.connects(), "the announced data connection did not come through")
        offer.close()


def outside_endpoints_differ(stage):
    """Two inside hosts announce the same port and get two outside endpoints, one for each host."""
    offers = [
        stage.session(client=host.name).announce("PORT", port=SAME_PORT)
        for host in (INSIDE1, INSIDE2)
    ]
    endpoints = {(offer.address, offer.port) for offer in offers}
    require(len(endpoints) == 2, f"both were given {endpoints}")
    for offer in offers:
        require(offer.connects(), "the announced data connection did not come through")


def pool_address_is_kept(mode, stage):
    """With several outside addresses, an announcement names that of its control connection."""
    ip_batch(
        stage.lab.namespace(INSIDE1.name),
        [f"address replace {a}/24 dev eth0" for a in POOL_CLIENTS],
    )
    seen = set()
    for source in POOL_CLIENTS:
        session = stage.session(source=source)
        outside = session.server.peer_address
        seen.add(outside)
        offer = session.announce(mode)
        if mode == "PORT":
            require(
                offer.address == outside,
                f"announced {offer.address} on a control connection from {outside}",
            )
        require(offer.connects(), f"the data connection of {source} did not come through")
    require(len(seen) > 1, f"the pool was not used: {seen}")


def steps_aside(mode, stage):
    """Beside the kernel's helper, the kernel's alone reads and rewrites, and the log says so."""
    offer = stage.session().announce(mode)
    require(offer.connects(), "the announced data connection did not come through")
    engine = stage.lab.engine
    require_logged(engine, "left to it", "the log does not say who helps")
    require(not engine.announcements(), "two helpers read the same announcement")


def refuses(mode, stage):
    """With "refuse", no control connection comes up beside the kernel's helper.

    Without the kernel's helper everything works as usual.
    """
    try:
        stage.session(timeout=REFUSED_SECONDS).close()
    except (OSError, CaseFailure):
        pass
    else:
        raise CaseFailure("a control connection came up that the kernel's helper reads")
    engine = stage.lab.engine
    require_logged(engine, "as `when_kernel_helps` says", "the log does not say why")
    engine.kernel.disable()
    require(
        stage.session().announce(mode).connects(),
        "without the kernel's helper a data connection did not come through",
    )
    require_logged(engine, '"announcement"', "nobody read the announcement")


def beside_kernel_batches():
    """The kernel's helper beside ours.

    The backend is nftables, because the kernel gives a connection one helper, and with expectations
    the first one is ours.
    """
    for deployment, mode in (("inside-client", "PORT"), ("inside-server", "PASV")):
        for policy, check in (("step-aside", steps_aside), ("refuse", refuses)):
            name = f"beside-kernel/{policy}/{deployment}/{mode}"
            yield Batch(
                name,
                deployment,
                (Case(name, functools.partial(check, mode)),),
                scripted,
                engine="ours-beside-kernel",
                settings={"backend": "nftables", "when_kernel_helps": policy},
            )


def checks():
    """(name, routes, check, settings): one case for each route."""
    passive = [route for route in ROUTES if route[1] in ("PASV", "EPSV")]
    active = [route for route in ROUTES if route[1] in ("PORT", "EPRT")]
    one_of_each_family = [("inside-client", "PORT"), ("routed6-client", "EPRT")]
    forwarded4 = [route for route in ROUTES if not route[0].startswith("routed6")]
    translated = [
        ("inside-client", "PORT"),
        ("inside-client", "EPRT"),
        ("inside-server", "PASV"),
        ("inside-server", "EPSV"),
    ]
    return (
        ("one-shot", ROUTES, one_shot, {}),
        ("stranger-gets-nothing", ROUTES, stranger_gets_nothing, {}),
        ("unsolicited-opens-nothing", passive, unsolicited_opens_nothing, {}),
        ("newer-replaces-older", ROUTES, newer_replaces_older, {}),
        ("refusal-closes", active, refusal_closes, {}),
        ("rein-and-quit-close", one_of_each_family, rein_and_quit_close, {}),
        ("server-connects-before-it-answers", active, server_connects_before_it_answers, {}),
        ("pipelined-is-never-overtaken", active, pipelined_is_never_overtaken, {}),
        ("late-gets-nothing", ROUTES, late_gets_nothing, {"expectation.timeout": "2s"}),
        ("gone-with-the-session", ROUTES, gone_with_the_session, {}),
        ("lost-syn-beyond", forwarded4, functools.partial(lost_syn, "beyond"), {}),
        (
            "ten-ports-are-reused",
            translated,
            ten_ports_are_reused,
            {"nat.ports": f"{TEN_PORTS[0]}-{TEN_PORTS[-1]}"},
        ),
        (
            "pool-address-is-kept",
            [("snat-pool", "PORT"), ("snat-pool", "PASV")],
            pool_address_is_kept,
            {},
        ),
        ("nothing-without-the-rules", ROUTES, nothing_without_the_rules, {}),
    )


def gateway_loss_batches():
    """A gateway that itself drops the SYN after the helper has seen it.

    Conntrack forgets the connection then, and its label.
    """
    for deployment, mode in (
        ("inside-client", "PORT"),
        ("inside-server", "PASV"),
        ("routed-server", "PASV"),
    ):
        name = f"guarantee/lost-syn-on-gateway/{deployment}/{mode}"
        yield Batch(
            name,
            deployment,
            (Case(name, functools.partial(lost_syn, "gateway", mode)),),
            scripted,
            extra=True,
        )


def early_client_batches():
    """A client that does not wait for the greeting, and says what FTP has before a login."""
    for deployment, mode in (("inside-client", "PORT"), ("inside-server", "PASV")):
        name = f"guarantee/client-speaks-first/{deployment}/{mode}"
        yield Batch(
            name,
            deployment,
            (Case(name, functools.partial(client_speaks_first, mode)),),
            scripted,
        )


def batches():
    yield from gateway_loss_batches()
    yield from early_client_batches()
    yield from shared_batches()
    yield from beside_kernel_batches()


def shared_batches():
    """Checks with the same deployment and settings share a gateway.

    The check that deletes the rules has its own.
    """
    groups = {}
    for name, routes, check, settings in checks():
        for deployment, mode in routes:
            case = Case(f"guarantee/{name}/{deployment}/{mode}", functools.partial(check, mode))
            alone = case.name if check is nothing_without_the_rules else ""
            groups.setdefault((deployment, tuple(settings.items()), alone), []).append(case)
    for (deployment, settings, _), cases in groups.items():
        yield Batch(
            f"guarantee/{deployment}", deployment, tuple(cases), scripted, settings=dict(settings)
        )
    yield Batch(
        "guarantee/announced-address",
        "inside-server",
        tuple(
            Case(
                f"guarantee/announced-address/{address}",
                functools.partial(announces_address, address),
            )
            for address in (GATEWAY_WAN4, "0.0.0.0")
        ),
        scripted,
    )
    yield Batch(
        "guarantee/outside-endpoints-differ",
        "inside-client",
        (Case("guarantee/outside-endpoints-differ/inside-client/PORT", outside_endpoints_differ),),
        scripted,
    )
