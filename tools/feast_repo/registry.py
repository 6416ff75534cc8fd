"""Feature views in a registry file of Feast, the protobuf message ``feast.core.Registry``.

Numbers of fields are those of Feast's protobuf definitions; unknown fields are skipped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from base.errors import MalformedError
from base.times import SECOND
from features.store.feast.protobuf_wire import fields

KNOWN_VERSION = "1"
_ENTITIES, _SCHEMA_VERSION, _VIEWS, _ON_DEMAND_VIEWS, _STREAM_VIEWS = 1, 3, 6, 8, 14
_SPEC = 1
_NAME, _PROJECT = 1, 2
_ENTITY_TYPE, _JOIN_KEY, _ENTITY_PROJECT = 2, 4, 9
_FEATURE_TYPE, _VECTOR_LENGTH = 2, 7
_DUMMY_ENTITY = "__dummy"
"""Feast's entity of views without one."""


@dataclass(frozen=True, slots=True)
class TypedName:
    """A feature or join key.

    Attributes:
        name: Its name.
        type: Its number in Feast's ``ValueType``.
        vector_length: Declared number of elements of an array; 0 without one.
    """

    name: str
    type: int
    vector_length: int = 0


@dataclass(frozen=True, slots=True)
class RegistryView:
    """A feature view.

    Attributes:
        name: Its name.
        join_keys: Join keys of its entities.
        features: Its features.
        ttl: Microseconds, 0 for no limit.
        online: True if Feast writes it to the online store.
    """

    name: str
    join_keys: tuple[TypedName, ...]
    features: tuple[TypedName, ...]
    ttl: int
    online: bool


@dataclass(frozen=True, slots=True)
class FeastRegistry:
    """Views of one project in a registry.

    Attributes:
        views: Feature views, those of streams behind the others.
        on_demand: Names of the views that Feast computes when it is asked.
    """

    views: tuple[RegistryView, ...]
    on_demand: tuple[str, ...]


def parse_registry(content: bytes, project: str) -> FeastRegistry:
    """Parse the content of a registry file.

    Args:
        content: The content.
        project: Project whose views are returned.

    Raises:
        MalformedError: It is no registry, or one of another version.
    """
    registry = _Message(content)
    version = registry.text(_SCHEMA_VERSION)
    if version != KNOWN_VERSION:
        raise MalformedError(
            f"its registry_schema_version is {version or 'missing'}, {KNOWN_VERSION} is known"
        )
    entities = {
        spec.text(_NAME): TypedName(
            spec.text(_JOIN_KEY) or spec.text(_NAME), spec.bits(_ENTITY_TYPE)
        )
        for spec in _specs(registry, _ENTITIES)
        if spec.text(_ENTITY_PROJECT) == project
    }
    views = [
        _view(spec, numbers, entities)
        for field, numbers in ((_VIEWS, _VIEW_FIELDS), (_STREAM_VIEWS, _STREAM_VIEW_FIELDS))
        for spec in _specs(registry, field)
        if spec.text(_PROJECT) == project
    ]
    on_demand = [
        spec.text(_NAME)
        for spec in _specs(registry, _ON_DEMAND_VIEWS)
        if spec.text(_PROJECT) == project
    ]
    return FeastRegistry(tuple(views), tuple(on_demand))


@dataclass(frozen=True, slots=True)
class _ViewFields:
    """Numbers of the fields that the messages of views number differently."""

    entity_columns: int
    ttl: int
    online: int
    entities: int = 3
    features: int = 4


_VIEW_FIELDS = _ViewFields(entity_columns=12, ttl=6, online=8)
_STREAM_VIEW_FIELDS = _ViewFields(entity_columns=5, ttl=9, online=12)


def _view(spec: _Message, numbers: _ViewFields, entities: Mapping[str, TypedName]) -> RegistryView:
    # Registries of earlier versions do not have the columns, which tell the types as well.
    join_keys = [_typed(column) for column in spec.messages(numbers.entity_columns)] or [
        entities.get(name, TypedName(name, 0)) for name in spec.texts(numbers.entities)
    ]
    if spec.texts(numbers.entities) == [_DUMMY_ENTITY]:
        join_keys = []
    keys = {key.name for key in join_keys}
    features = (_typed(feature) for feature in spec.messages(numbers.features))
    ttl = next(iter(spec.messages(numbers.ttl)), _Message(b""))
    return RegistryView(
        name=spec.text(_NAME),
        join_keys=tuple(join_keys),
        features=tuple(feature for feature in features if feature.name not in keys),
        ttl=ttl.bits(1) * SECOND + ttl.bits(2) // 1_000,
        online=bool(spec.bits(numbers.online)),
    )


def _typed(message: _Message) -> TypedName:
    return TypedName(message.text(_NAME), message.bits(_FEATURE_TYPE), message.bits(_VECTOR_LENGTH))


def _specs(registry: _Message, field: int) -> list[_Message]:
    """Specifications in the messages of a field of the registry."""
    return [spec for message in registry.messages(field) for spec in message.messages(_SPEC)]


class _Message:
    """Fields of a protobuf message, by number. Raises MalformedError if it is not valid."""

    def __init__(self, content: bytes) -> None:
        self._bits: dict[int, int] = {}
        self._parts: defaultdict[int, list[bytes]] = defaultdict(list)
        for field, _, bits, part in fields(content):
            self._bits[field] = bits
            self._parts[field].append(part)

    def bits(self, field: int) -> int:
        """The last number of a field, 0 without one."""
        return self._bits.get(field, 0)

    def text(self, field: int) -> str:
        """The last text of a field, "" without one."""
        return next(iter(self.texts(field)[-1:]), "")

    def texts(self, field: int) -> list[str]:
        try:
            return [part.decode() for part in self._parts[field]]
        except UnicodeDecodeError:
            raise MalformedError(f"field {field} is not text") from None

    def messages(self, field: int) -> list[_Message]:
        return [_Message(part) for part in self._parts[field]]
