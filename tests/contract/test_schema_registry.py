"""The client of a schema registry, against a registry and against what answers in its place."""

from __future__ import annotations

import gzip
import json
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from base.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    ErrorCode,
    NotInRegistryError,
    RecordError,
    RegistryRefusedError,
)
from schemas.avro.types import Type
from schemas.registry.client import MAX_ANSWER_BYTES, RegistryClient, subject_path
from schemas.registry.registry_source import RegistrySchemaSource
from tests.support.fake_registry import (
    FakeRegistry,
    Odd,
    answer,
    cut,
    drip,
    giant,
    hang_up,
    serving,
    silence,
)
from tests.support.registry_server import SchemaRegistry

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
EVENT = json.dumps({"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"}]})
OUTER = json.dumps({"type": "record", "name": "O", "fields": [{"name": "e", "type": "E"}]})
REFERENCES = [{"name": "E", "subject": "shop/events", "version": 3}]
VERSION = "subjects/shop%2Fevents/versions/3"
PAGE = "<html><body>404 page not found</body></html>"
UNKNOWN = {"error_code": 40403, "message": "Schema not found"}
TIMEOUT_S = 10.0
SHORT_S = 0.5


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as fake:
        fake.answers |= {
            "schemas/ids/1": {"schema": EVENT},
            f"schemas/guids/{GUID}": {"schema": EVENT, "guid": str(GUID)},
            "schemas/ids/2": {"schema": OUTER, "references": REFERENCES},
            VERSION: {"subject": "shop/events", "version": 3, "id": 1, "schema": EVENT},
        }
        yield fake


def source(
    url: str, *, settle_s: float = 0.0, timeout_s: float = TIMEOUT_S
) -> RegistrySchemaSource:
    return RegistrySchemaSource(RegistryClient(url, timeout_s=timeout_s), settle_s=settle_s)


def test_schemas_by_id_by_guid_and_with_references(registry: FakeRegistry) -> None:
    found = source(registry.url).get_all([1, GUID, 2, 3])
    assert all(isinstance(found[schema_id], Type) for schema_id in (1, GUID, 2))
    unknown = found[3]
    assert isinstance(unknown, RecordError)
    assert unknown.code is ErrorCode.SCHEMA_UNKNOWN
    assert f"GET {VERSION}" in registry.asked


TOO_LATE = f"no whole answer within {SHORT_S:g} s"

ODD: dict[str, tuple[Odd, str]] = {
    "a proxy's 404": (answer(404, PAGE), "HTTP status 404, and no answer of a registry"),
    "404 without a code": (answer(404, {"message": "no such path"}), "HTTP status 404"),
    "404 with the code of a path": (answer(404, {"error_code": 404}), "HTTP status 404"),
    "an empty 404": (answer(404, ""), "HTTP status 404"),
    "404 with a list": (answer(404, [UNKNOWN]), "HTTP status 404"),
    "400": (answer(400, {"error_code": 400, "message": "bad"}), "HTTP status 400: bad"),
    "a proxy's 400": (answer(400, PAGE), "HTTP status 400"),
    "401": (answer(401, {"error_code": 401, "message": "Unauthorized"}), "HTTP status 401"),
    "403": (answer(403, {"error_code": 40301, "message": "denied"}), "HTTP status 403"),
    "407": (answer(407, PAGE), "HTTP status 407"),
    "408": (answer(408, ""), "HTTP status 408"),
    "422": (answer(422, {"error_code": 42202, "message": "no version"}), "HTTP status 422"),
    "429": (answer(429, "slow down"), "HTTP status 429"),
    "500": (answer(500, {"error_code": 50001, "message": "store"}), "HTTP status 500: store"),
    "500 with the code of unknown": (answer(500, UNKNOWN), "HTTP status 500"),
    "503": (answer(503, PAGE), "HTTP status 503"),
    "302": (answer(302, "", Location="/login"), "HTTP status 302"),
    "204": (answer(204, ""), "HTTP status 204"),
    "HTML": (answer(200, PAGE), "HTTP status 200, and no answer of a registry"),
    "an empty body": (answer(200, ""), "HTTP status 200"),
    "broken JSON": (answer(200, '{"schema": "'), "HTTP status 200"),
    "JSON too deep to read": (answer(200, "[" * 1_000_000), "HTTP status 200"),
    "an integer too long to read": (answer(200, "9" * 1_000_000), "HTTP status 200"),
    "a list": (answer(200, []), "HTTP status 200"),
    "the code of unknown with 200": (answer(200, UNKNOWN), "no schema"),
    "no schema": (answer(200, {"id": 9}), "no schema"),
    "an empty schema": (answer(200, {"schema": ""}), "no schema"),
    "a schema of another kind": (answer(200, {"schema": {"type": "int"}}), "no schema"),
    "a broken schema": (answer(200, {"schema": EVENT[:-1]}), "a broken schema"),
    "a schema of nothing": (answer(200, {"schema": "{}"}), "a broken schema"),
    "broken references": (answer(200, {"schema": OUTER, "references": [{}]}), "broken references"),
    "not UTF-8": (answer(200, b'{"schema": "\xff"}'), "HTTP status 200"),
    "an encoding that was not asked for": (
        answer(200, gzip.compress(json.dumps({"schema": EVENT}).encode()), Content_Encoding="gzip"),
        "encoding gzip",
    ),
    "a giant": (giant, "too many bytes"),
    "a body that drips": (drip(b"HTTP/1.1 200 OK\r\n\r\n"), TOO_LATE),
    "headers that drip": (drip(b"HTTP/1.1 200 OK\r\nX: "), TOO_LATE),
    "silence": (silence, TOO_LATE),
    "a closed connection": (hang_up, "it does not answer"),
    "a body cut off": (cut, "it does not answer"),
}


