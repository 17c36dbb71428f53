"""The table of dialogues: what real peers say, each over SNAT and DNAT. See dialogues.py.

`source` names a row of the report on real peers (P1 to P54), a suite, or a server.
"""

import functools

import dialogue_addresses
import dialogue_checks
from deployments import HYLAFAX_PORT
from dialogues import LOGIN, Dialogue, run_dialogue
from lab import Batch, Case
from scripted import MultipathStage, Stage, scripted

# The deployments behind each route, by the family of addresses.
ROUTES = {
    4: {"snat": "inside-client", "dnat": "inside-server"},
    6: {
        "snat": "nat66-client",
        "dnat": "nat66-server",
        "routed-client": "routed6-client",
        "routed-server": "routed6-server",
    },
}

PASSIVE = """
    C PASV
    S 227 Entering Passive Mode ({hp}).
    =
    """
ACTIVE = """
    C PORT {hp}
    S 200 PORT command successful
    =
    """
# A transfer whose data connection has come.
TRANSFER = """
    C RETR a
    S 150 here it comes
    S 226 done
    """
LOGIN_BEHIND_GREETING = LOGIN.replace("S 220 ready", "")


def in_both_modes(name, script, source, **more):
    """The script, and then an announcement by each side."""
    yield Dialogue(f"{name}/PASV", script + PASSIVE, source, **more)
    yield Dialogue(f"{name}/PORT", script + ACTIVE, source, **more)


