"""TCP proxy before an HTTP server, which can be away, silent or slow, for some requests or all."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Literal, Self

from tools.embedded.process import LOOPBACK

Fault = Literal["none", "away", "silent", "drips"]
_DRIP_S = 0.1
_END_OF_HEAD = b"\r\n\r\n"


class FaultProxy:
    """Passes each connection's bytes on, while `fault` is "none".

    Attributes:
        fault: "away" closes a connection at its next request; "silent" never answers it;
            "drips" sends the bodies of all answers byte by byte.
        only: Bytes that a request must contain for the fault; b"" for all.
        port: Port that clients connect to.
    """

    def __init__(self, target: int) -> None:
        self.fault: Fault = "none"
        self.only = b""
        self._target = target
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            server = socket.create_connection((LOOPBACK, self._target))
            self._open.append(server)
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
            while data := client.recv(65_536):
                if self.fault in ("away", "silent") and self.only in data:
                    if self.fault == "away":
                        return
                    continue
                server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError), server:
            while data := server.recv(65_536):
                begin = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
                if self.fault != "drips":
                    begin = len(data)
                client.sendall(data[:begin])
                for at in range(begin, len(data)):
                    time.sleep(_DRIP_S)
                    client.sendall(data[at : at + 1])
