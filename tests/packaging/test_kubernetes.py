"""k8s against the schemas of Kubernetes, the restricted pod standard and the worker."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from features.definition import load_feature_set
from models.policy import load_policy
from worker.settings import load_settings

ROOT = Path(__file__).parents[2]
BASE = ROOT / "k8s" / "base"
CHALLENGER = ROOT / "k8s" / "challenger"
OLDEST = "1.30"
SCHEMA = "transaction.avsc"

Manifest = dict[str, Any]


def kustomization(folder: Path = BASE) -> Manifest:
    found = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert isinstance(found, dict)
    return found


def manifests() -> dict[str, Manifest]:
    """The resources of the base by kind, with the labels and selectors that kustomize adds."""
    (labels,) = (entry["pairs"] for entry in kustomization()["labels"])
    found: dict[str, Manifest] = {}
    for name in kustomization()["resources"]:
        for document in yaml.safe_load_all((BASE / name).read_text()):
            assert document["kind"] not in found
            found[document["kind"]] = document
    found["Deployment"]["spec"]["selector"] = {"matchLabels": labels}
    found["Deployment"]["spec"]["template"]["metadata"] = {"labels": labels}
    return found


def pod() -> Manifest:
    spec = manifests()["Deployment"]["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def container() -> Manifest:
    (only,) = pod()["containers"]
    assert isinstance(only, dict)
    return only


def built(folder: Path) -> list[Manifest]:
    """What kustomize makes of it, each by the schema; skips where there is no kustomize."""
    tool = shutil.which("kustomize") or shutil.which("kubectl")
    if tool is None:
        pytest.skip("neither kustomize nor kubectl is on this machine")
    command = [tool, "build"] if Path(tool).name == "kustomize" else [tool, "kustomize"]
    made = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    documents = list(yaml.safe_load_all(made.stdout))
    for document in documents:
        kubernetes_validate.validate(document, OLDEST, strict=True)
    return documents


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("kind", manifests())
def test_every_manifest_follows_the_schema(kind: str, version: str) -> None:
    kubernetes_validate.validate(manifests()[kind], version, strict=True)


def test_the_schema_check_sees_a_misspelt_field() -> None:
    deployment = manifests()["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(deployment, OLDEST, strict=True)


@pytest.mark.parametrize("folder", [BASE, CHALLENGER], ids=lambda folder: folder.name)
def test_the_kustomization_names_every_file_and_no_other(folder: Path) -> None:
    named = {name for name in kustomization(folder)["resources"] if name != "../base"}
    for generator in kustomization(folder)["configMapGenerator"]:
        named |= set(generator["files"])
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert named == there - {"kustomization.yaml"}


def test_kustomize_builds_the_manifests() -> None:
    documents = built(BASE)
    found = {document["kind"]: document for document in documents}
    assert found.keys() == manifests().keys() | {"ConfigMap"}
    maps = {d["metadata"]["name"]: d for d in documents if d["kind"] == "ConfigMap"}
    mounted = {
        volume["name"]: volume["configMap"]["name"]
        for volume in found["Deployment"]["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    }
    assert set(mounted.values()) == maps.keys()
    generators = kustomization()["configMapGenerator"]
    for name, generator in zip(("pipeline", "policy"), generators, strict=True):
        files = {Path(file).name for file in generator["files"]}
        assert maps[mounted[name]]["data"].keys() == files
    # What running workers follow keeps its name; what they read at the start rolls out.
    assert mounted["policy"] == "fraud-worker-policy"
    assert mounted["pipeline"].startswith("fraud-worker-pipeline-")
    selector = found["Deployment"]["spec"]["selector"]
    assert found["PodDisruptionBudget"]["spec"]["selector"] == selector
    assert found["Service"]["spec"]["selector"] == selector["matchLabels"]


def test_the_disruption_budget_covers_the_workers() -> None:
    found = manifests()
    assert (
        found["PodDisruptionBudget"]["spec"]["selector"] == found["Deployment"]["spec"]["selector"]
    )


def test_the_namespace_enforces_restricted_pods() -> None:
    labels = manifests()["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_pod_meets_the_restricted_standard() -> None:
    spec, own = pod(), container()["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
    kinds = {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}}
    assert kinds <= {"configMap", "secret", "persistentVolumeClaim", "emptyDir"}


def test_the_pod_is_narrower_than_the_standard_asks() -> None:
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod()["automountServiceAccountToken"] is False
    writable = {
        mount["name"] for mount in container()["volumeMounts"] if not mount.get("readOnly", False)
    }
    assert writable == {"tmp"}


def test_no_variable_of_kubernetes_looks_like_a_setting() -> None:
    # A Service named fraud-worker would set FRAUD_WORKER_PORT, which the worker refuses.
    assert pod()["enableServiceLinks"] is False


def test_probes_ask_the_workers_own_addresses() -> None:
    own = container()
    paths = {name: probe["httpGet"]["path"] for name, probe in own.items() if "Probe" in name}
    assert paths == {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    (port,) = own["ports"]
    assert all(own[name]["httpGet"]["port"] == port["name"] for name in paths)
    assert port["containerPort"] == load_settings(BASE / "pipeline").http.port


def test_replicas_have_names_of_their_own() -> None:
    variables = {variable["name"]: variable for variable in container()["env"]}
    replica = variables["FRAUD_WORKER_REPLICA"]["valueFrom"]
    assert replica == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_secrets_are_files() -> None:
    assert all(
        "secretKeyRef" not in variable.get("valueFrom", {}) for variable in container()["env"]
    )
    assert "envFrom" not in container()


def test_the_image_is_the_one_that_is_built() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    (image,) = kustomization()["images"]
    assert (container()["image"], version) == (image["name"], image["newTag"])
    user = pod()["securityContext"]["runAsUser"]
    assert f"\nUSER {user}:" in (ROOT / "Dockerfile").read_text()


def test_the_worker_accepts_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in container()["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "fraud-worker-0"))
    settings = load_settings(BASE / "pipeline")
    load_policy(settings.policy)
    feature_set = load_feature_set(settings.features)
    assert feature_set.schema_path.name == SCHEMA
    assert settings.replica == "fraud-worker-0"
    assert pod()["terminationGracePeriodSeconds"] > settings.delivery.drain_s
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"]}
    assert settings.store
    assert settings.registry
    outside = (settings.kafka.password_file, settings.store.password_file)
    for path in outside:
        assert path
        assert path.parent.as_posix() in mounts
    assert str(settings.model.location) in mounts
    inside = settings.policy.resolve().relative_to(BASE)
    assert f"/{inside.parent}" in mounts


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("pipeline/features.yaml", "examples/handbook/features.yaml"),
        ("policy/policy.yaml", "examples/handbook/policy.yaml"),
        ("../challenger/policy/policy.yaml", "examples/handbook/policy.yaml"),
        (f"pipeline/{SCHEMA}", "schemas/transaction.avsc"),
    ],
)
def test_the_pipeline_is_the_example(name: str, original: str) -> None:
    # kustomize reads no file outside its folder, so the base holds copies, side by side.
    expected = (ROOT / original).read_text().replace("../../schemas/transaction.avsc", SCHEMA)
    assert (BASE / name).read_text() == expected, f"copy {original} anew"


def _settings(folder: Path) -> dict[str, Any]:
    """The settings of a pipeline by dotted name."""
    found: dict[str, Any] = {}

    def flatten(prefix: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                flatten(f"{prefix}{name}.", value)
            else:
                found[prefix + name] = value

    flatten("", yaml.safe_load((folder / "pipeline" / "worker.yaml").read_text()))
    return found


def test_a_challenger_differs_in_what_keeps_it_apart_and_in_nothing_else() -> None:
    own, other = _settings(BASE), _settings(CHALLENGER)
    apart = {name for name in own.keys() | other.keys() if own.get(name) != other.get(name)}
    assert apart == {
        "kafka.group",
        "kafka.output_topic",
        "kafka.dead_letter_topic",
        "store.state",
        "model.location",
    }
    champion, challenger = (load_settings(folder / "pipeline") for folder in (BASE, CHALLENGER))
    assert champion.state_name != challenger.state_name
    assert load_policy(challenger.policy).default == load_policy(champion.policy).default
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"]}
    assert isinstance(challenger.model.location, Path)
    assert str(challenger.model.location.parent) in mounts


def test_a_challenger_stands_beside_the_champion() -> None:
    own, other = (
        {(d["kind"], d["metadata"]["name"]): d for d in built(folder)}
        for folder in (BASE, CHALLENGER)
    )
    # Applied or deleted, it touches nothing of the champion's, its namespace least of all.
    assert not own.keys() & other.keys()
    assert {kind for kind, _ in own} - {kind for kind, _ in other} == {"Namespace"}
    assert {d["metadata"]["namespace"] for d in other.values()} == {"fraud-worker"}
    maps = {name: d["data"] for (kind, name), d in other.items() if kind == "ConfigMap"}
    assert maps["fraud-worker-policy-challenger"].keys() == {"policy.yaml"}
    (pipeline,) = (d for name, d in maps.items() if name.startswith("fraud-worker-pipeline-"))
    assert pipeline["worker.yaml"] == (CHALLENGER / "pipeline" / "worker.yaml").read_text()
    assert pipeline["features.yaml"] == (BASE / "pipeline" / "features.yaml").read_text()


def test_nothing_of_a_challenger_selects_the_champions_pods() -> None:
    own, other = ({d["kind"]: d for d in built(folder)} for folder in (BASE, CHALLENGER))
    labels = own["Deployment"]["spec"]["template"]["metadata"]["labels"]
    spec = other["Deployment"]["spec"]
    selectors = [
        spec["selector"]["matchLabels"],
        other["Service"]["spec"]["selector"],
        other["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in spec["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector.items() <= spec["template"]["metadata"]["labels"].items()
        assert not selector.items() <= labels.items()