def answers():
    """Replies of other codes, too few of them, too many, late ones, and odd multi-line ones."""
    yield Dialogue(
        "EPSV-answered-227",
        """
        C EPSV
        S 227 Entering Passive Mode ({hp}).
        =
        """,
        "P1",
    )
    yield Dialogue(
        "PASV-answered-229",
        """
        C PASV
        S 229 Entering Extended Passive Mode (|||{port}|)
        =
        """,
        "P2",
    )
    yield from in_both_modes(
        "NOOPs-swallowed-in-transfer",
        PASSIVE + """
        C RETR a
        S 150 here it comes
        C NOOP
        C NOOP
        S 226 done
        """,
        "P3: IIS",
    )
    yield from in_both_modes(
        "NOOPs-answered-after-transfer",
        PASSIVE + """
        C RETR a
        S 150 here it comes
        C NOOP
        C NOOP
        S 226 done
        S 200 NOOP ok
        S 200 NOOP ok
        """,
        "P3: vsftpd",
    )
    yield from in_both_modes(
        "NOOPs-answered-in-transfer",
        ACTIVE + """
        C RETR a
        S 150 here it comes
        C NOOP
        S 200 NOOP ok
        S 226 done
        """,
        "P3",
    )
    yield from in_both_modes(
        "STAT-swallowed-in-transfer",
        PASSIVE + """
        C RETR a
        S 150 here it comes
        C STAT
        S 226 done
        """,
        "P3",
    )
    yield Dialogue(
        "CWD-answered-twice/at-once",
        """
        C CWD a
        s 200 OK␍␊250 Directory changed␍␊
        """ + PASSIVE,
        "P4",
    )
    yield Dialogue(
        "CWD-answered-twice/late",
        """
        C CWD a
        S 200 OK
        C PASV
        S 250 Directory changed
        S 227 Entering Passive Mode ({hp}).
        =
        """,
        "P4",
    )
    yield Dialogue(
        "CWD-answered-twice/late-before-PORT",
        """
        C CWD a
        S 200 OK
        C PORT {hp}
        S 250 Directory changed
        S 200 PORT command successful
        =
        """,
        "P4",
    )
    yield Dialogue(
        "226-twice/second-after-PASV",
        PASSIVE + """
        C RETR a
        S 150 here it comes
        S 226 done
        C PASV
        S 226 done
        S 227 Entering Passive Mode ({hp}).
        =
        """,
        "P4",
    )
    yield from in_both_modes(
        "reply-ended-by-another-code",
        """
        C STOR x
        S 553-
        S 553- Directory excluded
        S 150 Opening BINARY mode
        S 226 Transfer complete
        """,
        "P5: glftpd",
    )
    yield Dialogue(
        "227-of-two-lines",
        """
        C PASV
        S 227-listen socket created
        S 227 ({hp})
        =
        """,
        "P11: aioftp",
    )
    yield Dialogue(
        "226-without-150",
        PASSIVE + """
        C LIST
        S 226 done
        """,
        "P12",
    )
    yield Dialogue(
        "NLST-of-nothing",
        PASSIVE + """
        C NLST
        S 550 No data sets found
        """,
        "P12: z/OS",
    )
    yield from in_both_modes(
        "150-without-226",
        PASSIVE + """
        C RETR a
        S 150 here it comes
        """,
        "suites",
    )
    yield from in_both_modes(
        "1yz-as-the-only-answer",
        """
        C SITE RECALL a
        S 125 recalling
        """,
        "suites",
    )
    yield Dialogue(
        "ABOR-answered-thrice",
        PASSIVE + """
        C RETR a
        S 150 here it comes
        C ÿôÿòABOR
        S 502 what?␍␊426 ended␍␊226 aborted␍␊
        """ + PASSIVE,
        "P14: ftp-srv",
    )
    yield from in_both_modes("empty-line-unanswered", "\n    C ␍␊\n", "P15: vsftpd, ProFTPD 1.2")
    yield from in_both_modes(
        "empty-lines-unanswered-in-transfer",
        PASSIVE + """
        C RETR a
        S 150 here it comes
        C ␍␊
        C ␊
        S 226 done
        """,
        "P15: vsftpd",
    )
    yield from in_both_modes(
        "empty-line-unanswered-before-login",
        "",
        "P15",
        login=LOGIN.replace("C USER", "C ␍␊\n    C USER"),
    )
    yield from in_both_modes(
        "empty-line-answered",
        """
        C ␍␊
        S 500 Invalid command: try being more creative
        """,
        "ProFTPD, Pure-FTPd",
    )
    yield from in_both_modes(
        "file-name-with-LF",
        """
        C SIZE x␊y␍␊
        S 550 no such file
        """,
        "P23: ProFTPD",
    )
    yield Dialogue(
        "server-connects-before-its-200",
        """
        C PORT {hp}
        =
        S 200 PORT command successful
        """ + TRANSFER,
        "pyftpdlib",
        rounds=5,
    )
    yield Dialogue(
        "server-connects-at-once-after-its-200",
        """
        C PORT {hp}
        s 200 PORT command successful
        =
        """,
        "suites",
        rounds=20,
    )
    yield Dialogue(
        "PASV-answered-by-4yz-then-again",
        """
        C PASV
        S 425 no port is free
        """ + PASSIVE,
    )


