"""worker.yaml and the environment: what holds, what is refused and how, what is never shown."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from base.errors import ConfigurationError
from tools.cli import commands as command_line
from tools.manual.configuration import configuration
from worker.kafka import client_options
from worker.pipeline import open_store
from worker.process.exits import ExitCode
from worker.process.logs import configure_logs
from worker.settings import WorkerSettings, load_settings, read_secret
from worker.settings.options import OWNED_CONSUMER_OPTIONS, OWNED_PRODUCER_OPTIONS
from worker.settings.reference import groups, setting_names, variable_of
from worker.settings.secrets import mask
from worker.settings.synonyms import _MEANT

ROOT = Path(__file__).parents[3]
KAFKA = {
    "bootstrap_servers": "localhost:9092",
    "group": "fraud",
    "input_topic": "transactions",
    "output_topic": "scores",
    "dead_letter_topic": "dead-letters",
    "start_from": "earliest",
}
SASL = {"security.protocol": "SASL_SSL"}
KERBEROS = {**SASL, "sasl.mechanism": "GSSAPI"}
PLAIN = {**SASL, "sasl.mechanism": "PLAIN", "sasl.username": "me"}
JWT = "enable.sasl.oauthbearer.unsecure.jwt"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
OIDC = {
    **SASL,
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.client.id": "me",
    "sasl.oauthbearer.token.endpoint.url": "http://localhost/token",
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FRAUD_WORKER_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _restored_logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def content(**changes: Any) -> dict[str, Any]:
    """What a small worker.yaml says; a mapping adds to a section, None removes a setting."""
    values: dict[str, Any] = {"kafka": dict(KAFKA), "model": {"bundle": "model"}}
    for name, change in changes.items():
        if isinstance(change, dict):
            change = {**values.get(name, {}), **change}  # noqa: PLW2901
            change = {key: value for key, value in change.items() if value is not None}  # noqa: PLW2901
        values[name] = change
    return {name: value for name, value in values.items() if value is not None}


def load(folder: Path, text: str | None = None, **changes: Any) -> WorkerSettings:
    (folder / "worker.yaml").write_text(text or yaml.safe_dump(content(**changes)))
    return load_settings(folder)


def refusal(folder: Path, text: str | None = None, **changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, **changes)
    return str(caught.value)


def test_a_small_file_is_enough_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        kafka={"password_file": "kafka-password", "options": PLAIN},
        store={"url": "redis://localhost", "username": "me", "password_file": "/run/store"},
    )
    assert settings.model.bundle == tmp_path / "model"
    assert settings.features == tmp_path / "features.yaml"
    assert settings.policy == tmp_path / "policy.yaml"
    assert settings.kafka.password_file == tmp_path / "kafka-password"
    assert settings.store is not None
    assert settings.store.password_file == Path("/run/store")
    assert settings.delivery.guarantee == "exactly_once"


@pytest.mark.parametrize("setting", ["input_topic", "output_topic", "dead_letter_topic"])
@pytest.mark.parametrize("name", ["^tx.*", "a,b", "a b", "t/x", "", ".", "..", "x" * 250])
def test_a_pattern_or_a_list_is_no_name_of_a_topic(setting: str, name: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, kafka={setting: name})
    assert f"kafka.{setting}: is not a valid topic name; give one topic" in message
    assert getattr(load(tmp_path, kafka={setting: "t.x-" + "x" * 245}).kafka, setting)


def test_a_location_is_named_instead_of_a_bundle(tmp_path: Path) -> None:
    settings = load(tmp_path, model={"bundle": None, "location": "models"})
    assert settings.model.bundle is None
    assert settings.model.location == tmp_path / "models"
    assert settings.model.verify_timeout_s == 60.0


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing setting": (
        {"kafka": {"group": None}},
        "kafka.group is missing",
        "FRAUD_WORKER_KAFKA__GROUP",
    ),
    "missing section": ({"model": None}, "model is missing", "FRAUD_WORKER_MODEL"),
    "misspelt setting": (
        {"delivery": {"max_batch_event": 1}},
        "delivery.max_batch_event",
        "did you mean 'delivery.max_batch_events'?",
    ),
    "misspelt section": ({"delivry": {}}, "'delivry'", "did you mean 'delivery'?"),
    "wrong type": (
        {"delivery": {"max_batch_events": "many"}},
        "delivery.max_batch_events",
        "found 'many'",
    ),
    "out of bounds": ({"http": {"port": 70_000}}, "http.port", "less than or equal to 65535"),
    "no model": ({"model": {"bundle": None}}, "model: found neither", "give one of them"),
    "two models": (
        {"model": {"location": "models"}},
        "model: found both of bundle and location",
        "FRAUD_WORKER_MODEL__LOCATION",
    ),
    "no patience": ({"model": {"verify_timeout_s": 0}}, "model.verify_timeout_s", "greater than 0"),
    "bound without end": (
        {"delivery": {"watchdog_s": float("inf")}},
        "delivery.watchdog_s",
        "finite number",
    ),
    "unknown choice": ({"model": {"device": "tpu"}}, "model.device", "'cpu', 'cuda' or 'auto'"),
    "blank": ({"kafka": {"group": " "}}, "kafka.group", "give it a value"),
    "section without content": ({"wire": []}, "wire", "dictionary"),
    "one topic twice": (
        {"kafka": {"output_topic": "transactions"}},
        "input_topic, output_topic and dead_letter_topic",
        "name three topics",
    ),
    "address for a file": (
        {"kafka": {"password_file": "https://vault/hunter2"}},
        "kafka.password_file",
        "name a file or folder",
    ),
    "password in the options": (
        {"kafka": {"options": {"sasl.password": "hunter2"}}},
        "sasl.password",
        "kafka.password_file",
    ),
    "password without its user": (
        {"kafka": {"password_file": "/secrets/p"}},
        "sasl.username",
        "add it",
    ),
    "SASL without its protocol": (
        {
            "kafka": {
                "password_file": "/secrets/p",
                "options": {"sasl.mechanism": "PLAIN", "sasl.username": "me"},
            }
        },
        "is missing (the default is plaintext), and sasl.mechanism, sasl.username, password_file",
        "set security.protocol to SASL_SSL",
    ),
    "a mechanism without the protocol": (
        {"kafka": {"options": {"security.protocol": "ssl", "sasl.mechanism": "PLAIN"}}},
        "security.protocol is ssl, and sasl.mechanism would go unused",
        "set security.protocol to SASL_SSL",
    ),
    "a secret of SASL without the protocol": (
        {"kafka": {"secret_files": {"sasl.oauthbearer.client.secret": "/secrets/s"}}},
        "and sasl.oauthbearer.client.secret would go unused",
        "or remove the others",
    ),
    "SASL without a password": (
        {"kafka": {"options": PLAIN}},
        "sasl.mechanism is PLAIN",
        "kafka.password_file",
    ),
    "SASL without anything": (
        {"kafka": {"options": {**SASL, "sasl.mechanisms": "SCRAM-SHA-512"}}},
        "sasl.mechanism is SCRAM-SHA-512",
        "sasl.username in kafka.options and kafka.password_file",
    ),
    "SASL without a mechanism": (
        {"kafka": {"options": SASL}},
        "security.protocol is SASL_SSL and sasl.mechanism is missing",
        "OAUTHBEARER",
    ),
    "OAUTHBEARER alone": (
        {"kafka": {"options": {**SASL, "sasl.mechanism": "OAUTHBEARER"}}},
        "nothing gets a token",
        "sasl.oauthbearer.method: oidc",
    ),
    "OIDC without its secret": (
        {"kafka": {"options": OIDC}},
        "sasl.oauthbearer.method is oidc and the client secret is missing",
        "kafka.secret_files: {sasl.oauthbearer.client.secret: FILE}",
    ),
    "broker's address with a scheme": (
        {"kafka": {"bootstrap_servers": "kafka://broker:9092"}},
        "kafka.bootstrap_servers",
        "write host:port alone",
    ),
    "broker's address with a port that is none": (
        {"kafka": {"bootstrap_servers": "broker-1:9092,broker-2:kafka"}},
        "'broker-2:kafka'",
        "write it like kafka-1:9092,kafka-2:9092",
    ),
    "registry's address without a scheme": (
        {"registry": {"url": "registry:8081"}},
        "registry.url: is not an address",
        "write it as SCHEME://HOST:PORT",
    ),
    "bundle in a bucket": (
        {"model": {"bundle": "s3://models/fraud/3"}},
        "model.bundle: is an address",
        "download or mount",
    ),
    "bundle of MLflow": (
        {"model": {"bundle": "models:/fraud/3"}},
        "model.bundle: is an address",
        "download or mount",
    ),
    "location on a web server": (
        {"model": {"bundle": None, "location": "https://models/fraud"}},
        "model.location: is no location of bundles",
        "name a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://BUCKET/PREFIX or mlflow:NAME",
    ),
    "location with a key": (
        {"model": {"bundle": None, "location": "s3://user:key@models/fraud"}},
        "model.location: holds a user, a query or a blank",
        "credentials come from the environment",
    ),
    "location that may take for ever": (
        {"model": {"bundle": None, "location": "mlflow:m", "location_timeout_s": 1e300}},
        "model.location_timeout_s",
        "60",
    ),
    "location without a name": (
        {"model": {"bundle": None, "location": "mlflow:"}},
        "model.location: names no model",
        "write it as mlflow:NAME",
    ),
    "features from an address": (
        {"features": "https://host/features.yaml"},
        "features: is an address",
        "download or mount",
    ),
    "brokers by another name": (
        {"kafka": {"brokers": "localhost:9092"}},
        "unknown setting 'kafka.brokers'",
        "did you mean 'kafka.bootstrap_servers'?",
    ),
    "librdkafka's option among the settings": (
        {"kafka": {"security_protocol": "SASL_SSL"}},
        "unknown setting 'kafka.security_protocol'",
        "did you mean 'kafka.options: {security.protocol: …}'?",
    ),
    "password among the settings": (
        {"kafka": {"sasl_password": "hunter2"}},
        "unknown setting 'kafka.sasl_password'",
        "did you mean 'kafka.password_file'?",
    ),
    "librdkafka's secret among the settings": (
        {"kafka": {"ssl.key.password": "hunter2"}},
        "unknown setting 'kafka.ssl.key.password'",
        "did you mean 'kafka.secret_files: {ssl.key.password: FILE}'?",
    ),
    "one broker by another name": (
        {"kafka": {"broker": "localhost:9092"}},
        "unknown setting 'kafka.broker'",
        "did you mean 'kafka.bootstrap_servers'?",
    ),
    "a setting that is like none of its section": (
        {"http": {"address": "localhost"}},
        "unknown setting 'http.address'",
        "known are: http.host, http.port;",
    ),
    "another store's name": ({"redis": {}}, "unknown setting 'redis'", "did you mean 'store'?"),
    "option that is a list": (
        {"kafka": {"options": {"client.rack": ["a"]}}},
        "kafka.options.client.rack",
        "text, a number, true or false",
    ),
    "password in the store's address": (
        {"store": {"url": "redis://me:hunter2@localhost"}},
        "store.url",
        "password_file",
    ),
    "password with a slash": (
        {"store": {"url": "redis://:hunt/er2@localhost"}},
        "store.url",
        "password_file",
    ),
    "password in the store's query": (
        {"store": {"url": "redis://localhost?db=1&password=hunter2"}},
        "store.url",
        "password_file",
    ),
    "password in the registry's address": (
        {"registry": {"url": "http://me:hunter2@localhost"}},
        "registry.url",
        "password_file",
    ),
    "password in the store's options": (
        {"store": {"url": "redis://localhost", "options": {"password": "hunter2"}}},
        "options: password",
        "store.password_file",
    ),
    "token in the registry's address": (
        {"registry": {"url": "http://hunter2@localhost"}},
        "registry.url",
        "password_file",
    ),
    "key in the registry's query": (
        {"registry": {"url": "http://localhost?apikey=hunter2"}},
        "registry.url",
        "password_file",
    ),
    "any query in the registry's address": (
        {"registry": {"url": "http://localhost?x=hunter2"}},
        "url is http://localhost?***",
        "has no query",
    ),
    "encoded password in the store's query": (
        {"store": {"url": "redis://localhost?db=1&pass%77ord=hunter2"}},
        "store.url",
        "password_file",
    ),
    "TLS password in the store's query": (
        {"store": {"url": "rediss://localhost?ssl_password=hunter2"}},
        "store.url",
        "password_file",
    ),
    "user in the store's query": (
        {"store": {"url": "redis://localhost?username=hunter2"}},
        "store.url",
        "username",
    ),
    "encoded user": (
        {"store": {"url": "redis://me%3Ahunter2%40localhost"}},
        "store.url",
        "SCHEME://HOST:PORT",
    ),
    "password for a port": (
        {"store": {"url": "redis://me:hunter2"}},
        "store.url",
        "SCHEME://HOST:PORT",
    ),
    "address of several lines": (
        {"registry": {"url": "http://localhost\nhunter2"}},
        "registry.url",
        "SCHEME://HOST:PORT",
    ),
    "no address": ({"store": {"url": "hunter2"}}, "store.url", "SCHEME://HOST:PORT"),
    "user of the brokers": (
        {"kafka": {"bootstrap_servers": "SASL_SSL://me:hunter2@broker:9092"}},
        "kafka.bootstrap_servers",
        "kafka.password_file",
    ),
    "address for a section": (
        {"store": "redis://me:hunter2@localhost"},
        "store",
        "found text",
    ),
    "number for a section": ({"store": 1}, "store", "found a number"),
    "list for a section": ({"kafka": ["hunter2"]}, "kafka", "found a list"),
    "text for options": (
        {"kafka": {"options": "sasl.password: hunter2"}},
        "kafka.options",
        "found text",
    ),
    "mapping for a number": (
        {"http": {"port": {"x": "hunter2"}}},
        "http.port",
        "found a mapping",
    ),
    "address for a number": (
        {"http": {"port": "http://hunter2@localhost"}},
        "http.port",
        "found 'http://***@localhost'",
    ),
    "address for a key": (
        {"http": {"http://hunter2@localhost": 1}},
        "http.http://***@localhost",
        "remove it",
    ),
    "user without a password": (
        {"store": {"url": "redis://localhost", "username": "me"}},
        "username is set",
        "set both or neither",
    ),
    "address of another kind": (
        {"store": {"url": "http://localhost"}},
        "url is http://localhost",
        "redis://",
    ),
    "registry's password without its user": (
        {"registry": {"url": "http://localhost", "password_file": "/secrets/p"}},
        "password_file is set and username is not",
        "set both or neither",
    ),
    "registry and wire": (
        {"registry": {"url": "http://localhost"}, "wire": {"schema_id": 7}},
        "wire.schema_id and registry",
        "remove one",
    ),
    "one id for two schemas": (
        {"wire": {"schema_id": 7, "score_schema_id": 7}},
        "schema_id and score_schema_id",
        "two ids",
    ),
    "the id of events for labels": (
        {"wire": {"schema_id": 3}, "kafka": {"labels_topic": "labels"}},
        "wire.schema_id and wire.label_schema_id are both 3",
        "two ids",
    ),
    "the id of scores for labels": (
        {"wire": {"label_schema_id": 2}, "kafka": {"labels_topic": "labels"}},
        "wire.score_schema_id and wire.label_schema_id are both 2",
        "two ids",
    ),
    "registry and the id of labels": (
        {"registry": {"url": "http://localhost"}, "wire": {"label_schema_id": 7}},
        "wire.label_schema_id and registry",
        "remove one",
    ),
    "watchdog that barks too early": (
        {"delivery": {"watchdog_s": 5, "broker_timeout_s": 10}},
        "watchdog_s is 5",
        "the longer",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_file_setting_and_remedy_and_no_secret(name: str, tmp_path: Path) -> None:
    changes, setting, remedy = REFUSED[name]
    message = refusal(tmp_path, **changes)
    assert str(tmp_path / "worker.yaml") in message
    assert setting in message
    assert remedy in message
    assert "hunt" not in message


@pytest.mark.parametrize(
    ("section", "option"),
    [
        *(("consumer", name) for name in OWNED_CONSUMER_OPTIONS),
        *(("producer", name) for name in OWNED_PRODUCER_OPTIONS),
        *(("options", name) for name in OWNED_CONSUMER_OPTIONS | OWNED_PRODUCER_OPTIONS),
    ],
)
def test_options_that_are_the_workers_own_are_refused(
    section: str, option: str, tmp_path: Path
) -> None:
    message = refusal(tmp_path, kafka={section: {option: "x"}})
    assert f"{section}: {option} is the worker's own" in message
    assert "remove it" in message


def test_other_options_pass_through(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        kafka={"consumer": {"session.timeout.ms": 6000}, "options": {"enable.ssl": True}},
    )
    assert settings.kafka.consumer == {"session.timeout.ms": 6000}
    assert settings.kafka.options == {"enable.ssl": True}


@pytest.mark.parametrize(
    "kafka",
    [
        {"options": {**SASL, "sasl.mechanism": "OAUTHBEARER"} | {JWT: True}},
        {"options": OIDC, "secret_files": {"sasl.oauthbearer.client.secret": "secret"}},
        {"options": {**OIDC, "sasl.oauthbearer.metadata.authentication.type": "azure_imds"}},
        {"options": {**OIDC, "sasl.oauthbearer.grant.type": JWT_BEARER}},
        {
            "options": PLAIN,
            "password_file": "password",
        },
        {"options": {"security.protocol": "SSL"}},
        {"bootstrap_servers": "kafka-1, kafka-2:9092,10.0.0.1:9092,[::1]:9092"},
        {"bootstrap_servers": "SSL://kafka-1:9092"},
    ],
    ids=str,
)
def test_ways_to_the_brokers_that_hold_are_taken(kafka: dict[str, Any], tmp_path: Path) -> None:
    load(tmp_path, kafka=kafka)


@pytest.mark.parametrize(
    ("section", "option"),
    [
        ("options", "ssl.ca.location"),
        ("options", "ssl.certificate.location"),
        ("consumer", "ssl.key.location"),
        ("producer", "ssl.keystore.location"),
        ("options", "https.ca.location"),
        ("options", "sasl.oauthbearer.assertion.private.key.file"),
    ],
)
def test_a_file_that_an_option_of_librdkafka_names_has_to_be_there(
    section: str, option: str, tmp_path: Path
) -> None:
    absent = str(tmp_path / "ca.pem")
    options = {"options": KERBEROS, section: {**KERBEROS, option: absent}}
    kafka = load(tmp_path, kafka=options).kafka
    with pytest.raises(ConfigurationError) as caught:
        client_options(kafka)
    assert f"kafka.{section}: {option} is {absent}: there is no such file" in str(caught.value)
    assert "mount it there" in str(caught.value)
    Path(absent).write_text("a certificate")
    client_options(kafka)


def test_a_path_from_the_folder_of_the_process_says_which_that_is(tmp_path: Path) -> None:
    kafka = load(tmp_path, kafka={"options": {"ssl.ca.location": "no/ca.pem"}}).kafka
    with pytest.raises(ConfigurationError, match=re.escape(str(Path.cwd()))):
        client_options(kafka)
    client_options(load(tmp_path, kafka={"options": {"ssl.ca.location": "probe"}}).kafka)


def test_a_certificate_of_the_store_has_to_be_there(tmp_path: Path) -> None:
    absent = str(tmp_path / "ca.pem")
    store = {"url": "rediss://localhost", "options": {"ssl_ca_certs": absent}}
    with pytest.raises(ConfigurationError, match=r"store\.options: ssl_ca_certs is"):
        open_store(load(tmp_path, store=store))


def test_a_variable_by_another_name_is_told_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_WORKER_KAFKA__BROKERS", "localhost:9092")
    assert "did you mean 'FRAUD_WORKER_KAFKA__BOOTSTRAP_SERVERS'?" in refusal(tmp_path)


@pytest.mark.parametrize("name", sorted(set(_MEANT.values())))
def test_suggested_settings_exist(name: str) -> None:
    assert name.partition(":")[0] in set(setting_names())


@pytest.mark.parametrize("content", [None, "a file"])
def test_a_folder_that_is_none_is_named(content: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "no such"
    if content:
        folder.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(folder)
    found = "it is a file" if content else "there is no such folder"
    assert str(caught.value).startswith(f"{folder}: {found}; name the pipeline folder")
    assert f"init '{folder}' --schema" in str(caught.value)


def test_all_invalid_settings_are_listed_at_once_with_their_places(tmp_path: Path) -> None:
    text = yaml.safe_dump(content(http={"port": -1}, logs={"level": "loud"}))
    message = refusal(tmp_path, text)
    lines = text.splitlines()
    assert f"worker.yaml:{lines.index('  port: -1') + 1}:" in message
    assert f"worker.yaml:{lines.index('  level: loud') + 1}:" in message


def test_a_setting_given_twice_is_refused(tmp_path: Path) -> None:
    text = yaml.safe_dump(content()) + "http: {port: 1}\nhttp: {port: 2}\n"
    message = refusal(tmp_path, text)
    assert "'http' appears twice" in message


def test_text_stays_text(tmp_path: Path) -> None:
    """YAML 1.1 reads the country NO as false."""
    text = yaml.safe_dump(content()).replace("group: fraud", "group: NO")
    assert load(tmp_path, text).kafka.group == "NO"


@pytest.mark.parametrize("text", ["kafka: [", "- a\n", "kafka: &a {}\nmodel: *a\n"])
def test_a_settings_file_that_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    assert str(tmp_path / "worker.yaml") in refusal(tmp_path, text)


def test_an_absent_settings_file_names_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"fraud-worker init .* or name the pipeline"):
        load_settings(tmp_path)


def test_the_environment_wins_and_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_WORKER_KAFKA__GROUP", "other")
    monkeypatch.setenv("FRAUD_WORKER_DELIVERY__LATENCY_BUDGET_S", "0.5")
    monkeypatch.setenv("FRAUD_WORKER_KAFKA__OPTIONS", '{"client.rack": "a"}')
    monkeypatch.setenv("FRAUD_WORKER_STORE__URL", "redis://elsewhere")
    monkeypatch.setenv("FRAUD_WORKER_PIPELINE", "/pipeline")
    settings = load(tmp_path, kafka={"bootstrap_servers": "broker:9092"})
    assert settings.kafka.group == "other"
    assert settings.kafka.bootstrap_servers == "broker:9092"
    assert settings.delivery.latency_budget_s == 0.5
    assert settings.kafka.options == {"client.rack": "a"}
    assert settings.store is not None
    assert settings.store.url == "redis://elsewhere"


@pytest.mark.parametrize("name", [*setting_names()])
def test_each_setting_has_a_variable_that_is_known(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable_of(name), "\x01")
    try:
        load(tmp_path)
    except ConfigurationError as error:
        assert "unknown environment variable" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("FRAUD_WORKER_KAFKA__GRUOP", "x", "did you mean 'FRAUD_WORKER_KAFKA__GROUP'?"),
        ("FRAUD_WORKER_KAFKA_GROUP", "x", "two underscores"),
        (
            "FRAUD_WORKER_KAFKA__USERNAME",
            "x",
            """did you mean 'FRAUD_WORKER_KAFKA__OPTIONS={"sasl.username": "…"}'?""",
        ),
        (
            "FRAUD_WORKER_KAFKA__SECURITY_PROTOCOL",
            "x",
            """did you mean 'FRAUD_WORKER_KAFKA__OPTIONS={"security.protocol": "…"}'?""",
        ),
        ("FRAUD_WORKER_REDIS__URL", "x", "did you mean 'FRAUD_WORKER_STORE__URL'?"),
        ("FRAUD_WORKER_REDIS_URL", "x", "did you mean 'FRAUD_WORKER_STORE__URL'?"),
        ("FRAUD_WORKER_KAFKA__SASL_PASSWORD", "x", "did you mean 'FRAUD_WORKER_KAFKA__PASSWORD_F"),
        ("FRAUD_WORKER_LOGGING__COLOUR", "x", "known are: FRAUD_WORKER_LOGS__FORMAT, FRAUD_W"),
        ("FRAUD_WORKER_KAFKA_GROUP", "x", "did you mean 'FRAUD_WORKER_KAFKA__GROUP'?"),
        ("fraud_worker_htttp__port", "1", "did you mean 'FRAUD_WORKER_HTTP__PORT'?"),
        ("fraud_worker_htttp__port", "1", "unset it or correct its name"),
        ("FRAUD_WORKER_HTTP__PORT", "many", "FRAUD_WORKER_HTTP__PORT in the environment"),
        ("FRAUD_WORKER_KAFKA__OPTIONS", "{hunter2", "in the environment"),
    ],
)
def test_an_invalid_variable_is_named_as_a_variable(
    variable: str, value: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    message = refusal(tmp_path)
    assert told in message
    assert "hunter2" not in message


SECRET_OPTIONS = [
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "ssl_password",
]


@given(
    secret=st.text("abcdefghijkXYZ0123456789+/=-_.:@", min_size=12, max_size=30),
    option=st.sampled_from(SECRET_OPTIONS),
    section=st.sampled_from(["options", "consumer", "producer"]),
)
def test_no_secret_is_ever_shown(secret: str, option: str, section: str) -> None:
    settings = WorkerSettings.model_validate(
        content(
            kafka={section: {**KERBEROS, option: secret}},
            registry={
                "url": "http://localhost",
                "username": "me",
                "password_file": "/secrets/registry",
            },
            store={"url": "redis://localhost", "options": {option: secret}},
        )
    )
    shown = json.dumps(settings.masked())
    assert secret not in shown
    assert '"***"' in shown
    assert "/secrets/registry" in shown, "where the secret is kept may be shown"


@given(st.text("abcXYZ019.-_%", min_size=10), st.sampled_from(["http://", "redis://", "tls://"]))
def test_users_in_addresses_are_not_shown(secret: str, scheme: str) -> None:
    settings = WorkerSettings.model_validate(
        content(kafka={"options": {"some.proxy": f"{scheme}{secret}:{secret}@host:1/path"}})
    )
    shown = json.dumps(settings.masked())
    assert secret not in shown
    assert f"{scheme}***@host:1/path" in shown


PLACES = [
    "replica",
    "features",
    "kafka",
    "kafka.bootstrap_servers",
    "kafka.group",
    "kafka.input_topic",
    "kafka.output_topic",
    "kafka.password_file",
    "kafka.options",
    "kafka.options.https.proxy",
    "kafka.options.sasl.jaas.config",
    "kafka.options.sasl.oauthbearer.assertion.private.key.passphrase",
    "kafka.options.ssl.key.pem",
    "kafka.consumer.client.rack",
    "kafka.secret_files.ssl.key.password",
    "store",
    "store.url",
    "store.state",
    "store.username",
    "store.timeout_s",
    "store.options",
    "store.options.ssl_password",
    "store.options.client_name",
    "registry",
    "registry.url",
    "registry.username",
    "model",
    "model.bundle",
    "model.device",
    "delivery",
    "delivery.watchdog_s",
    "output.carry",
    "http.host",
    "http.port",
    "logs.level",
]
SHAPES = [
    "http://{}@host:1/path",
    "http://me:{}@host",
    "redis://:{}@host:6379/0",
    "http://host/path?apikey={}",
    "redis://host?db=1&pass%77ord={}",
    "rediss://host:6379?ssl_password={}#x",
    "http://host?{}",
    "SASL_SSL://me:{}@broker:9092",
    "http:/me:{}@host",
    "text before http://{}@host and after",
]
AROUND_SECRETS = st.text("ab1@/:?#%&=+ \n.,;'\"", max_size=6)


def planted(place: str, value: str) -> dict[str, Any]:
    """The small worker.yaml with ``value`` at ``place``."""
    values = content(store={"url": "redis://localhost"}, registry={"url": "http://localhost"})
    section, _, key = place.partition(".")
    outer, _, option = key.partition(".")
    if not key:
        values[section] = value
    elif option and outer in ("options", "consumer", "secret_files"):
        values.setdefault(section, {})[outer] = {option: value}
    else:
        values.setdefault(section, {})[key] = [value] if key == "carry" else value
    return values


def output_of(folder: Path, values: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """What a start says of its settings: the refusal, or the log line with all of them."""
    configure_logs("info", "json")
    (folder / "worker.yaml").write_text(yaml.safe_dump(values))
    try:
        settings = load_settings(folder)
        structlog.get_logger().info("settings", **settings.masked())
    except ConfigurationError as error:
        stop(str(error), ExitCode.CONFIGURATION)
    return "".join(capsys.readouterr())


def stop(message: str, code: ExitCode) -> None:
    with pytest.raises(SystemExit):
        command_line._stop(message, code)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", PLACES)
def test_no_user_and_no_query_of_an_address_is_shown_wherever_it_stands(
    place: str, shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = output_of(tmp_path, planted(place, shape.format("hunter2")), capsys)
    assert shown
    assert "hunter2" not in shown


@settings_of_hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(SHAPES), AROUND_SECRETS, AROUND_SECRETS)
def test_secrets_are_masked_in_any_surrounding_text(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    place: str,
    shape: str,
    before: str,
    after: str,
) -> None:
    value = shape.format(f"u{before}hunter2{after}")
    assert "hunter2" not in output_of(tmp_path, planted(place, value), capsys)


@pytest.mark.parametrize(
    "variable", ["STORE__URL", "STORE", "KAFKA__OPTIONS", "KAFKA__BOOTSTRAP_SERVERS", "HTTP__PORT"]
)
@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_messages_show_no_value_of_a_variable(
    variable: str,
    quoted: bool,
    shape: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = shape.format("hunter2")
    monkeypatch.setenv(f"FRAUD_WORKER_{variable}", json.dumps(value) if quoted else value)
    assert "hunter2" not in output_of(tmp_path, content(), capsys)


def test_a_variable_that_nests_deeply_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_WORKER_KAFKA__OPTIONS", "[" * 100_000)
    assert "in the environment" in refusal(tmp_path)


@pytest.mark.parametrize("shape", SHAPES)
def test_addresses_that_libraries_log_are_masked(
    shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("info", "json")
    address = shape.format("hunter2")
    logging.getLogger("httpx").error("GET %s: 404", address)
    try:
        raise OSError(f"cannot connect to {address}")
    except OSError as error:
        logging.getLogger("redis").exception("connection lost")
        structlog.get_logger().error("store_away", reason=str(error), errors=[error], exc_info=True)
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 3
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "written", ["password=hunter2", "x user.info: hunter2", "a=b;api_key=hunter2"]
)
def test_text_that_assigns_a_secret_is_masked(written: str) -> None:
    assert mask({"a": [written]}) == {"a": ["***"]}


@pytest.mark.parametrize(
    ("command", "place"),
    [
        *(("run", place) for place in ("kafka", "kafka.options.https.proxy", "model.bundle")),
        *(("check", place) for place in ("kafka", "store.url", "features")),
    ],
)
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4], SHAPES[8]])
def test_a_command_that_does_not_start_shows_no_secret(
    command: str,
    place: str,
    shape: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    values = planted(place, shape.format("hunter2"))
    (tmp_path / "worker.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr("sys.argv", ["fraud-worker", command, "--pipeline", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == ExitCode.CONFIGURATION
    told = "".join(capfd.readouterr())
    assert told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        "rediss://[::1]:6379",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=1",
        "redis://localhost?db=1&client_name=worker",
    ],
)
def test_addresses_without_secrets_are_taken(url: str, tmp_path: Path) -> None:
    settings = load(tmp_path, store={"url": url})
    assert settings.store is not None
    assert settings.store.url == url
    assert "worker" not in settings.masked()["store"]["url"]


@pytest.mark.parametrize("url", ["http://a", "https://a:8081/path", "http://a:1,http://b:2"])
def test_registries_without_secrets_are_taken(url: str, tmp_path: Path) -> None:
    settings = load(tmp_path, registry={"url": url})
    assert settings.masked()["registry"]["url"] == url


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_secret_is_read_from_its_file(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hunter2\n", encoding=encoding)
    assert read_secret(path, "kafka.password_file").get_secret_value() == "hunter2"
    assert "hunter2" not in repr(read_secret(path, "kafka.password_file"))


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_names_setting_and_file(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"kafka\.password_file: .*password") as caught:
        read_secret(path, "kafka.password_file")
    assert "the secret" in str(caught.value)


def test_every_setting_says_what_it_means() -> None:
    for group in groups():
        assert group.name == "" or group.meaning.endswith(".")
        for setting in group.settings:
            assert setting.meaning.endswith("."), setting.name
            shown = setting.default or setting.example
            assert shown, f"{setting.name}: neither a default nor an example"


def test_the_reference_page_has_every_setting() -> None:
    page = configuration()
    for name in setting_names():
        assert f"`{variable_of(name)}`" in page or section_of_name(name), name


def section_of_name(name: str) -> bool:
    return any(group.name == name for group in groups())


def test_any_kafka_secret_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n")
    settings = load(tmp_path, kafka={"secret_files": {"ssl.key.password": "key"}})
    assert client_options(settings.kafka)["ssl.key.password"] == "hush"
    assert "hush" not in str(settings.masked())


@pytest.mark.parametrize(
    ("option", "options", "place"),
    [
        ("sasl.password", {}, "password_file"),
        ("ssl.key.password", {"ssl.key.password": "x"}, "options"),
    ],
)
def test_a_secret_named_twice_is_refused(
    option: str, options: dict[str, str], place: str, tmp_path: Path
) -> None:
    told = refusal(tmp_path, kafka={"secret_files": {option: "key"}, "options": options})
    assert f"secret_files: {option} has its place in {place}" in told
