"""A real FTP server in a process of its own, which can be stopped, started again, and made slow."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

PASSWORD = "geheim"

SERVER = """
import sys, time
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler
from pyftpdlib.servers import ThreadedFTPServer

folder, password, port, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

class Slow(DTPHandler):
    def recv(self, size):
        data = super().recv(min(size, 32768))
        time.sleep(len(data) / limit)
        return data

class Handler(FTPHandler):
    authorizer = DummyAuthorizer()
    dtp_handler = Slow if limit else DTPHandler

Handler.authorizer.add_user("me", password, folder, perm="elradfmwMT")
server = ThreadedFTPServer(("127.0.0.1", port), Handler)
print(server.address[1], flush=True)
server.serve_forever(handle_exit=False)
"""


class FTPServer:
    """Serves a folder at `address`; its log says what it was asked for.

    Args:
        folder: What is served, as a folder of its own.
        limit: Bytes per second that it takes from a client; 0: as they come.
    """

    def __init__(self, folder: Path, limit: int = 0) -> None:
        self.folder, self.limit, self.port = folder, limit, 0
        self.log = folder.with_suffix(".ftp.log")
        folder.mkdir()
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def address(self) -> str:
        """The address of a run on it."""
        return f"ftp://me:{PASSWORD}@127.0.0.1:{self.port}/runs/a"

    @property
    def run(self) -> Path:
        """The folder of that run, as the server has it."""
        return self.folder / "runs" / "a"

    def start(self) -> None:
        """Serve, at the same port as before."""
        with open(self.log, "a") as log:
            command = [sys.executable, "-W", "ignore", "-c", SERVER, str(self.folder), PASSWORD, str(self.port)]
            self._process = subprocess.Popen(
                [*command, str(self.limit)], stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
            )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        """Vanish, in the middle of whatever is under way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def asked(self, command: str) -> list[str]:
        """The names of the files that a command was finished for, `RETR`, `STOR`, `DELE`, ..., in order."""
        lines = [line.split(f" {command} ")[1] for line in self.log.read_text().splitlines() if f" {command} " in line]
        return [Path(line.split(" ")[0]).name for line in lines]


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
