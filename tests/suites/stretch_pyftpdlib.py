"""pyftpdlib's functional tests, whose server is a thread: see stretched.py."""

from stretched import constructed_in_server, place, run_in_server


def prepare(modules):
    tests = next(iter(modules))
    package = __import__(tests.__package__, fromlist=["FtpdThreadWrapper"])
    wrapper = package.FtpdThreadWrapper
    wrapper.__init__ = constructed_in_server(wrapper.__init__)
    wrapper.run = run_in_server(wrapper.run)
    for module in modules:
        # The addresses that these tests announce.
        for name, family in (("TestIPv4Environment", 4), ("TestIPv6Environment", 6)):
            if hasattr(module, name):
                getattr(module, name).HOST = place.client[family]
