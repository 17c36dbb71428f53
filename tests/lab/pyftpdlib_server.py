"""pyftpdlib as a program: ADDRESS PORT HOME USER PASSWORD FIRST_PASSIVE LAST_PASSIVE [ANNOUNCED_ADDRESS]"""

import sys
import warnings

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

address, port, home, user, password, first, last = sys.argv[1:8]

# It warns that anonymous or virtual users may write: that is what they are here for.
warnings.simplefilter("ignore")
authorizer = DummyAuthorizer()
authorizer.add_user(user, password, home, perm="elradfmw")


class Handler(FTPHandler):
    """A session of the lab's one user."""


Handler.authorizer = authorizer
Handler.passive_ports = range(int(first), int(last) + 1)
Handler.use_sendfile = False
Handler.masquerade_address = sys.argv[8] if len(sys.argv) > 8 else None

FTPServer((address, int(port)), Handler).serve_forever()
