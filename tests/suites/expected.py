"""Tests of other people's suites that fail with ours although they pass directly, and why.

A test stands here if its very point is an address or a port that the policy refuses, or a moment
that no program on the path can give.
"""

import re

NOT_ITS_OWN = (
    "the server announces an address that is not its own, and the client reads the server's"
)
FOREIGN = "announces a third party, and the gateway answers in place of the server"
PRIVILEGED = "announces a port below 1024, and the gateway answers in place of the server"
TWICE = "connects twice to one announced endpoint, which is good for one data connection"
OVERTAKEN = (
    "the end of the data connection overtakes ABOR, whose way leads through the daemon, so that the"
    " server has nothing to abort"
)

# (suite, pattern of the whole test's name): reason.
EXPECTED = {
    ("cpython", "test_makepasv_issue43285_security_disabled"): NOT_ITS_OWN,
    ("curl", "116 .*"): FOREIGN,
    ("aioftp", ".*::test_pasv_connection_pasv_forced_response_address.*"): NOT_ITS_OWN,
    ("aioftp", ".*::test_closing_passive_connection.*"): TWICE,
    ("pyftpdlib", ".*::TestConfigurableOptions::test_masquerade_address(_map)?"): NOT_ITS_OWN,
    ("pyftpdlib", ".*::TestIPv4Environment::test_(eprt|port)_v4"): FOREIGN,
    ("pyftpdlib", ".*::TestIPv6Environment::test_eprt_v6"): FOREIGN,
    ("pyftpdlib", ".*::TestIPv[46]Environment::test_eprt"): PRIVILEGED,
    ("pyftpdlib", ".*::test_permit_privileged_ports"): PRIVILEGED,
    ("pyftpdlib", ".*::TestCallbacks::test_on_incomplete_file_received"): OVERTAKEN,
}


def reason_for(suite, test):
    """Why this test may fail, or an empty text."""
    found = (
        reason
        for (of, name), reason in EXPECTED.items()
        if of == suite and re.fullmatch(name, test)
    )
    return next(found, "")
