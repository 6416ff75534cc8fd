"""Runs one server for as long as the process that started this script lives.

A script, not a module: it starts without site-packages. Its standard input is a pipe that only
the starting process holds: each byte is a signal number for the server, its end means that the
process is gone, by whatever death, and kills the server. It prints the server's process id and
exits with the server's status. Unlike a parent-death signal alone, the pipe does not depend on
the thread that started the server, and it works beyond Linux.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1


def _die_with_guard() -> None:
    # For a guard that is killed itself; it has but one thread when it starts the server.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(command: list[str]) -> None:
    """Start ``command``, its output on this process's stderr, and guard it."""
    # No hook runs between fork and exec but this one; there are no other threads yet.
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=_die_with_guard,  # noqa: PLW1509 - safe: single-threaded here
    )
    os.write(1, f"{server.pid}\n".encode())
    os.close(1)

    def obey() -> None:
        while number := os.read(0, 1):
            server.send_signal(number[0])
        server.kill()

    threading.Thread(target=obey, daemon=True).start()
    status = server.wait()
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main(sys.argv[1:])
