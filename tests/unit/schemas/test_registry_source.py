"""Schemas from a registry behind a stand-in for its client, in time that a test lets pass."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast
from uuid import UUID

import pytest

from base.errors import DependencyUnavailableError, ErrorCode, NotInRegistryError, RecordError
from schemas.avro.types import Type
from schemas.registry.client import RegistryClient
from schemas.registry.framing import SchemaId
from schemas.registry.registry_source import RegistrySchemaSource
from tests.support.fakes import Clock

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
EVENT = json.dumps({"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"}]})
AWAY = DependencyUnavailableError("no answer")
GIVE_UP_S = 600.0


class Client:
    """Answers at once, or after ``cost_s`` of the clock's time; unknown is what has no answer.

    ``away``: all requests fail.
    """

    address = "http://registry:8081"
    timeout_s = 5.0

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answers: dict[str, dict[str, Any] | Exception] = {}
        self.asked: list[str] = []
        self.cost_s = 0.0
        self.away = False

    def ask_together(
        self, keys: Iterable[Any], fetch: Callable[[Any, Any], Awaitable[Any]], seconds: float
    ) -> dict[Any, Any]:
        ends = self.clock.now + seconds
        results: dict[Any, Any] = {}
        for key in keys:
            if self.clock.now + self.cost_s > ends:
                break
            self.clock.now += self.cost_s
            try:
                cast("Any", fetch(self, key)).send(None)
            except StopIteration as end:
                results[key] = end.value
            except (NotInRegistryError, DependencyUnavailableError) as error:
                results[key] = error
        return results

    async def ask(self, _: str, path: str, read: Callable[[Any], Any]) -> Any:
        self.asked.append(path)
        found = AWAY if self.away else self.answers.get(path)
        if found is None:
            raise NotInRegistryError("not found (error code 40403)")
        if isinstance(found, Exception):
            raise found
        return read(found)

    def count(self, schema_id: SchemaId) -> int:
        form = "guids" if isinstance(schema_id, UUID) else "ids"
        return self.asked.count(f"schemas/{form}/{schema_id}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Client:
    made = Client(clock)
    made.answers["schemas/ids/1"] = {"schema": EVENT}
    return made


@pytest.fixture
def registry(client: Client, clock: Clock) -> RegistrySchemaSource:
    return RegistrySchemaSource(
        cast("RegistryClient", client), give_up_s=GIVE_UP_S, clock=clock, pause=clock.sleep
    )


def get(registry: RegistrySchemaSource, schema_id: SchemaId) -> Type | RecordError:
    return registry.get_all([schema_id])[schema_id]


def code_of(found: Type | RecordError) -> ErrorCode:
    assert isinstance(found, RecordError)
    return found.code


def turns(
    registry: RegistrySchemaSource,
    clock: Clock,
    *schema_ids: SchemaId,
    bound_s: float = 3 * GIVE_UP_S,
) -> float:
    """The seconds for which a loop that waits 2 s at each failure waits for the ids."""
    began = clock.now
    while clock.now - began < bound_s:
        try:
            registry.get_all(schema_ids)
        except DependencyUnavailableError:
            clock.now += 2.0
        else:
            return clock.now - began
    return float("inf")


# What is known, and what is not


def test_a_schema_is_fetched_once_by_id_or_guid(
    registry: RegistrySchemaSource, client: Client
) -> None:
    client.answers[f"schemas/guids/{GUID}"] = client.answers["schemas/ids/1"]
    for _ in range(3):
        found = registry.get_all([1, GUID])
        assert all(isinstance(found[schema_id], Type) for schema_id in (1, GUID))
    assert sorted(client.asked) == [f"schemas/guids/{GUID}", "schemas/ids/1"]


def test_a_fresh_unknown_id_is_asked_again_for_a_few_seconds(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    began = clock.now
    assert code_of(get(registry, 9)) is ErrorCode.SCHEMA_UNKNOWN
    assert 3.0 <= clock.now - began < 5.0
    assert client.count(9) > 3


def test_fresh_unknown_ids_wait_together(registry: RegistrySchemaSource, clock: Clock) -> None:
    began = clock.now
    found = registry.get_all(range(100, 200))
    assert {code_of(error) for error in found.values()} == {ErrorCode.SCHEMA_UNKNOWN}
    assert clock.now - began < 5.0


def test_an_unknown_id_is_asked_for_again_after_a_minute_and_waits_no_second_time(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 9)
    asked = client.count(9)
    clock.now += 59
    assert code_of(get(registry, 9)) is ErrorCode.SCHEMA_UNKNOWN
    assert client.count(9) == asked
    clock.now += 2
    began = clock.now
    assert code_of(get(registry, 9)) is ErrorCode.SCHEMA_UNKNOWN
    assert (client.count(9), clock.now) == (asked + 1, began)
    client.answers["schemas/ids/9"] = client.answers["schemas/ids/1"]
    clock.now += 61
    assert isinstance(get(registry, 9), Type)


def test_an_id_that_no_registry_gives_is_not_asked_for(
    registry: RegistrySchemaSource, client: Client
) -> None:
    found = registry.get_all([2**31, None])
    assert {code_of(error) for error in found.values()} == {ErrorCode.SCHEMA_UNKNOWN}
    assert client.asked == []


@pytest.mark.parametrize("ids", [4_000, 11_000])
def test_a_flood_of_unknown_ids_comes_to_an_end_in_short_calls(
    ids: int, registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    # Eight at a time, 70 ms each.
    client.cost_s = 0.07 / 8
    longest = 0.0
    while True:
        at = clock.now
        try:
            registry.get_all(range(100, 100 + ids))
        except DependencyUnavailableError as error:
            assert "schemas answered within" in str(error)  # noqa: PT017 - others are not expected
            longest = max(longest, clock.now - at)
            clock.now += 2.0
        else:
            break
    assert longest < 7.0
    assert len(client.asked) < 2.2 * ids
    assert len(registry._doubted) <= max(ids, 10_000)
    get(registry, 1)
    assert len(registry._doubted) <= 10_000


# Registries that are away


def test_a_registry_that_is_away_is_no_fault_of_the_record(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 1)
    client.away = True
    assert turns(registry, clock, 2) == float("inf"), "for longer than give_up_s"
    assert isinstance(get(registry, 1), Type), "what is known needs no registry"
    client.away = False
    client.answers["schemas/ids/2"] = client.answers["schemas/ids/1"]
    assert isinstance(get(registry, 2), Type)


def test_an_id_that_alone_has_no_answer_is_given_up(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 1)
    client.answers["schemas/ids/2"] = AWAY
    assert turns(registry, clock, 2) == pytest.approx(GIVE_UP_S, abs=5.0)
    found = get(registry, 2)
    assert code_of(found) is ErrorCode.SCHEMA_UNANSWERED
    assert isinstance(found, RecordError)
    assert "no answer" in found.message


def test_an_id_that_was_given_up_is_asked_for_again_and_waits_no_second_time(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 1)
    client.answers["schemas/ids/2"] = AWAY
    turns(registry, clock, 2)
    asked = client.count(2)
    get(registry, 2)
    assert client.count(2) == asked
    clock.now += 61
    assert code_of(get(registry, 2)) is ErrorCode.SCHEMA_UNANSWERED
    assert client.count(2) == asked + 1
    client.answers["schemas/ids/2"] = client.answers["schemas/ids/1"]
    clock.now += 61
    assert isinstance(get(registry, 2), Type)


def test_without_an_id_that_the_registry_is_known_to_have_the_wait_has_no_end(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    client.answers["schemas/ids/2"] = AWAY
    assert turns(registry, clock, 2) == float("inf")


@pytest.mark.parametrize("instead", [AWAY, NotInRegistryError("another registry")])
def test_a_registry_that_does_not_answer_for_what_it_has_counts_against_no_id(
    instead: Exception, registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 1)
    client.answers |= {"schemas/ids/1": instead, "schemas/ids/2": AWAY}
    assert turns(registry, clock, 2) == float("inf")


def test_time_in_which_the_registry_was_away_does_not_count(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 1)
    client.answers["schemas/ids/2"] = AWAY
    assert turns(registry, clock, 2, bound_s=GIVE_UP_S / 2) == float("inf")
    client.away = True
    assert turns(registry, clock, 2, bound_s=10 * GIVE_UP_S) == float("inf")
    client.away = False
    assert turns(registry, clock, 2) == pytest.approx(GIVE_UP_S / 2, abs=10.0)


def test_time_in_which_nobody_asked_does_not_count(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 1)
    client.answers["schemas/ids/2"] = AWAY
    assert turns(registry, clock, 2, bound_s=10.0) == float("inf")
    clock.now += 10 * GIVE_UP_S
    assert turns(registry, clock, 2) > GIVE_UP_S / 2


def test_ids_without_an_answer_wait_together(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 1)
    client.answers |= {f"schemas/ids/{n}": AWAY for n in range(2, 30)}
    assert turns(registry, clock, *range(1, 40)) == pytest.approx(GIVE_UP_S, abs=10.0)
    found = registry.get_all(range(1, 40))
    codes = {n: code_of(found[n]) for n in range(2, 40)}
    assert {codes[n] for n in range(2, 30)} == {ErrorCode.SCHEMA_UNANSWERED}
    assert {codes[n] for n in range(30, 40)} == {ErrorCode.SCHEMA_UNKNOWN}


def test_where_there_is_no_path_for_guids_one_of_them_waits_for_all(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    get(registry, 1)
    guids = [UUID(int=n) for n in range(4)]
    client.answers |= {f"schemas/guids/{guid}": AWAY for guid in guids}
    assert turns(registry, clock, guids[0]) > GIVE_UP_S / 2
    assert turns(registry, clock, *guids[:3]) < 5.0
    client.away = True
    assert turns(registry, clock, guids[3]) == float("inf"), "it is away as a whole"


def test_a_registry_that_knows_a_guid_has_a_path_for_them(
    registry: RegistrySchemaSource, client: Client, clock: Clock
) -> None:
    client.answers[f"schemas/guids/{GUID}"] = client.answers["schemas/ids/1"]
    get(registry, GUID)
    for guid in (UUID(int=1), UUID(int=2)):
        client.answers[f"schemas/guids/{guid}"] = AWAY
        assert turns(registry, clock, guid) > GIVE_UP_S / 2


# Schemas that are not read, and references


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            {"schema": '{"type": "object"}', "schemaType": "JSON"},
            "it is JSON Schema; only Avro is supported",
        ),
        ({"schema": '"bytes"', "schemaType": "AVRO"}, "top level is bytes"),
        ({"schema": '{"type": "wreckord", "name": "A"}'}, "wreckord"),
    ],
)
def test_a_registered_schema_that_is_not_read(
    registry: RegistrySchemaSource, client: Client, answer: dict[str, Any], reason: str
) -> None:
    client.answers["schemas/ids/2"] = answer
    for _ in range(2):
        found = get(registry, 2)
        assert code_of(found) is ErrorCode.SCHEMA_REFUSED
        assert isinstance(found, RecordError)
        assert reason in found.message
    assert client.count(2) == 1


def test_a_registered_schema_with_faults_that_reading_does_not_meet(
    registry: RegistrySchemaSource, client: Client
) -> None:
    node = {"type": "record", "name": "Node", "fields": [{"name": "n", "type": ["null", "Node"]}]}
    again = {"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 50}
    fields = [
        {"name": "n", "type": node, "default": 7},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["a-b"]}},
        {"name": "f", "type": again},
        {"name": "g", "type": {**again, "doc": "the same"}},
    ]
    event = {"type": "record", "name": "Event", "fields": fields}
    client.answers["schemas/ids/2"] = {"schema": json.dumps(["null", event])}
    found = get(registry, 2)
    assert isinstance(found, Type)
    assert [field.name for field in found.branches[1].fields] == ["n", "e", "f", "g"]


def refers(name: str, *others: str) -> dict[str, Any]:
    fields = [{"name": f"f{n}", "type": other} for n, other in enumerate(others)]
    schema = {"type": "record", "name": name, "fields": [*fields, {"name": "x", "type": "int"}]}
    references = [{"name": other, "subject": f"s-{other}", "version": 1} for other in others]
    return {"schema": json.dumps(schema), "references": references}


def version(name: str) -> str:
    return f"subjects/s-{name}/versions/1"


def test_references_are_resolved_each_once(registry: RegistrySchemaSource, client: Client) -> None:
    client.answers |= {
        "schemas/ids/2": refers("Top", "Left", "Right"),
        version("Left"): refers("Left", "Base"),
        version("Right"): refers("Right", "Base"),
        version("Base"): refers("Base"),
    }
    found = get(registry, 2)
    assert isinstance(found, Type)
    left, right, _ = found.fields
    assert left.type.fields[0].type.name == right.type.fields[0].type.name == "Base"
    assert client.asked.count(version("Base")) == 1


def test_references_in_a_circle_are_refused(registry: RegistrySchemaSource, client: Client) -> None:
    client.answers |= {
        "schemas/ids/2": refers("A", "B"),
        version("B"): refers("B", "C"),
        version("C"): refers("C", "B"),
    }
    assert code_of(get(registry, 2)) is ErrorCode.SCHEMA_REFUSED


def test_a_chain_of_references_is_bounded(registry: RegistrySchemaSource, client: Client) -> None:
    client.answers |= {version(f"R{n}"): refers(f"R{n}", f"R{n + 1}") for n in range(1_000)}
    client.answers["schemas/ids/2"] = refers("Top", "R0")
    found = get(registry, 2)
    assert code_of(found) is ErrorCode.SCHEMA_REFUSED
    assert isinstance(found, RecordError)
    assert "more than 200" in found.message


def test_references_go_on_where_an_outage_ended_them(
    registry: RegistrySchemaSource, client: Client
) -> None:
    client.answers |= {
        "schemas/ids/2": refers("Top", "Left", "Right"),
        version("Left"): refers("Left"),
        version("Right"): AWAY,
    }
    with pytest.raises(DependencyUnavailableError):
        get(registry, 2)
    client.answers[version("Right")] = refers("Right")
    assert isinstance(get(registry, 2), Type)
    assert client.asked.count(version("Left")) == client.count(2) == 1
