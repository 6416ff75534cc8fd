"""Addresses in messages: what is shown of them, and that no secret is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.address import mask_addresses, shown_address

NOISE = st.text("ab1@/:?#%&=+ .,;'\"()<>[]{}\\\\|~-_\u00e9", max_size=8)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://host:8081/a/b", "http://host:8081/a/b"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("http://a:1,http://b:2", "http://a:1,http://b:2"),
        ("http://TOKEN@host", "http://***@host"),
        ("http://me:TOKEN@host:1/a", "http://***@host:1/a"),
        ("http://@host", "http://***@host"),
        ("redis://host?db=1", "redis://host?***"),
        ("redis://host/0?ssl_password=TOKEN#x", "redis://host/0?***"),
        ("http://host#TOKEN", "http://host?***"),
        ("redis://:a/b@host", "redis://***"),
        ("redis://:a?b@host", "redis://***"),
        ("redis://:a@b@host", "redis://***@host"),
        ("redis://:TOKEN", "redis://***"),
        ("http://host/p?x=a@b", "http://***"),
        ("http://TOKEN%40host", "http://***"),
        ("http://host/a%3Fapikey=TOKEN", "http://host/***"),
        ("http://host;TOKEN/a", "http://***"),
        ("http://a:1,http://me:TOKEN@b:2", "http://***"),
        ("http:\\\\TOKEN@host", "***"),
        ("http:/TOKEN@host", "http:/***@host"),
    ],
)
def test_an_address_is_shown_without_user_and_query(address: str, shown: str) -> None:
    assert shown_address(address) == shown


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("nothing to hide: a@b?c", "nothing to hide: a@b?c"),
        ("at http://host:1/a.", "at http://host:1/a."),
        ("(http://me:TOKEN@host): refused", "(http://***@host): refused"),
        ("url='http://host?k=TOKEN', code 5", "url='http://host?***', code 5"),
        ("a://u@b c://host?d=e\nf://g@h", "a://***@b c://host?***\nf://***@h"),
        ("http://TO KEN@host is away", "http://***@host is away"),
        ("/folder/http:/TOKEN@host: no such file", "/folder/http:/***@host: no such file"),
    ],
)
def test_addresses_in_a_message_are_masked(text: str, masked: str) -> None:
    assert mask_addresses(text) == masked


@given(NOISE, NOISE, st.sampled_from(["http://", "redis://", "SASL_SSL://"]), NOISE, NOISE)
def test_masked_addresses_hold_neither_user_nor_query(
    before: str, after: str, scheme: str, head: str, tail: str
) -> None:
    secret = f"{before}hunter2{after}"
    user = f"{scheme}u{secret}@host:1/p"
    query = f"{scheme}host/p?apikey={secret.replace(' ', '')}"
    for address in (user, query):
        assert "hunter2" not in shown_address(address)
        assert "hunter2" not in mask_addresses(f"{head} {address} {tail}")
        masked = mask_addresses(f"{head} {address} {tail}")
        assert mask_addresses(masked) == masked


def test_many_addresses_take_time_in_proportion() -> None:
    text = "a://b " * 20_000
    assert mask_addresses(text) == text
    assert mask_addresses("a://u@b\n" * 20_000) == "a://***@b\n" * 20_000
