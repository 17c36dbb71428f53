"""pyftpdlib as a program.

pyftpdlib_server.py ADDRESS PORT HOME USER PASSWORD FIRST_PASSIVE LAST_PASSIVE
                    [ANNOUNCED_ADDRESS]
"""

import sys
import warnings

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import ThreadedFTPServer

address, port, home, user, password, first, last = sys.argv[1:8]

# It warns that virtual users may write, but here they should.
warnings.simplefilter("ignore")
authorizer = DummyAuthorizer()
authorizer.add_user(user, password, home, perm="elradfmw")


class Handler(FTPHandler):
    """A session of the lab's one user."""


Handler.authorizer = authorizer
Handler.passive_ports = range(int(first), int(last) + 1)
Handler.use_sendfile = False
Handler.masquerade_address = sys.argv[8] if len(sys.argv) > 8 else None

# Each session has its own event loop. In a shared loop, release 1.5.7 never reads a connection that
# it accepts in the turn in which it closes another; for that a client's FIN needs only to arrive
# just after its next SYN. On loopback, without any gateway, 40 of 40 such sessions got no answer to
# USER. With a loop each, all 40 did.
ThreadedFTPServer((address, int(port)), Handler).serve_forever()
