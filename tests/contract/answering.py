"""Servers that answer what a test tells them to."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def gathering(commands: bytes, answers: Sequence[bytes]) -> Iterator[str]:
    """The URL of a server that gives its answers together, once it has been asked for all of them.

    commands: what each of these commands begins with, a regular expression.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked = b""
            while len(re.findall(commands, asked)) < len(answers):
                more = self.request.recv(1 << 20)
                if not more:
                    return
                self.request.sendall(b"+OK\r\n" * more.count(b"CLIENT"))
                asked += more
            self.request.sendall(b"".join(answers))

    with serving(Handler) as url:
        yield url


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """The URL of a server of connections for ``handler``."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"redis://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