def logins():
    """Logins and greetings of other codes, clients that do not wait, what comes before FTP."""
    greeted = "\n    S 220 ready\n"
    for name, login, source in (
        (
            "PASS-answered-220",
            """
            C USER a
            S 331 password?
            C PASS b
            S 220 logged in
            """,
            "P6",
        ),
        (
            "PASS-answered-200",
            """
            C USER a
            S 331 password?
            C PASS b
            S 200 logged in
            """,
            "suites",
        ),
        (
            "USER-answered-200",
            """
            C USER a
            S 200 OK
            """,
            "P7",
        ),
        (
            "USER-answered-232",
            """
            C USER a
            S 232 known by its certificate
            """,
            "RFC 2228",
        ),
        (
            "PASS-answered-202",
            """
            C USER a
            S 331 password?
            C PASS b
            S 202 not needed here
            """,
            "P7",
        ),
        (
            "ACCT-answered-202",
            """
            C USER a
            S 331 password?
            C PASS b
            S 332 account?
            C ACCT c
            S 202 not needed here
            """,
            "P7",
        ),
        (
            "PASS-answered-250",
            """
            C USER a
            S 331 password?
            C PASS b
            S 250 welcome
            """,
            "issue 12",
        ),
    ):
        yield from in_both_modes(name, "", source, login=greeted + login)
    for code in (200, 230, 202):
        yield from in_both_modes(
            f"greeting-{code}", "", "P8", login=LOGIN.replace("S 220", f"S {code}")
        )
    yield from in_both_modes(
        "greeting-120-then-220", "", "RFC 959", login="\n    S 120 in a minute\n" + LOGIN
    )
    yield from in_both_modes(
        "greeting-with-lines-without-a-code",
        "",
        "P50",
        login="""
            S Welcome to this machine.
            S *** no games ***
            """ + LOGIN,
    )
    yield from in_both_modes(
        "client-before-late-greeting",
        "",
        "P9: a video recorder",
        login="""
            C USER cam
            ~ 0.5
            S 220 ready
            S 331 password?
            C PASS b
            S 230 logged in
            """,
    )
    for command, answer in (
        ("FEAT", "211 none"),
        ("AUTH TLS", "502 no TLS here"),
        ("OPTS UTF8 ON", "200 ok"),
        ("HOST example.net", "220 that one"),
    ):
        yield from in_both_modes(
            f"{command.split()[0]}-before-greeting",
            "",
            "lftp without sync-mode",
            login=f"""
            C {command}
            S 220 ready
            S {answer}
            """ + LOGIN_BEHIND_GREETING,
        )
        yield from in_both_modes(
            f"{command.split()[0]}-before-login",
            "",
            "P49",
            login=f"""
            S 220 ready
            C {command}
            S {answer}
            """ + LOGIN_BEHIND_GREETING,
        )
    yield from in_both_modes(
        "unusual-verb-before-login",
        "",
        "suites",
        login="""
            S 220 ready
            C XMKD x
            S 530 log in first
            C NDMF
            S 500 what?
            """ + LOGIN_BEHIND_GREETING,
    )
    yield from in_both_modes(
        "all-before-greeting-in-one-segment",
        "",
        "lftp without sync-mode",
        login="""
            c FEAT␍␊USER anonymous␍␊PASS guest␍␊
            S 220 ready
            S 211 none
            S 331 password?
            S 230 logged in
            """,
    )
    yield Dialogue(
        "login-and-PORT-in-one-segment",
        """
        c USER anonymous␍␊PASS guest␍␊PORT {hp}␍␊
        S 331 password?
        S 230 logged in
        S 200 PORT command successful
        =
        """,
        login=greeted,
    )
    yield Dialogue(
        "login-and-PASV-in-one-segment",
        """
        c USER anonymous␍␊PASS guest␍␊PASV␍␊
        S 331 password?
        S 230 logged in
        S 227 Entering Passive Mode ({hp}).
        =
        """,
        login=greeted,
    )
    yield Dialogue(
        "login-and-PORT-in-one-segment-without-password",
        """
        c USER anonymous␍␊PORT {hp}␍␊
        S 230 logged in
        S 200 PORT command successful
        =
        """,
        login=greeted,
    )
    for name, header in dialogue_checks.PROXY_HEADERS.items():
        yield from in_both_modes(f"PROXY-{name}", "", "P48", preamble=header)


