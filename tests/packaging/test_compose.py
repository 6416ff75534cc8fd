"""docker-compose.yml against the Compose specification and the example that it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from features.definition import load_feature_set
from worker.settings import load_settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "handbook"
FILE = ROOT / "docker-compose.yml"
# The package carries the schema of the specification.
CHECK = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")


def services() -> dict[str, Any]:
    found = yaml.safe_load(FILE.read_text())["services"]
    assert isinstance(found, dict)
    return found


def follows_the_specification(path: Path) -> tuple[bool, str]:
    done = subprocess.run(
        [*CHECK, path],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout


def test_the_compose_file_follows_the_compose_specification(tmp_path: Path) -> None:
    holds, report = follows_the_specification(FILE)
    assert holds, report

    broken = tmp_path / "docker-compose.yml"
    broken.write_text(FILE.read_text().replace("depends_on:", "depend_on:"))
    holds, report = follows_the_specification(broken)
    assert not holds, "the check sees no misspelt name"
    assert "depend_on" in report


def test_every_lasting_service_has_a_health_check() -> None:
    lasting = {name: body for name, body in services().items() if body.get("restart") != "no"}
    assert set(lasting) == {"kafka", "valkey", "worker"}
    for name, body in lasting.items():
        assert "healthcheck" in body, name


def test_whoever_is_waited_for_can_be_waited_for() -> None:
    found = services()
    for body in found.values():
        for name, wait in body.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in found[name]
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert found[name]["restart"] == "no"


def test_ports_are_open_to_this_machine_only() -> None:
    for body in services().values():
        for port in body.get("ports", []):
            assert port.startswith("127.0.0.1:"), port


def test_images_are_pinned_by_tag() -> None:
    for name, body in services().items():
        if "build" not in body:
            assert re.search(r":\d+\.\d+", body["image"]), name


def test_the_worker_reads_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    found = services()
    for name, value in found["worker"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings(EXAMPLE)
    loop = re.search(r"for topic in (.*); do", found["topics"]["command"][0])
    assert loop
    kafka = settings.kafka
    assert set(loop[1].split()) == {
        kafka.input_topic,
        kafka.output_topic,
        kafka.dead_letter_topic,
    }
    grace_s = int(found["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > settings.delivery.drain_s


def test_whatever_the_example_points_to_is_mounted() -> None:
    worker = services()["worker"]
    inside = {}
    for volume in worker["volumes"]:
        source, target, mode = volume.split(":")
        assert mode == "ro"
        inside[(ROOT / source).resolve()] = Path(target)
    assert str(inside[EXAMPLE]) == worker["environment"]["FRAUD_WORKER_PIPELINE"]
    schema = load_feature_set(EXAMPLE / "features.yaml").schema_path.resolve()
    assert schema.is_file()
    # Both where they stand in the repository: features.yaml points there by a relative path.
    assert inside[schema].relative_to("/repository") == schema.relative_to(ROOT)
    assert inside[EXAMPLE].relative_to("/repository") == EXAMPLE.relative_to(ROOT)