def await_answer(schemas: RegistrySchemaSource, schema_id: int) -> Type | RecordError:
    """The answer after the outages that a short timeout makes of a slow machine."""
    while True:
        with suppress(DependencyUnavailableError):
            return schemas.get_all([schema_id])[schema_id]


@pytest.mark.parametrize(("odd", "found"), ODD.values(), ids=ODD)
@pytest.mark.parametrize(
    ("schema_id", "path"), [(1, "schemas/ids/1"), (2, VERSION)], ids=["schema", "reference"]
)
def test_an_answer_that_is_not_a_registrys_is_retried(
    odd: Odd, found: str, schema_id: int, path: str, registry: FakeRegistry
) -> None:
    late = found == TOO_LATE
    schemas = source(registry.url, timeout_s=SHORT_S if late else TIMEOUT_S)
    registry.odd[path] = odd
    with pytest.raises(DependencyUnavailableError, match=path) as away:
        schemas.get_all([schema_id])
    assert found in str(away.value)
    assert f"127.0.0.1:{registry.server_port}/base/path" in str(away.value)
    registry.odd.clear()
    again = await_answer(schemas, schema_id)
    assert isinstance(again, Type), "nothing of it was kept"


@pytest.mark.parametrize("code", [40401, 40402, 40403])
def test_the_registrys_own_word_is_that_a_schema_is_unknown(
    code: int, registry: FakeRegistry
) -> None:
    registry.odd[VERSION] = answer(404, {"error_code": code, "message": "none"})
    found = source(registry.url).get_all([2])[2]
    assert isinstance(found, RecordError)
    assert found.code is ErrorCode.SCHEMA_UNKNOWN


