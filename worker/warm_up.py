"""Compilation of the kernels before their first use: ``python -m worker.warm_up``."""

from __future__ import annotations

import time

import structlog

from base.compiled import FOLDER
from base.user_folders import CACHE_VARIABLE
from features.expression.prove_expressions import prove_expressions
from features.lookups.golden_answers import prove_lookups
from features.store.prove_memory import prove_memory
from features.values.prove_hashes import prove_hashes
from features.windows.golden import prove_windows
from models.backend.compiled_trees import prove_trees
from schemas.avro.encode.golden_records import prove_encoder
from schemas.avro.golden_bodies import prove_decoder

_KERNELS = (
    prove_decoder,
    prove_windows,
    prove_hashes,
    prove_lookups,
    prove_memory,
    prove_expressions,
    prove_trees,
    prove_encoder,
)

log = structlog.get_logger()


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, and compare results with known ones.

    Raises:
        ConfigurationError: A kernel computes wrong results.
    """
    began = time.monotonic()
    if FOLDER is None:
        remedy = f"set {CACHE_VARIABLE} to a folder that this user may write to"
        log.warning("kernels_not_kept", reason="each start compiles them", remedy=remedy)
    elif not any(FOLDER.iterdir()):
        log.info("compiling_kernels", folder=str(FOLDER), remedy="wait some 20 seconds, once")
    for prove in _KERNELS:
        prove()
    log.info("kernels_ready", seconds=round(time.monotonic() - began, 3))


if __name__ == "__main__":
    warm_up()