def spellings():
    """Commands and replies as some write them."""
    for name, line, source in (
        ("CR-CR-LF", "PASV␍␍␊", "P20"),
        ("LF", "PASV␊", "vsftpd"),
        ("with-an-argument", "PASV 1", "issue 12"),
        ("trailing-blank", "PASV ", "issue 12"),
        ("leading-blank", " PASV", "issue 12"),
        ("lower-case", "pasv", "RFC 959"),
        ("CR-NUL", "PASV␍␀␍␊", "RFC 854"),
    ):
        yield Dialogue(f"PASV/{name}", PASSIVE.replace("PASV", line), source)
    for name, line, source in (
        ("CR-CR-LF", "PORT {hp}␍␍␊", "P20"),
        ("LF", "PORT {hp}␊", "suites"),
        ("trailing-blank", "PORT {hp} ", "table"),
        ("two-blanks", "PORT  {hp}", "table"),
        ("tab", "PORT␉{hp}", "suites"),
        ("blanks-after-commas", "PORT {spaced}", "P18"),
        ("leading-zeros", "PORT {padded}", "suites"),
        ("address-zero", "PORT 0,0,0,0,{p}", "suites"),
        ("leading-blank", " PORT {hp}", "issue 12"),
        ("lower-case", "port {hp}", "RFC 959"),
        ("EPRT", "EPRT |1|{address}|{port}|", "RFC 2428"),
        ("EPRT-mapped", "EPRT |2|::ffff:{address}|{port}|", "real-peers F"),
        ("EPRT-other-delimiter", "EPRT !1!{address}!{port}!", "RFC 2428"),
    ):
        yield Dialogue(f"PORT/{name}", ACTIVE.replace("PORT {hp}", line), source)
    for name, line, source in (
        ("CR-CR-LF", "227 Entering Passive Mode ({hp})␍␍␊", "P21"),
        ("LF", "227 Entering Passive Mode ({hp})␊", "squid"),
        ("no-blank", "227({hp})", "real-peers F"),
        ("no-blank-before-parenthesis", "227 Entering Passive Mode({hp})", "squid"),
        ("blanks-after-commas", "227 Entering Passive Mode ({spaced})", "P18: a camera"),
        ("blanks-in-parentheses", "227 Entering Passive Mode ( {hp} )", "P18"),
        ("tabs-after-commas", "227 Entering Passive Mode ({tabbed})", "issue 12"),
        ("no-words", "227 {hp}", "P24: sys-ftpd"),
        ("no-words-but-parentheses", "227 ({hp})", "P24"),
        ("no-parentheses", "227 Entering Passive Mode {hp}", "RFC 1123"),
        ("equals", "227 =({hp})", "P30"),
        ("equals-without-parentheses", "227 ={hp}", "P30"),
        ("at", "227 Entering Passive Mode @{hp}", "P30"),
        ("digits-before", "227 Passive mode 2 of 2 ok ({hp})", "suites"),
        ("leading-zeros", "227 Entering Passive Mode ({padded})", "suites"),
        ("address-zero", "227 Entering Passive Mode (0,0,0,0,{p})", "P11"),
        ("in-another-language", "227 Passiver Modus wird gestartet ({hp}).", "P30"),
    ):
        yield Dialogue(f"227/{name}", f"\n    C PASV\n    S {line}\n    =\n", source)
    for name, line, source in (
        ("exclamation-marks", "229 Entering Extended Passive Mode (!!!{port}!)", "P25: IBM i"),
        ("full-stop", "229 Entering Extended Passive Mode (|||{port}|).", "P25: Serv-U"),
        ("CR-CR-LF", "229 Entering Extended Passive Mode (|||{port}|)␍␍␊", "P21"),
        ("no-blank", "229(|||{port}|)", "P24"),
    ):
        yield Dialogue(f"229/{name}", f"\n    C EPSV\n    S {line}\n    =\n", source)
    yield Dialogue(
        "227/in-pieces",
        """
        C PASV
        s 227 Entering Passive Mode (…
        ~ 0.2
        s {hp})␍␊
        =
        """,
        "P29",
    )
    yield Dialogue(
        "PORT/in-pieces",
        """
        c PO…
        ~ 0.2
        c RT {hp}␍␊
        S 200 PORT command successful
        =
        """,
        "P29",
    )