def test_a_schema_may_be_as_large_as_the_bound(registry: FakeRegistry) -> None:
    record = {**json.loads(EVENT), "doc": "x" * (MAX_ANSWER_BYTES // 2)}
    registry.answers["schemas/ids/9"] = {"schema": json.dumps(record)}
    assert isinstance(source(registry.url).get_all([9])[9], Type)


def test_a_follower_that_lags_is_asked_again(registry: FakeRegistry) -> None:
    def lagging(handler: BaseHTTPRequestHandler) -> None:
        del registry.odd["schemas/ids/1"]
        answer(404, UNKNOWN)(handler)

    registry.odd["schemas/ids/1"] = lagging
    assert isinstance(source(registry.url, settle_s=3.0).get_all([1])[1], Type)
    assert registry.asked == ["GET schemas/ids/1"] * 2


def test_unknown_ids_are_asked_for_together_a_bounded_number_at_a_time(
    registry: FakeRegistry,
) -> None:
    registry.delay_s = 0.05
    ids = range(1_000, 1_400)
    began = time.monotonic()
    found = source(registry.url).get_all(ids)
    took_s = time.monotonic() - began
    assert {error.code for error in found.values() if isinstance(error, RecordError)} == {
        ErrorCode.SCHEMA_UNKNOWN
    }
    assert len(registry.asked) == len(ids)
    assert registry.most_together == 8
    assert took_s < len(ids) * registry.delay_s / 2


def test_a_registry_that_is_away_is_not_asked_for_every_id(registry: FakeRegistry) -> None:
    registry.odd[""] = answer(503, PAGE)
    with pytest.raises(DependencyUnavailableError):
        source(registry.url).get_all(range(400))
    assert len(registry.asked) < 20


def test_ids_that_are_not_answered_do_not_keep_others_from_it(registry: FakeRegistry) -> None:
    bad = {n: f"schemas/ids/{n}" for n in range(3, 33)}
    registry.odd |= dict.fromkeys(bad.values(), answer(500, PAGE))
    schemas = source(registry.url)
    for _ in range(5):
        with pytest.raises(DependencyUnavailableError):
            schemas.get_all([*bad, 1, GUID, 2])
    registry.odd[""] = answer(503, PAGE)
    assert all(isinstance(found, Type) for found in schemas.get_all([1, GUID, 2]).values())


def test_a_registry_that_has_gone() -> None:
    with serving() as fake:
        fake.answers["schemas/ids/1"] = {"schema": EVENT}
        schemas = source(fake.url)
        assert isinstance(schemas.get_all([1])[1], Type)
    assert isinstance(schemas.get_all([1])[1], Type)
    with pytest.raises(DependencyUnavailableError, match="schemas/ids/2: it does not answer"):
        schemas.get_all([2])


def test_addresses_with_secrets_are_used_and_not_shown(registry: FakeRegistry) -> None:
    secret = registry.url.replace("//", "//user:s3cret@") + "?apikey=s3cret"
    client = RegistryClient(secret, timeout_s=TIMEOUT_S)
    assert client.address == registry.url
    assert RegistrySchemaSource(client).get_all([1])
    assert registry.heads[-1]["Authorization"] == "Basic dXNlcjpzM2NyZXQ="
    registry.odd[""] = answer(401, {"error_code": 401, "message": "no"})
    with pytest.raises(DependencyUnavailableError) as away:
        RegistrySchemaSource(client).get_all([1])
    assert "s3cret" not in str(away.value)
    assert "user" not in str(away.value)


def test_the_query_of_an_address_goes_with_each_request(registry: FakeRegistry) -> None:
    seen = []

    def note(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.path)
        answer(200, {"schema": EVENT})(handler)

    registry.odd[""] = note
    source(f"{registry.url}/?apikey=k").get_all([1])
    assert seen == ["/base/path/schemas/ids/1?apikey=k"]


def test_a_renewed_password_needs_no_restart(registry: FakeRegistry) -> None:
    secrets = [("user", "old"), ("user", "new")]
    client = RegistryClient(registry.url, credentials=secrets.pop, timeout_s=TIMEOUT_S)
    schemas = RegistrySchemaSource(client)
    schemas.get_all([1])
    schemas.get_all([2])
    assert registry.heads[0]["Authorization"] != registry.heads[1]["Authorization"]


def test_a_password_that_cannot_be_read_is_an_outage(registry: FakeRegistry) -> None:
    def missing() -> tuple[str, str]:
        raise ConfigurationError("registry.password_file: it cannot be read")

    schemas = RegistrySchemaSource(RegistryClient(registry.url, credentials=missing))
    with pytest.raises(DependencyUnavailableError, match=r"registry\.password_file"):
        schemas.get_all([1])


def test_the_second_registry_address_answers_where_the_first_does_not(
    registry: FakeRegistry,
) -> None:
    schemas = source(f"http://127.0.0.1:1, {registry.url}")
    assert isinstance(schemas.get_all([1])[1], Type)
    registry.odd[""] = answer(500, PAGE)
    with pytest.raises(DependencyUnavailableError, match=r"500.*127\.0\.0\.1:1.*not answer"):
        schemas.get_all([2])


def test_certificates_are_verified_by_the_authorities_of_the_environment(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    authorities, pair = tmp_path / "ca.pem", tmp_path / "pair.pem"
    authorities.write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pair.write_bytes(private + authorities.read_bytes())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair)
    registry.socket = tls.wrap_socket(registry.socket, server_side=True)
    url = registry.url.replace("http:", "https:")

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(DependencyUnavailableError, match="certificate verify failed"):
        source(url).get_all([1])
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    assert isinstance(source(url).get_all([1])[1], Type)


@pytest.mark.parametrize(
    "url", ["registry:8081", "", "ftp://registry", "http://", "http://user:s3cret@", "http://a,b"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="address") as refused:
        RegistryClient(url)
    assert "s3cret" not in str(refused.value)


def test_a_schema_that_the_registry_refuses(registry: FakeRegistry) -> None:
    registry.odd[""] = answer(409, {"error_code": 409, "message": "incompatible"})
    with pytest.raises(RegistryRefusedError, match="incompatible"):
        RegistryClient(registry.url).ask("POST", "subjects/a", len, {"schema": EVENT})


# What the fake says, a real registry says.


@pytest.fixture(scope="module")
def real_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("FRAUD_WORKER_TEST_REGISTRY"):
        yield given
        return
    with SchemaRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.url


@pytest.fixture(params=["fake", "real"])
def any_url(request: pytest.FixtureRequest) -> str:
    if request.param == "fake":
        return str(request.getfixturevalue("registry").url)
    return str(request.getfixturevalue("real_url"))


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "schemas/ids/2000000000", None, 40403),
        ("GET", subject_path("none/at all", "versions", "latest"), None, 40401),
        ("POST", subject_path("none/at all"), {"schema": EVENT}, 40401),
    ],
)
def test_the_registrys_own_error_codes_mean_not_in_registry(
    method: str, path: str, body: dict[str, str] | None, code: int, any_url: str
) -> None:
    with pytest.raises(NotInRegistryError, match=f"error code {code}"):
        RegistryClient(any_url).ask(method, path, len, body)
