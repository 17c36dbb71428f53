"""Python's ftplib as a program: MODE ADDRESS PORT USER PASSWORD LOCAL STORED_AS FETCH..."""

import ftplib
import os
import sys

mode, address, port, user, password, store, stored_as, *fetch = sys.argv[1:]


class Ftp(ftplib.FTP):
    """Uses the mode that it is told; ftplib alone would choose by IP version."""

    trust_server_pasv_ipv4_address = True

    def makepasv(self):
        if mode == "EPSV":
            return ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())
        return super().makepasv()

    def sendport(self, host, port):
        if mode == "EPRT":
            return self.sendeprt(host, port)
        return super().sendport(host, port)


with Ftp(timeout=20 * float(os.environ.get("LAB_PATIENCE", "1"))) as ftp:
    ftp.set_debuglevel(1)
    ftp.connect(address, int(port))
    ftp.login(user, password)
    ftp.set_pasv(mode in ("PASV", "EPSV"))
    for name in fetch:
        with open(name, "wb") as file:
            ftp.retrbinary(f"RETR pub/{name}", file.write)
    with open(store, "rb") as file:
        ftp.storbinary(f"STOR upload/{stored_as}", file)
