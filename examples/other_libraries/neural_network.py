"""Train a small neural network with scikit-learn, and write it in ONNX.

Scaling and the treatment of missing values are parts of the graph: it takes features as the worker
computes them.
"""

from __future__ import annotations

from pathlib import Path

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from training_rows import Rows, run, write_model


def train(rows: Rows, out: Path) -> None:
    """Train on rows, and write the network to a folder."""
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        MLPClassifier(
            (64, 32), batch_size=512, early_stopping=True, n_iter_no_change=5, random_state=0
        ),
    )
    model.fit(rows.matrix, rows.labels)
    inputs = [("features", FloatTensorType([None, len(rows.names)]))]
    network = to_onnx(model, initial_types=inputs, options={"zipmap": False})
    write_model(
        out,
        network.SerializeToString(),
        rows,
        lambda matrix: model.predict_proba(matrix)[:, 1],
    )


if __name__ == "__main__":
    run(train, __doc__)
