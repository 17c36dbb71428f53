"""What holds while our table or the daemon is away: `when_absent = "drop"` and the command policy.

A refused command that is said in that time reaches the server never, neither in an open session nor
in one that begins then. The gateway holds it up until the daemon is back, and refuses it.
"""

import concurrent.futures
import functools
import threading
import time

import acts
from crowd import LONG_PORTS, OFFSET_MODE, SESSION_SECONDS, SHORT_PORTS, send_tersely
from lab import CaseFailure, NotApplicable

POLICY = [{"name": "no-deletes", "commands": ["DELE"], "action": "refuse"}]
SETTINGS = {"when_absent": "drop", "command_policy": POLICY, "nat.ports": LONG_PORTS}
SESSIONS, NEWCOMERS = 20, 5
AWAY_SECONDS, AFTER_SECONDS = 2, 1.5
HAMMERINGS = 100


class Deleter:
    """A session whose client says DELE again and again, and whose server notes each that comes."""

    def __init__(self, session, number):
        self.session, self.number = session, number
        self.heard, self.said, self.refused = [], 0, 0

    def serve(self, ending):
        """The server's side; it answers whatever it hears."""
        while True:
            try:
                line = self.session.server.line(0.2)
            except CaseFailure as failure:
                if ending.is_set() or "closed" in str(failure):
                    return
                continue
            if line.startswith("DELE"):
                self.heard.append(line)
            self.session.server.send(b"250 done\r\n" if "DELE" in line else b"200 well\r\n")

    def ask(self, ending):
        """The client's side; what passes shows at the server."""
        while not ending.is_set():
            self.said += 1
            self.session.client.send(f"DELE {self.number}-{self.said}\r\n".encode())
            answer = self.session.client.line(SESSION_SECONDS)
            self.refused += answer.startswith("550")
            time.sleep(0.01)


def stop(stage):
    stage.lab.engine.terminate()
    time.sleep(AWAY_SECONDS)
    stage.lab.engine.spawn()


def kill(stage):
    stage.lab.engine.kill()
    time.sleep(AWAY_SECONDS)
    stage.lab.engine.spawn()


def hammer(text, stage):
    """Others delete our table again and again."""
    for _ in range(HAMMERINGS):
        acts.nft(stage, text, check=False)


ACTS = {
    "stop": stop,
    "kill": kill,
    "delete-table": functools.partial(hammer, f"delete table {acts.TABLE}\n"),
    "flush-ruleset": lambda stage: hammer("flush ruleset\n" + stage.deployment.ruleset(), stage),
}


def open_sessions(stage):
    """Sessions, every second one with an offset."""
    sessions = [stage.session() for _ in range(SESSIONS)]
    for session, port in zip(sessions[::2], SHORT_PORTS):
        mode = OFFSET_MODE[stage.deployment.name]
        offer = session.announce(mode, send=send_tersely, port=port)
        offer.close()
    return [Deleter(session, number) for number, session in enumerate(sessions)]


def newcomer(stage, ending, number):
    """A session that begins while the daemon is away."""
    session = stage.connect(timeout=SESSION_SECONDS)
    one = Deleter(session, f"new {number}")
    session.server.send(b"220 scripted\r\n")
    session.client.line(SESSION_SECONDS)
    session.exchange("USER anonymous", "230 logged in", SESSION_SECONDS)
    serving = threading.Thread(target=one.serve, args=(ending,))
    serving.start()
    try:
        session.client.send(b"DELE new\r\n")
        answer = session.client.line(SESSION_SECONDS)
        if not answer.startswith("550"):
            raise CaseFailure(f"newcomer {number} got {answer!r} to a refused command")
        one.refused += 1
    finally:
        ending.wait()
        serving.join()
    return one


def absent_case(act, stage):
    """No refused command passes unread, whatever happens to the daemon or the table."""
    if not stage.lab.engine.is_ours:
        raise NotApplicable("it has no command policy")
    members, ending = open_sessions(stage), threading.Event()
    before, reasons = acts.shape(stage), []
    with concurrent.futures.ThreadPoolExecutor(2 * SESSIONS + 2 * NEWCOMERS) as pool:
        try:
            serving = [pool.submit(member.serve, ending) for member in members]
            asking = [pool.submit(member.ask, ending) for member in members]
            time.sleep(0.3)
            acting = pool.submit(act, stage)
            time.sleep(0.3)
            arriving = [
                pool.submit(newcomer, stage, ending, number) for number in range(NEWCOMERS)
            ]
            acting.result()
            wait_for_newcomers(arriving)
            asked = [member.refused for member in members]
            time.sleep(AFTER_SECONDS)
        finally:
            ending.set()
        for work in (*asking, *arriving, *serving):
            try:
                members += [work.result()] if work in arriving else []
                work.result()
            except (CaseFailure, OSError) as failure:
                reasons.append(str(failure))
    heard = [line for member in members for line in member.heard]
    stuck = [
        str(member.number) for member, count in zip(members, asked) if member.refused == count
    ]
    if heard and acts.shape(stage) == before and not reasons and act not in (stop, kill):
        raise NotApplicable("on this kernel others can take our table away for a moment")
    if heard:
        reasons.insert(0, f"the server heard {len(heard)} refused commands")
    if stuck:
        reasons.append(f"{len(stuck)} sessions did not go on afterwards")
    if reasons:
        raise CaseFailure(reasons[0], "\n".join(reasons + heard[:5]))
    return f"{sum(member.refused for member in members)} refused commands, none was heard"


def wait_for_newcomers(arriving):
    """They hold up until the case ends, so this waits for their first answers."""
    concurrent.futures.wait(arriving, timeout=3 * AWAY_SECONDS)
