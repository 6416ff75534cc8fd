"""Start the peers, each in an environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.programs import ROOT, Program, Run, RunError, Start, write_task
from benchmarks.testbed import Testbed, note
from tools.embedded.artifacts import fetched
from tools.embedded.java import find_java

PYTHON = ROOT / ".venv-peers" / "bin" / "python"
"""Python of the environment that `make bench SUITE=peers` makes."""
_HERE = Path(__file__).parent
_JARS = _HERE / "kafka-streams-4.2.2.sha256"
_SOURCE = _HERE / "KafkaStreamsPeer.java"
_JAVA = 17
_COMPILE_S = 120
_QUIX_READY = "is now processing incoming messages"


def quix(commit_s: float) -> Start:
    """Return a function that starts Quix Streams with this time between commits."""

    def start(testbed: Testbed, run: Run) -> Program:
        if not PYTHON.exists():
            raise RunError(f"{PYTHON} is missing: make bench SUITE=peers makes it")
        command = ["env", "OMP_WAIT_POLICY=PASSIVE", f"PYTHONPATH={ROOT}", str(PYTHON), "-m"]
        command += ["benchmarks.peers.quix", str(write_task(testbed, run)), str(commit_s)]
        return Program("Quix Streams", command, testbed.folder / f"{run.name}.log", _QUIX_READY)

    return start


def kafka_streams(classpath: str, commit_s: float) -> Start:
    """Return a function that starts Kafka Streams with this time between commits."""

    def start(testbed: Testbed, run: Run) -> Program:
        java = find_java(_JAVA).command
        command = [str(java), "-Xmx512m", "-cp", classpath, _SOURCE.stem]
        command += [str(write_task(testbed, run)), str(round(commit_s * 1000))]
        return Program("Kafka Streams", command, testbed.folder / f"{run.name}.log")

    return start


def compile_kafka_streams(folder: Path) -> str:
    """Fetch the libraries, compile the program into ``folder``, and return the class path.

    Raises:
        RunError: The program cannot be compiled.
    """
    jars = fetched(_JARS, "Kafka Streams")
    classpath = f"{jars}/*"
    note("compiling the program of Kafka Streams …")
    (compiler,) = jars.glob("ecj-*.jar")
    libraries = ":".join(map(str, sorted(jars.glob("*.jar"))))
    command = [str(find_java(_JAVA).command), "-jar", str(compiler), f"-{_JAVA}", "-proc:none"]
    command += ["-nowarn", "-cp", libraries, "-d", str(folder), str(_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_S, check=False)
    if done.returncode:
        raise RunError(f"{_SOURCE} cannot be compiled:\n{done.stderr}")
    return f"{classpath}:{folder}"
