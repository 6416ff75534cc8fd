"""``fraud-worker dev`` starts servers that stay, and ends no process but its own."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka.admin import AdminClient

from tools.embedded.process import free_port

Dev = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    def run(command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tools", "dev", command, "--dir", str(tmp_path), *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    yield run
    run("down")


def test_up_again_down_and_up_with_the_same_data(dev: Dev) -> None:
    ports = ("--kafka-port", str(free_port()), "--valkey-port", str(free_port()))
    done = dev("up", *ports, "--topic", "transactions:3")
    assert done.returncode == 0, done.stderr
    kafka, url = re.fullmatch(r"Kafka:  (\S+)\nValkey: (\S+)\n", done.stdout).groups()  # type: ignore[union-attr]
    with redis.Redis.from_url(url) as client:
        client.set("k", "v")

    again = dev("up", *ports, "--topic", "transactions:3")
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "Both are already running." in again.stderr

    assert "Stopped kafka and valkey." in dev("down").stderr
    assert "No server was running." in dev("down").stderr
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(url) as client:
        client.ping()

    assert dev("up", *ports).returncode == 0
    with redis.Redis.from_url(url) as client:
        assert client.get("k") == b"v"
    with AdminClient({"bootstrap.servers": kafka}) as admin:
        assert len(admin.list_topics(timeout=30).topics["transactions"].partitions) == 3


def test_a_process_id_that_went_to_another_process_is_left_alone(dev: Dev, tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with other:
        stale = {"pid": other.pid, "born": 1.0, "address": "127.0.0.1:9092"}
        (tmp_path / "running.json").write_text(json.dumps({"kafka": stale}))
        assert "No server was running." in dev("down").stderr
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0
    assert not (tmp_path / "running.json").exists()


def test_a_taken_port_is_named(dev: Dev) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = dev("up", "--kafka-port", str(other.getsockname()[1]))
    assert done.returncode == 2
    assert "--kafka-port: something else listens on port" in done.stderr
