"""Servers that answer what a test tells them to."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def gathering(commands: bytes, *rounds: Sequence[bytes]) -> Iterator[str]:
    """The URL of a server that gives each round's answers together, once asked for all of them.

    commands: what each of the commands begins with, a regular expression.
    """
    remaining = list(rounds)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked = b""
            while more := self.request.recv(1 << 20):
                self.request.sendall(b"+OK\r\n" * more.count(b"CLIENT"))
                asked += more
                if len(re.findall(commands, asked)) == len(remaining[0]):
                    asked = b""
                    self.request.sendall(b"".join(remaining.pop(0)))

    with serving(Handler) as url:
        yield url


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """The URL of a server of connections for ``handler``."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
