"""TCP proxy between Kafka's clients and a broker that can delay the end of a transaction.

All clients reach the broker through it if the broker's ``advertised.listeners`` names the proxy. It
understands frames, the header of a request, and EndTxn in the versions that librdkafka sends.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from struct import Struct
from typing import Self

from tools.embedded.process import LOOPBACK

_INT16 = Struct(">h")
_INT32 = Struct(">i")
# API key, version, correlation id.
_REQUEST = Struct(">hhi")
# Correlation id, throttle time, error code; up to version 2.
_END_TXN_ANSWER = Struct(">iih")
_END_TXN = 26


class DelayedEnd:
    """An EndTxn request that a proxy keeps until it is released.

    Whatever follows on the same connection waits behind it, as on a slow network. Each property
    waits for the request.

    Args:
        bound_s: Longest wait for the request, and for its answer, in seconds.
    """

    def __init__(self, bound_s: float) -> None:
        self._bound_s = bound_s
        self._caught: Future[tuple[bytes, socket.socket]] = Future()
        self._released = threading.Event()
        self._error: Future[int] = Future()

    @property
    def version(self) -> int:
        """Version of the request."""
        return int(_REQUEST.unpack_from(self._request)[1])

    @property
    def transactional_id(self) -> str:
        """Transactional id of the producer."""
        _, end = _text(self._request, _REQUEST.size)
        return _text(self._request, end)[0]

    @property
    def is_commit(self) -> bool:
        """True for a commit, False for an abort."""
        # The last field, up to version 2.
        return bool(self._request[-1])

    def disconnect_client(self) -> None:
        """Break the client's connection; the request is still on its way to the broker."""
        self._caught.result(self._bound_s)[1].shutdown(socket.SHUT_RDWR)

    def release(self) -> int:
        """Let the request go, also without its client; return the error code of the answer."""
        self._caught.result(self._bound_s)
        self._released.set()
        return self._error.result(self._bound_s)

    def carry(self, request: bytes, client: socket.socket, broker: socket.socket) -> None:
        """Take a request; send it when it is released, and wait for its answer."""
        self._caught.set_result((request, client))
        self._released.wait()
        _send(broker, request)
        # A broker may drop the requests of a connection that is closed.
        self._error.result(self._bound_s)

    def see_answer(self, frame: bytes) -> None:
        """Look at an answer of the broker; it may be that to another request."""
        correlation = _REQUEST.unpack_from(self._request)[2]
        if _INT32.unpack_from(frame)[0] == correlation and not self._error.done():
            self._error.set_result(_END_TXN_ANSWER.unpack_from(frame)[2])

    @property
    def _request(self) -> bytes:
        return self._caught.result(self._bound_s)[0]


class EndTxnProxy:
    """Proxy on a loopback port of its own, while it is used as a context manager.

    Args:
        broker_port: Port of the broker on the loopback address.
        bound_s: Longest wait for a request to delay, and for its answer, in seconds.
    """

    def __init__(self, broker_port: int, bound_s: float) -> None:
        self._broker_port = broker_port
        self._bound_s = bound_s
        self._listener = socket.create_server((LOOPBACK, 0))
        self._sockets = [self._listener]
        self._delays: list[DelayedEnd] = []
        self.address = f"{LOOPBACK}:{self._listener.getsockname()[1]}"

    def delay_next_end(self) -> DelayedEnd:
        """Keep the next EndTxn request of any client."""
        self._delays.append(DelayedEnd(self._bound_s))
        return self._delays[-1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            _close(one)

    def _accept(self) -> None:
        with suppress(OSError):  # the proxy has ended
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with suppress(OSError):  # the broker is down, or one of both sides has closed
            broker = socket.create_connection((LOOPBACK, self._broker_port))
            self._sockets.append(broker)
            delayed: list[DelayedEnd] = []
            threading.Thread(
                target=_pass_answers, args=(broker, client, delayed), daemon=True
            ).start()
            for request in _frames(client):
                if self._delays and _REQUEST.unpack_from(request)[0] == _END_TXN:
                    delayed.append(self._delays.pop(0))
                    delayed[-1].carry(request, client, broker)
                else:
                    _send(broker, request)
            _close(broker)
        _close(client)


def _pass_answers(broker: socket.socket, client: socket.socket, delayed: list[DelayedEnd]) -> None:
    for answer in _frames(broker):
        for end in delayed:
            end.see_answer(answer)
        with suppress(OSError):  # the client is gone; the broker's answers are still looked at
            _send(client, answer)
    _close(client)


def _frames(source: socket.socket) -> Iterator[bytes]:
    """Frames without their lengths, until the connection ends."""
    with suppress(OSError), source.makefile("rb") as stream:
        while len(length := stream.read(_INT32.size)) == _INT32.size:
            yield stream.read(*_INT32.unpack(length))


def _text(frame: bytes, begin: int) -> tuple[str, int]:
    """A text with its length before it, and where it ends."""
    start = begin + _INT16.size
    end = start + _INT16.unpack_from(frame, begin)[0]
    return frame[start:end].decode(), end


def _send(target: socket.socket, frame: bytes) -> None:
    target.sendall(_INT32.pack(len(frame)) + frame)


def _close(one: socket.socket) -> None:
    with suppress(OSError):  # the other side was first
        one.shutdown(socket.SHUT_RDWR)
    one.close()
