"""Train gradient-boosted trees with CatBoost, and write them in ONNX.

CatBoost always ends its graph with a ZipMap, which makes maps of the probabilities. The option
--output names the tensor before it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from catboost import CatBoostClassifier
from training_rows import Rows, run, write_model


def train(rows: Rows, out: Path) -> None:
    """Train on rows, and write the trees to a folder."""
    model = CatBoostClassifier(
        iterations=300, depth=6, random_seed=0, verbose=False, allow_writing_files=False
    )
    model.fit(rows.matrix, rows.labels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.save_model(str(path), format="onnx")
        content = path.read_bytes()
    options = ["--probability", "--output", "probability_tensor"]
    write_model(
        out, content, rows, lambda matrix: model.predict_proba(matrix)[:, 1], options=options
    )


if __name__ == "__main__":
    run(train, __doc__)
