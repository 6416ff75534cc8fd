"""Train a small neural network with PyTorch, and write it in ONNX.

The module fills missing values and scales the features itself, so both are parts of the graph. Its
output is the margin: the sigmoid is left to the worker, and scores near 1 keep their precision.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from training_rows import Rows, run, write_model

EPOCHS, BATCH = 15, 1_024


class Network(nn.Module):
    """Two hidden layers on features with a mean of 0 and a deviation of 1.

    Args:
        matrix: float32[N, F], training rows.
    """

    def __init__(self, matrix: npt.NDArray[np.float32]) -> None:
        super().__init__()
        fill = np.nanmedian(matrix, axis=0)
        filled = np.where(np.isnan(matrix), fill, matrix)
        self.register_buffer("fill", torch.tensor(fill))
        self.register_buffer("mean", torch.tensor(filled.mean(axis=0)))
        self.register_buffer("deviation", torch.tensor(filled.std(axis=0) + 1e-6))
        width = matrix.shape[1]
        self.layers = nn.Sequential(
            nn.Linear(width, 64), nn.GELU(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute margins float32[N, 1] of float32[N, F]."""
        known = torch.where(torch.isnan(features), self.fill, features)
        margins: torch.Tensor = self.layers((known - self.mean) / self.deviation)
        return margins


def train(rows: Rows, out: Path) -> None:
    """Train on rows, and write the network to a folder."""
    torch.manual_seed(0)
    model = Network(rows.matrix)
    matrix, labels = torch.tensor(rows.matrix), torch.tensor(rows.labels, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    loss = nn.BCEWithLogitsLoss()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(matrix)).split(BATCH):
            optimizer.zero_grad()
            loss(model(matrix[batch])[:, 0], labels[batch]).backward()
            optimizer.step()
    model.eval()
    file = io.BytesIO()
    torch.onnx.export(
        model,
        (matrix[:2],),
        file,
        input_names=["features"],
        output_names=["margin"],
        dynamic_shapes=({0: torch.export.Dim("events")},),
        dynamo=True,
        external_data=False,
    )

    def margins(sample: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            values: npt.NDArray[np.float32] = model(torch.tensor(sample))[:, 0].numpy()
        return values

    write_model(out, file.getvalue(), rows, margins, options=["--margin"])


if __name__ == "__main__":
    run(train, __doc__)
