"""Settings of a worker: ``worker.yaml``, overridden by ``FRAUD_WORKER_…`` in the environment.

Variables of nested settings have two underscores: ``FRAUD_WORKER_KAFKA__GROUP=fraud``.
"""

from __future__ import annotations

from worker.settings.connections import KafkaSettings, Registry, Store
from worker.settings.load_settings import FILE_NAME, load_settings, require_folder
from worker.settings.secrets import read_secret
from worker.settings.sections import DeadLetterSettings, WorkerSettings

__all__ = [
    "FILE_NAME",
    "DeadLetterSettings",
    "KafkaSettings",
    "Registry",
    "Store",
    "WorkerSettings",
    "load_settings",
    "read_secret",
    "require_folder",
]
