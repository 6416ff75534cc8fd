"""The lock files against pyproject.toml and each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted(path.name for path in (ROOT / "locks").iterdir())
# What stands in each lock, as extras; the project's own dependencies besides.
EXTRAS = {
    "cpu.txt": ["cpu", "embedded", "mlflow", "train", "onnx", "dev"],
    "gpu.txt": ["gpu", "embedded", "mlflow", "train", "onnx", "dev"],
    "run-cpu.txt": ["cpu"],
    "run-gpu.txt": ["gpu"],
    "run-cpu-onnx.txt": ["cpu", "onnx"],
    "run-gpu-onnx.txt": ["gpu", "onnx-gpu"],
}
LINUX = [
    {"sys_platform": "linux", "python_version": version, "python_full_version": f"{version}.1"}
    for version in ("3.11", "3.12", "3.13", "3.14")
]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def entries(name: str) -> list[str]:
    """One logical line a package: pin, marker and hashes."""
    text = (ROOT / "locks" / name).read_text().replace("\\\n", " ")
    return [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


def requirement_of(entry: str) -> Requirement:
    return Requirement(entry.split("--hash", maxsplit=1)[0].strip())


def pins(name: str, environment: dict[str, str]) -> dict[str, str]:
    """Version by package that the lock gives in ``environment``."""
    found: dict[str, str] = {}
    for entry in entries(name):
        requirement = requirement_of(entry)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            package = canonicalize_name(requirement.name)
            assert package not in found, f"{name} pins {package} twice for {environment}"
            found[package] = str(requirement.specifier).removeprefix("==")
    return found


def test_every_lock_is_known() -> None:
    others = {"build.txt", "mlflow.txt", "peers.txt", "torch.txt"}
    assert sorted({*EXTRAS, *others}) == LOCKS


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_pinned_with_hashes(name: str) -> None:
    for entry in entries(name):
        assert re.match(r"[\w.\[\]-]+==\S+ ", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_names_an_index(name: str) -> None:
    text = (ROOT / "locks" / name).read_text()
    assert not re.findall(r"https?:|file:|--(?:extra-)?index-url|--find-links|--trusted-host", text)


@pytest.mark.parametrize(
    "environment", LINUX, ids=lambda environment: environment["python_version"]
)
@pytest.mark.parametrize("name", EXTRAS)
def test_requirements_of_the_project_are_in_the_lock(
    name: str, environment: dict[str, str]
) -> None:
    project = pyproject()["project"]
    asked = list(project["dependencies"])
    for extra in EXTRAS[name]:
        asked += project["optional-dependencies"][extra]
    pinned = pins(name, environment)
    for requirement in map(Requirement, asked):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = pinned.get(canonicalize_name(requirement.name))
            assert version, f"{name} lacks {requirement}: run make lock"
            assert requirement.specifier.contains(version), f"{name} has {version}: run make lock"


@pytest.mark.parametrize(
    "environment", LINUX, ids=lambda environment: environment["python_version"]
)
def test_cpu_and_gpu_exclude_each_other(environment: dict[str, str]) -> None:
    for lock in ("cpu.txt", "run-cpu.txt", "run-cpu-onnx.txt"):
        assert "xgboost" not in pins(lock, environment)
    for lock in ("gpu.txt", "run-gpu.txt", "run-gpu-onnx.txt"):
        assert "xgboost-cpu" not in pins(lock, environment)


@pytest.mark.parametrize("name", LOCKS)
def test_a_package_has_one_version_whatever_the_python(name: str) -> None:
    versions: dict[str, set[str]] = {}
    for requirement in map(requirement_of, entries(name)):
        versions.setdefault(canonicalize_name(requirement.name), set()).add(
            str(requirement.specifier)
        )
    split = {package: sorted(found) for package, found in versions.items() if len(found) > 1}
    assert not split, f"{name}: remove them from it and run make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_only_backports_in_a_lock_depend_on_the_python_version(name: str) -> None:
    marked = {
        canonicalize_name(requirement.name)
        for requirement in map(requirement_of, entries(name))
        if re.search(r"\bpython_(full_)?version", str(requirement.marker or ""))
    }
    # asyncio.timeout as redis needs it, which 3.11.0 to 3.11.2 lack; zstandard for Avro files, which
    # Python has itself from 3.14 on; and a part of httpx2 for Python in a browser. PyTorch leaves parts
    # for a GPU out on Pythons to come.
    reasoned = {"async-timeout", "backports-zstd", "httpx2-jsfetch"}
    if name == "torch.txt":
        reasoned |= {"cuda-bindings", "cuda-pathfinder", "triton"}
    assert marked <= reasoned, "they differ by Python: say here why"


def test_the_peers_have_what_they_share_with_the_worker_in_its_version() -> None:
    theirs, ours = pins("peers.txt", LINUX[0]), pins("cpu.txt", LINUX[0])
    asked = (ROOT / "benchmarks" / "peers" / "requirements.in").read_text().splitlines()
    shared = {name for name in asked if name in ours}
    assert {"numpy", "xgboost-cpu", "fastavro"} <= shared
    assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}


def _cuda(pinned: dict[str, str]) -> set[str]:
    return {name for name in pinned if name.startswith(("cuda-", "nvidia-"))}


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize(
    "environment", LINUX, ids=lambda environment: environment["python_version"]
)
def test_the_image_runs_what_was_tested(device: str, environment: dict[str, str]) -> None:
    tested = pins(f"{device}.txt", environment)
    assert pins(f"run-{device}.txt", environment).items() <= tested.items()
    assert pins("build.txt", environment).items() <= tested.items()
    with_onnx = pins(f"run-{device}-onnx.txt", environment)
    # ONNX Runtime for a GPU is another package; the tests run that for the CPU.
    untested = set() if device == "cpu" else {"onnxruntime-gpu", *_cuda(with_onnx)}
    assert {n: v for n, v in with_onnx.items() if n not in untested}.items() <= tested.items()
