"""Makes what the handbook pipeline needs to run: a small model, and its lookups as files.

``python -m tests.oracles.train DIR`` writes ``DIR/model`` and ``DIR/LOOKUP.parquet``, from a
simulated history; the same every time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from features.definition import load_feature_set
from features.store.memory import MemoryStore
from worker.demo.prepare import load_lookups, simulate_files, train

_PIPELINE = Path(__file__).parents[2] / "examples" / "handbook"


def main() -> None:
    """Simulate, load the lookups into memory, train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder: Path = parser.parse_args().folder
    store = MemoryStore()
    prepared = simulate_files(folder, 1)
    load_lookups(load_feature_set(_PIPELINE / "features.yaml"), prepared.lookups, store)
    train(_PIPELINE, prepared.history, store, folder / "model")


if __name__ == "__main__":
    main()
