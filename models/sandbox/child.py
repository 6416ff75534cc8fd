"""Child process that verifies a model: `python -m models.sandbox.child`.

models.sandbox.process starts it. Arguments: `verify`, a bundle's folder and the device; or `save`,
a model file of XGBoost and the file to write; or `reduce`, a model file in ONNX and the folder of
the request, where the reduced model is written; then the limits in seconds and bytes, and the id of
the parent process. It answers with one line of JSON on stdout, `{"proven": {...}}` or
`{"refused": "..."}`, unless the model crashes it.

It is not a part of models.bundle, so that it can set its limits, and block the import of
scikit-learn, before XGBoost is imported: with scikit-learn the start takes a second longer.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.backend import Backend
    from models.bundle import Bundle
    from models.bundle.golden import Golden

CUDA_TOLERANCE = 1e-5
_LINUX = sys.platform == "linux"
_NICE = 5
_PR_SET_PDEATHSIG = 1
_MANY_ROWS = 1024
_OUT_OF_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "Cannot allocate memory",
)
_EXPLAINED = 16


def main() -> None:
    """Set the limits of this process, verify or save the model, and write the answer."""
    task, path, target, seconds, memory, parent = sys.argv[1:]
    # Output of libraries goes to stderr; stdout is for the answer.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _end_with_parent(int(parent))
    _bound_time(float(seconds))
    _yield_to_others()
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    outcome = _outcome(task, Path(path), target, int(memory))
    # Damage that a model did to memory may crash the process when the model is freed. It is freed
    # here, so that the crash comes before the answer.
    gc.collect()
    answer.write(json.dumps(outcome) + "\n")
    answer.close()


def _outcome(task: str, path: Path, target: str, memory: int) -> dict[str, Any]:
    """Run the task under the limit on memory, and return its answer."""
    # All imports come before the limit on memory.
    import models.backend  # noqa: F401, PLC0415
    from base.errors import ConfigurationError  # noqa: PLC0415
    from models.bundle.model_checks import short_message  # noqa: PLC0415

    if task == "reduce" or (path / "model.onnx").exists():
        # Where they are not installed, the model is refused with the remedy.
        with contextlib.suppress(ImportError):
            import onnx  # noqa: F401, PLC0415
            import onnxruntime  # noqa: F401, PLC0415
    lift = _bound_memory(memory)
    try:
        if task == "verify":
            return {"proven": prove(path, target, lift)}
        return {"proven": (save if task == "save" else reduce)(path, Path(target))}
    except MemoryError:
        reason = "std::bad_alloc"
    except ConfigurationError as error:
        reason = str(error)
    # A damaged model makes XGBoost, or the code that uses its results, raise any exception.
    except Exception as error:  # noqa: BLE001
        reason = f"{path}: {type(error).__name__}: {short_message(error)}"
    if any(words in reason for words in _OUT_OF_MEMORY):
        reason = (
            f"{path}: needs more than {memory:,} bytes of memory; it is damaged, or "
            "model.verify_max_bytes is too small for it"
        )
    return {"refused": reason}


def prove(folder: Path, device: str, lift: Any = lambda: None) -> dict[str, Any]:
    """Verify all parts of a bundle.

    Args:
        folder: The bundle's folder.
        device: `cpu`, `cuda` or `auto`.
        lift: Removes the limit on memory. It is called before a GPU is used, because the GPU's
            driver reserves more memory than any sensible limit.

    Returns:
        The fields of `Verified`.

    Raises:
        BundleRefusedError: with the reason.
    """
    import numpy as np  # noqa: PLC0415

    from base.errors import BundleRefusedError  # noqa: PLC0415
    from models.backend import open_backend  # noqa: PLC0415
    from models.bundle import load_bundle  # noqa: PLC0415

    bundle = load_bundle(folder)
    golden = bundle.golden
    backend = open_backend(bundle, "cpu", threads=1, compiled=False)
    _prove_rows(backend, golden, bundle.model.TOLERANCE, str(folder))
    if not np.isfinite(backend.contributions(golden.vectors[:_EXPLAINED])).all():
        raise BundleRefusedError(f"{folder}: its scores cannot be explained; train it again")
    verified_on = "cpu"
    if device != "cpu":
        lift()
        verified_on = _prove_on_gpu(bundle, device)
    return {
        "name": bundle.name,
        "version": bundle.version,
        "features": [feature.model_dump() for feature in bundle.features],
        "sums": bundle.sums,
        "device": verified_on,
    }


def _prove_rows(backend: Backend, golden: Golden, tolerance: float, where: str) -> None:
    """Check that margins are the golden ones, with the same bits in any batch.

    Many rows are scored by other code than one; in it, neighbours and places must not matter.
    """
    import numpy as np  # noqa: PLC0415

    from models.bundle.golden import Golden, check_margins  # noqa: PLC0415

    vectors = golden.vectors
    alone = np.concatenate([backend.margins(row[np.newaxis]) for row in vectors])
    check_margins(alone, golden, f"{where}: each vector alone", tolerance)
    times = math.ceil(_MANY_ROWS / len(vectors))
    order = np.random.default_rng(0).permuted(np.tile(np.arange(len(vectors)), (times, 1)), axis=1)
    many = backend.margins(vectors[order.ravel()]).reshape(times, -1)
    for rows, margins in zip(order, many, strict=True):
        own = Golden(vectors[rows], alone[rows])
        check_margins(margins, own, f"{where}: each vector among many")


def save(path: Path, saved: Path) -> dict[str, Any]:
    """Load a model file, validate it, and save it.

    Args:
        path: The model file.
        saved: The file to write.

    Returns:
        The fields of `SavedModel`.

    Raises:
        BundleRefusedError: with the reason.
    """
    from models.bundle.pack import checked_model, read_model  # noqa: PLC0415

    model = read_model(path)
    content = bytes(model.booster.save_raw("ubj"))
    checked_model(content, str(path))
    saved.write_bytes(content)
    return {"categories": model.categories, "was_dart": model.was_dart}


def reduce(path: Path, folder: Path) -> dict[str, Any]:
    """Reduce a model file in ONNX to its score, as `models.bundle.pack_onnx` requests.

    Args:
        path: The model file.
        folder: Folder with the request, where the files are written.

    Raises:
        BundleRefusedError: with the reason.
    """
    from models.bundle.reduce_onnx import reduce_onnx  # noqa: PLC0415

    return reduce_onnx(path, folder)


def _prove_on_gpu(bundle: Bundle, device: str) -> str:
    from models.backend import open_backend  # noqa: PLC0415
    from models.bundle.golden import check_margins  # noqa: PLC0415

    backend = open_backend(bundle, "cuda" if device == "cuda" else "auto", threads=1)
    where = f"{bundle.path} on {backend.device}"
    tolerance = bundle.model.TOLERANCE
    if backend.device == "cuda":
        tolerance = max(tolerance, CUDA_TOLERANCE)
    check_margins(backend.margins(bundle.golden.vectors), bundle.golden, where, tolerance)
    return backend.device


def _end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the parent's waiting thread ends."""
    if _LINUX:
        import ctypes  # noqa: PLC0415

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have ended before the call.
        if os.getppid() != parent:
            sys.exit(1)


def _bound_time(seconds: float) -> None:
    """Limit the CPU time, and the wall-clock time in case the parent is gone; both in seconds."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
    with contextlib.suppress(ImportError):
        import resource  # noqa: PLC0415  not on Windows

        cpu, (_, hard) = math.ceil(seconds), resource.getrlimit(resource.RLIMIT_CPU)
        if hard != resource.RLIM_INFINITY:
            cpu = min(cpu, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _bound_memory(more: int) -> Any:
    """Limit the address space to `more` bytes beyond those in use.

    Returns:
        A function that removes the limit.
    """
    if not _LINUX:
        return lambda: None
    import resource  # noqa: PLC0415

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = pages * resource.getpagesize() + more
    if hard != resource.RLIM_INFINITY:
        bound = min(bound, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _yield_to_others() -> None:
    """Give a worker that scores beside this process priority for CPU and memory.

    If memory runs out, the kernel kills this process first.
    """
    if hasattr(os, "nice"):
        os.nice(_NICE)
    if _LINUX:
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    main()
