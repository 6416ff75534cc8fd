"""YAML files: what is read, what is refused at its place, and how much work a file may make."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError
from base.yaml_document import MAX_BYTES, YamlDocument
from base.yaml_reader import MAX_DEPTH
from features.definition.event_fields import SchemaFields


def parse(text: str) -> dict[str, Any]:
    return YamlDocument(Path("f.yaml"), text).values


REFUSED = {
    "flow nesting": ("a: " + "[" * 500 + "]" * 500, f"1:{4 + MAX_DEPTH - 1}", "nested more than"),
    "open nesting": ("a: " + "[" * 200_000, f"1:{4 + MAX_DEPTH - 1}", "nested more than"),
    "mappings": ("{a: " * 500, f"1:{4 * MAX_DEPTH + 1}", "nested more than"),
    "block nesting": ("".join(f"{' ' * i}a:\n" for i in range(500)), "101:101", "nested more than"),
    "long integer": ("a: 1\nb: " + "9" * 5000, "2:4", "whole number beyond 64 bits"),
    "integer of 65 bits": ("a: 9223372036854775808", "1:4", "whole number beyond 64 bits"),
    "small integer": ("a: -9223372036854775809", "1:4", "whole number beyond 64 bits"),
    "long float": ("a: " + "9" * 5000 + ".0", "1:4", "number beyond 64-bit floats"),
    "leading zeros": ("a: " + "0" * 5000 + "7", "1:4", "whole number beyond 64 bits"),
    "large exponent": ("a: -1e999", "1:4", "number beyond 64-bit floats"),
    "tag int": ("a: !!int 0x10", "1:4", "the tag !!int"),
    "tag float": ("a: !!float x", "1:4", "the tag !!float"),
    "tag str": ("a:\n- !!str 1", "2:3", "the tag !!str"),
    "tag null": ("a: !!null", "1:4", "the tag !!null"),
    "tag set": ("a: !!set {b}", "1:4", "the tag !!set"),
    "tag omap": ("a: !!omap [b: c]", "1:4", "the tag !!omap"),
    "tag binary": ("a: !!binary eA==", "1:4", "the tag !!binary"),
    "tag map": ("!!map {a: b}", "1:1", "the tag !!map"),
    "tag of a key": ("!!str a: b", "1:1", "the tag !!str"),
    "tag python": ("a: !!python/object/apply:os.system [ls]", "1:4", "the tag !!python/object"),
    "tag of its own": ("a: !mine b", "1:4", "the tag !mine"),
    "tag of none": ("a: ! b", "1:4", "the tag !"),
    "tag by address": ("a: !<tag:yaml.org,2002:int> 1", "1:4", "the tag !!int"),
    "tag by directive": ("%TAG !e! tag:x,2000:\n---\na: !e!b c", "3:4", "the tag tag:x,2000:b"),
    "lone surrogate": ('a: "\\ud800"', "1:7", "not valid YAML: found invalid Unicode"),
    "escaped NUL": ('a: "\\0"', "1:4", "U+0000, which is not text"),
    "escaped NUL in a key": ('"\\0": a', "1:1", "U+0000, which is not text"),
    "NUL": ("a: b\0", "1:5", "U+0000 is not text"),
    "control character": ("a: b\nc: \x1b[0m", "2:4", "U+001B is not text"),
    "surrogate": ("a: \ud800", "1:4", "U+D800 is not text"),
    "alias": ("a: &x b\nc: *x", "2:4", "aliases are not supported"),
    "alias within itself": ("a: &x [*x]", "1:8", "aliases are not supported"),
    "merge key": ("a: &x {b: c}\nd: {<<: *x}", "2:9", "aliases are not supported"),
    "alias as a key": ("*x : b", "1:1", "a key must be a plain word"),
    "list as a key": ("? [a]\n: b", "1:3", "a key must be a plain word"),
    "key twice": ('a: 1\n"a": 2', "2:1", "'a' appears twice"),
    "two documents": ("a: 1\n---\nb: 2", "2:1", "a second document begins here"),
    "tab": ("a:\n\tb: 1", "2:1", "not valid YAML"),
    "other version": ("%YAML 2.0\n---\na: b", "1:1", "not valid YAML"),
    "open bracket": ("a: [", "2:1", "not valid YAML"),
    "open quote": ("a: 'b", "1:6", "not valid YAML"),
    "empty": ("", "1:1", "expected a mapping"),
    "comment": ("# nothing\n", "1:1", "expected a mapping"),
    "list": ("- a", "1:1", "expected a mapping"),
    "word": ("a", "1:1", "expected a mapping"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_text_is_refused_at_its_place(name: str) -> None:
    text, place, message = REFUSED[name]
    if name == "open quote":
        place = place[:2]
    with pytest.raises(ConfigurationError) as refusal:
        parse(text)
    assert str(refusal.value).startswith(f"f.yaml:{place}")
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_aliases_do_not_multiply() -> None:
    """A billion laughs: ten lists of ten, each of the one before."""
    text = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    with pytest.raises(ConfigurationError, match=r"f\.yaml:2:10: aliases"):
        parse(text)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"),
        ("12:30", "12:30"),
        ("010", 10),
        ("0x10", "0x10"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("+1", 1),
        ("-1.5e3", -1500.0),
        ("1e3", 1000.0),
        ("9223372036854775807", 2**63 - 1),
        (".inf", float("inf")),
        ("-.Inf", float("-inf")),
        ("", None),
        ("~", None),
        ("true", True),
        ("yes", "yes"),
        ("'1'", "1"),
        ('"null"', "null"),
        ('"\\u00e9\\n\\t\\U0001F600"', "\u00e9\n\t\U0001f600"),
        ("=", "="),
        ("<<", "<<"),
        ("1.2.3", "1.2.3"),
        (".", "."),
        ("-", "-"),
    ],
)
def test_scalars_are_read_by_the_core_schema(written: str, value: object) -> None:
    if written == "-":
        written = "'-'"
    (read,) = parse(f"a: {written}").values()
    assert (type(read), read) == (type(value), value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text("ab:#- \u00e9"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner),
        max_leaves=20,
    )
)
def test_json_is_read_as_it_is(value: object) -> None:
    import json  # noqa: PLC0415

    assert parse(json.dumps({"a": value}, ensure_ascii=False)) == {"a": value}


@given(st.text("ab:- \n\t[]{}'\"\\\\!&*?|>%@`#,~0123.e\0\ud800\ufeff\x85", max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse(text)
    except ConfigurationError as error:
        path, line, column, _ = str(error).split(":", 3)
        assert (path, int(line) > 0, int(column) > 0) == ("f.yaml", True, True)


def calls(text: str) -> int:
    """Function calls that reading ``text`` takes."""
    count = 0

    def counted(_frame: FrameType, _event: str, _argument: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(counted)
    try:
        parse(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "lines",
    ["- item-{n}", "- {n}", "- {{a: {n}}}", "- [{n}]"],
    ids=["text", "numbers", "maps", "lists"],
)
def test_the_work_grows_with_the_length_of_a_list(lines: str) -> None:
    short, long = (
        calls("a:\n" + "".join(lines.format(n=n) + "\n" for n in range(size)))
        for size in (1_000, 4_000)
    )
    assert long < 4.1 * short
    assert long / 4_000 < 100


def test_a_refusal_in_a_long_list_names_its_line() -> None:
    document = YamlDocument(Path("f.yaml"), "a:\n" + "- x\n" * 200_000)
    assert "f.yaml:200001:3: no" in str(document.refuse(("a", 199_999), "no"))
    assert "f.yaml:2:1: no" in str(document.refuse_key(("a", 200_000), "no"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: \xff", ":1:4: cannot be read: it is not UTF-8 text"),
        (b"a: b\nc: d\xe9\n", ":2:5: cannot be read: it is not UTF-8 text"),
        ("a: b".encode("utf-16"), ":1:1: cannot be read: it is not UTF-8 text"),
        ("a: b".encode("utf-16-le"), ":1:2: the character U+0000"),
        (b"a: b # " + b"x" * MAX_BYTES, ": is larger than 8,388,608 bytes"),
    ],
)
def test_a_file_that_is_no_text_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as refusal:
        YamlDocument.read(path)
    assert str(refusal.value).startswith(f"{path}{told}")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: b\r\n")
    document = YamlDocument.read(path)
    assert document.values == {"a": "b"}
    assert ":1:4: no" in str(document.refuse(("a",), "no"))


def test_a_yaml_path_that_is_no_regular_file_is_refused_and_never_waited_for(
    tmp_path: Path,
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path(os.devnull)):
        with pytest.raises(ConfigurationError, match="not a regular file"):
            YamlDocument.read(path)
    with pytest.raises(ConfigurationError, match="No such file"):
        YamlDocument.read(tmp_path / "absent")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"type": ' + "9" * 5000 + "}", '{"type": "\\ud800"}']
)
def test_a_hostile_schema_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "event.avsc"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"schema .*event\.avsc"):
        SchemaFields.read(path)
