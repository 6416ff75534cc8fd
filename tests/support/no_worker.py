"""Run in a worker's place: ``python -m tests.support.no_worker sleeps | raises | STATUS``.

It sleeps, raises an exception, or ends with a status.
"""

from __future__ import annotations

import sys
import time

_LONG_S = 600.0

if __name__ == "__main__":
    what = sys.argv[1]
    if what == "sleeps":
        time.sleep(_LONG_S)
    if what == "raises":
        raise ValueError
    sys.exit(int(what))
