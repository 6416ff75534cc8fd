"""Pack a model in ONNX into a bundle. A child process reads the file, and runs it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from base.arrays import Floats, Floats32
from base.errors import BundleRefusedError
from models.bundle.draw_golden import DEFAULT_GOLDEN
from models.bundle.golden import read_golden
from models.bundle.manifest import FeatureRef, GraphOutput, NamedFeature
from models.bundle.onnx_model import REFERENCES, OnnxModel
from models.bundle.packed import Names, Packed, check_golden_count, defined
from models.bundle.sums import MAX_BUNDLE_BYTES, read_plain
from models.bundle.verify import verify
from models.bundle.write import make_manifest, refuse_existing, write_files
from models.sandbox.process import DEFAULT_LIMITS, Limits, run_child

REQUEST_FILE = "request.json"
SAMPLE_FILE = "sample.npy"
EXPECTED_FILE = "expected.npy"
(MODEL_FILE,) = OnnxModel.FILES


@dataclass(frozen=True, slots=True, eq=False)
class SampleRows:
    """Rows that the model was made for.

    Attributes:
        vectors: float32[S, F], in the order of the model's columns.
        expected: float64[S], what the library that trained the model predicts for them; None if it
            is not known.
    """

    vectors: Floats32
    expected: Floats | None = None


def pack_onnx(  # noqa: PLR0913  options that a model file does not state
    model: Path,
    out: Path,
    *,
    name: str,
    version: str,
    names: Names,
    kind: Literal["probability", "margin"],
    sample: SampleRows,
    output: str | None = None,
    definitions: Sequence[NamedFeature] | None = None,
    golden: int = DEFAULT_GOLDEN,
    seed: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> Packed:
    """Write a bundle of a model file.

    Args:
        model: The model file.
        out: Folder of the bundle.
        name: Name in the manifest.
        version: Version in the manifest.
        names: Names of the model's columns.
        kind: What the output is: the probability of fraud, or its log-odds (`margin`).
        sample: Rows for the golden vectors, and to compare scores on.
        output: Name of the output that is the score; None for the only one of floats.
        definitions: Features of a set, as for `pack_model`.
        golden: Number of golden vectors.
        seed: Random seed of the golden vectors.
        limits: Limits of the child processes that run and verify the model.

    Raises:
        BundleRefusedError: naming the fault and the remedy; `out` is not written then.
    """
    check_golden_count(golden, REFERENCES + 1)
    refuse_existing(out)
    request = {"output": output, "kind": kind, "golden": golden, "seed": seed}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / REQUEST_FILE).write_text(json.dumps(request), encoding="utf-8")
        np.save(folder / SAMPLE_FILE, sample.vectors)
        if sample.expected is not None:
            np.save(folder / EXPECTED_FILE, sample.expected)
        facts = run_child("reduce", model, str(folder), limits)
        files = {
            path.name: read_plain(path, MAX_BUNDLE_BYTES)
            for path in folder.iterdir()
            if path.name not in (REQUEST_FILE, SAMPLE_FILE, EXPECTED_FILE)
        }
    features = defined(names.of(facts["columns"], None, model), definitions)
    manifest = make_manifest(
        out,
        name=name,
        version=version,
        format="onnx",
        features=tuple(FeatureRef(name=f.name, fingerprint=f.fingerprint) for f in features),
        objective=None,
        trees=None,
        output=GraphOutput(name=facts["output"], kind=kind),
        calibration=None,
        golden=golden,
        trained=None,
        created_at=datetime.now(UTC),
    )
    proof = read_golden(files, manifest, str(model))
    write_files(out, manifest, proof, {MODEL_FILE: files[MODEL_FILE]})
    try:
        verified = verify(out, expected=definitions, limits=limits)
    except BundleRefusedError:
        shutil.rmtree(out)
        raise
    return Packed(verified, manifest, tuple(facts["notes"]))


def read_request(folder: Path) -> tuple[dict[str, Any], SampleRows]:
    """Read what `pack_onnx` has written for the child process."""
    request = json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))
    expected = folder / EXPECTED_FILE
    return request, SampleRows(
        np.load(folder / SAMPLE_FILE), np.load(expected) if expected.exists() else None
    )
