"""``features import-feast``: what it refuses, and messages of which Feast's own file has none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from base.errors import ConfigurationError, MalformedError
from tools.cli.features import app
from tools.feast_repo.lookups_yaml import lookups_yaml
from tools.feast_repo.registry import FeastRegistry, RegistryView, TypedName, parse_registry
from tools.feast_repo.repository import Repository, read_repository

REPO = Path(__file__).parents[2] / "golden" / "feast_repo"
CONTENT = (REPO / "data" / "registry.db").read_bytes()
REDIS = "online_store: {type: redis, connection_string: 'localhost:6379'}\n"
STORE = f"project: fraud\nregistry: data/registry.db\n{REDIS}"


def repo(folder: Path, text: str = STORE) -> Path:
    (folder / "data").mkdir()
    shutil.copy(REPO / "data" / "registry.db", folder / "data")
    (folder / "feature_store.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    "registry",
    [
        "data/registry.db",
        "{path: data/registry.db}",
        "{registry_type: file, path: data/registry.db, cache_ttl_seconds: 60}",
        "${FEAST_REGISTRY}",
    ],
)
def test_the_forms_of_a_registry(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEAST_REGISTRY", "data/registry.db")
    folder = repo(tmp_path, STORE.replace("data/registry.db", registry))
    assert len(read_repository(folder).registry.views) == 8


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("data/registry.db", "gone.db", r"gone\.db cannot be read: No such file"),
        ("data/registry.db", "s3://bucket/registry.db", "the registry is s3://bucket/registry.db"),
        ("data/registry.db", "{registry_type: sql, path: 'x://u'}", "the registry is of type sql"),
        ("data/registry.db", "{}", "the registry has no path"),
        ("data/registry.db", "feature_store.yaml", "is no registry file that this version knows"),
        ("type: redis", "type: sqlite", "the online store is sqlite, and the worker reads"),
        (REDIS, "online_store: dynamodb\n", "the online store is dynamodb"),
        (REDIS, "", "the online store is none"),
        ("type: redis", "redis_type: redis_cluster, type: redis", "is a Redis cluster"),
        (REDIS, f"{REDIS}entity_key_serialization_version: 2\n", "serialised in version 2"),
        ("project: fraud\n", "", "project is missing"),
    ],
)
def test_a_repository_that_cannot_be_read_is_refused(
    before: str, after: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_repository(repo(tmp_path, STORE.replace(before, after)))


@pytest.mark.parametrize("text", ["s3://bucket/registry.db", "{registry_type: sql, path: 'x'}"])
def test_a_registry_elsewhere_may_be_given_as_a_file(text: str, tmp_path: Path) -> None:
    folder = repo(tmp_path, STORE.replace("data/registry.db", text))
    with pytest.raises(ConfigurationError, match="name it: --registry"):
        read_repository(folder)
    assert len(read_repository(folder, folder / "data" / "registry.db").registry.views) == 8


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import-feast", str(tmp_path)])
    assert isinstance(result.exception, ConfigurationError)
    assert "name the folder of a Feast repository" in str(result.exception)


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message, with fewer than 128 bytes."""
    if isinstance(content, bytes):
        return bytes([number << 3 | 2, len(content)]) + content
    more = []
    while content >= 1 << 7:
        more.append(content & 0x7F | 0x80)
        content >>= 7
    return bytes([number << 3, *more, content])


def test_join_keys_of_views_that_have_only_names_of_entities() -> None:
    """Registries of earlier versions of Feast have no columns of entities in their views."""
    entity = b"".join([field(1, b"card"), field(2, 4), field(4, b"card_id"), field(9, b"p")])
    ttl = field(1, 1) + field(2, 500_000_000)
    feature = field(1, b"risk") + field(2, 5)
    view = [field(1, b"v"), field(2, b"p"), field(3, b"card"), field(4, feature), field(6, ttl)]
    registry = field(1, field(1, entity)) + field(6, field(1, b"".join([*view, field(8, 1)])))
    assert parse_registry(field(3, b"1") + registry, "p").views == (
        RegistryView("v", (TypedName("card_id", 4),), (TypedName("risk", 5),), 1_500_000, True),
    )


def test_another_version_of_registries_is_refused() -> None:
    assert CONTENT.count(b"\x1a\x011") == 1
    with pytest.raises(MalformedError, match="registry_schema_version is 2, 1 is known"):
        parse_registry(CONTENT.replace(b"\x1a\x011", b"\x1a\x012"), "fraud")


@given(st.integers(0, len(CONTENT) - 1), st.binary(min_size=0, max_size=4))
def test_a_damaged_registry_is_read_or_refused_and_nothing_else(place: int, other: bytes) -> None:
    try:
        registry = parse_registry(CONTENT[:place] + other + CONTENT[place + 1 :], "fraud")
        lookups_yaml(Repository("fraud", registry, "localhost:6379", "redis", False), [])
    except MalformedError:
        pass


def text_of(*views: RegistryView, **other: object) -> str:
    settings = {"connection": "localhost:6379", "redis_type": "redis", "versioned": False, **other}
    return lookups_yaml(Repository("p", FeastRegistry(views, ()), **settings), [])  # type: ignore[arg-type]


def view(name: str, *features: str, key_type: int = 2, ttl: int = 0) -> RegistryView:
    typed = tuple(TypedName(feature, 5) for feature in features)
    return RegistryView(name, (TypedName("card", key_type),), typed, ttl, online=True)


def test_a_view_with_more_values_than_a_lookup_has() -> None:
    text = text_of(view("wide", *(f"f{number}" for number in range(258))))
    assert "      f255:" in text
    assert "      # f256:" in text
    assert text.count("a lookup has at most 256 values") == 2


def test_names_that_a_lookup_cannot_have() -> None:
    text = text_of(view("card-risk v2", "risk"))
    assert "  card_risk_v2:\n" in text
    assert 'feature_view: "card-risk v2"' in text


def test_a_key_of_another_type() -> None:
    assert "join key card is of type 8: no text and no whole number" in text_of(
        view("v", "x", key_type=8)
    )
    assert "lookups: {}" in text_of(view("v", "x", key_type=8))


@pytest.mark.parametrize(("ttl", "max_age"), [(1, "1s"), (1_500_000, "2s"), (7_200_000_000, "2h")])
def test_a_ttl_in_whole_seconds(ttl: int, max_age: str) -> None:
    assert f"max_age: {max_age} " in text_of(view("v", "x", ttl=ttl))


def test_hints_for_the_store() -> None:
    assert "#   url: redis://localhost:6379\n" in text_of(view("v", "x"))
    assert "name that of the server itself" in text_of(view("v", "x"), redis_type="redis_sentinel")
    text = text_of(view("v", "x"), connection="r:1,username=ann,db=0")
    assert "#   url: redis://r:1\n#   username: ann\n" in text


def test_versions_of_online_views_are_told() -> None:
    assert "calls version N of it NAME_vN" in text_of(view("v", "x"), versioned=True)