def endpoints():
    """Addresses that are not the announcer's own, and announcements that are not used."""
    for name, numbers, source in (
        ("private-of-elsewhere", "172,16,9,9", "P33"),
        ("loopback", "127,0,0,1", "P33"),
        ("public-of-elsewhere", "192,0,2,99", "P32"),
    ):
        yield Dialogue(
            f"227-names-{name}/peer-is-used",
            f"""
            C PASV
            S 227 Entering Passive Mode ({numbers},{{p}}).
            = peer
            """,
            source,
        )
        # The line is rewritten to what the client dialled.
        yield Dialogue(
            f"227-names-{name}/address-is-used",
            f"""
            C PASV
            S 227 Entering Passive Mode ({numbers},{{p}}).
            =
            """,
            source,
        )
    yield Dialogue(
        "two-PASVs-and-the-first-is-used",
        """
        C PASV
        S 227 Entering Passive Mode ({hp}).
        C PASV
        S 227 Entering Passive Mode ({hp}).
        = first
        """,
        "suites",
        settings={"expectation.max_per_session": 2},
    )
    yield Dialogue(
        "227-zeros-over-IPv6",
        """
        C PASV
        S 227 Entering Passive Mode (0,0,0,0,{p}).
        = peer
        """,
        "P16",
        version=6,
    )
    yield Dialogue(
        "EPSV-and-PASV-in-turn",
        """
        C EPSV
        S 229 Entering Extended Passive Mode (|||{port}|)
        =
        """ + PASSIVE,
        "RFC 2428",
    )


def dialects():
    """Other commands around an announcement."""
    for command, answer, source in (
        ("PRET RETR a", "200 will do", "P34: drftpd"),
        ("MODE Z", "200 so be it", "issue 12"),
        ("SSCN ON", "200 so be it", "issue 12"),
        ("CLNT x", "200 noted", "P49"),
        ("ALLO 1000", "202 not needed", "RFC 959"),
        ("SITE UMASK 022", "200 ok", "RFC 959"),
    ):
        yield from in_both_modes(
            f"after-{command.split()[0]}",
            f"""
            C {command}
            S {answer}
            """,
            source,
        )
    yield Dialogue(
        "STOU",
        ACTIVE + """
        C STOU
        S 150 FILE: a.1
        S 226 done
        """,
        "pyftpdlib",
    )
    yield Dialogue("CPSV", PASSIVE.replace("C PASV", "C CPSV"), "issue 12")
    yield from in_both_modes(
        "REIN-then-login",
        """
        C REIN
        S 220 anew
        """ + LOGIN_BEHIND_GREETING,
        "RFC 959",
    )
    yield from in_both_modes(
        "HylaFAX",
        """
        C JNEW
        S 200 New job created: jobid: 1 groupid: 1.
        """,
        "P46",
        port=HYLAFAX_PORT,
        settings={"control_ports": [HYLAFAX_PORT]},
    )
    yield Dialogue("over-multipath-TCP", "", "P54", is_multipath=True)


def rows():
    modules = (dialogue_addresses, dialogue_checks)
    tables = [module.rows for module in modules]
    for table in (answers, logins, spellings, endpoints, dialects, *tables):
        yield from table()


def batches():
    """A gateway for each route and configuration; the cases of one share it."""
    together = {}
    for row in rows():
        for route, deployment in ROUTES[row.version].items():
            if row.routes and route not in row.routes:
                continue
            case = Case(f"dialogue/{row.name}/{route}", functools.partial(run_dialogue, row))
            key = (deployment, row.port, row.is_multipath, str(sorted(row.settings.items())))
            together.setdefault(key, (route, row.settings, []))[2].append(case)
    for (deployment, port, is_multipath, _), (route, settings, cases) in together.items():
        yield Batch(
            f"dialogue/{route}",
            deployment,
            tuple(cases),
            functools.partial(
                scripted,
                server_port=port,
                stage_class=MultipathStage if is_multipath else Stage,
            ),
            settings=settings,
            refusal="reject",
        )
