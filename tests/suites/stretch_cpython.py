"""CPython's test_ftplib, whose dummy server is a thread; its clients log in: see stretched.py."""

import functools

from stretched import constructed_in_server, place, run_in_server


def prepare(modules):
    (module,) = modules
    module.HOST, module.HOSTv6 = place.client[4], place.client[6]
    server = module.DummyFTPServer
    server.__init__ = constructed_in_server(server.__init__)
    server.run = run_in_server(server.run)
    for case in (module.TestFTPClass, module.TestIPv6Environment):
        case.setUp = with_login(case.setUp)


def with_login(set_up):
    """Nobody transfers without a login, but these tests would."""

    @functools.wraps(set_up)
    def wrapped(self, *arguments, **options):
        set_up(self, *arguments, **options)
        self.client.login()

    return wrapped
