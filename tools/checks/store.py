"""Checks of the online store: it answers, and keeps the data that it is given."""

from __future__ import annotations

from base.errors import ConfigurationError
from features.store.redis import RedisStore, StoreInfo
from tools.checks.finding import Finding, failed, ok, warning
from worker.pipeline import open_store
from worker.settings import WorkerSettings

STORE, EVICTION, DURABILITY = "online store", "store eviction", "store durability"
_NEARLY_FULL = 0.9


def check_store(settings: WorkerSettings) -> list[Finding]:
    """Check that the store answers within its timeout, and that its settings are safe.

    Raises:
        DependencyUnavailableError: The store does not answer.
    """
    store = open_store(settings)
    try:
        store.ping()
        if not isinstance(store, RedisStore):
            return [ok(STORE, "none is needed")]
        try:
            info = store.info()
        except ConfigurationError as error:
            remedy = "allow INFO for the user, or check maxmemory-policy and appendonly by hand"
            return [ok(STORE, "it answers"), warning(EVICTION, str(error), remedy)]
    finally:
        store.close()
    return judge_store(info)


def judge_store(info: StoreInfo) -> list[Finding]:
    """Check the memory, eviction policy and persistence that a server reports."""
    used = f"{info.used_memory / 2**20:,.0f} MiB in use"
    findings = [ok(STORE, f"{info.server} {info.version}, {used}")]
    if info.eviction_policy == "noeviction":
        findings.append(ok(EVICTION, "noeviction"))
    else:
        remedy = "set maxmemory-policy to noeviction, and give the store enough memory"
        found = f"maxmemory-policy is {info.eviction_policy}: keys are evicted when memory is short"
        findings.append(failed(EVICTION, found, remedy))
    if info.maximum_memory and info.used_memory > _NEARLY_FULL * info.maximum_memory:
        share = info.used_memory / info.maximum_memory
        findings.append(warning(STORE, f"{share:.0%} of maxmemory is used", "raise maxmemory"))
    if info.append_only:
        findings.append(ok(DURABILITY, "append-only file on"))
    else:
        found = "the append-only file is off: a restart may lose lookups and histories"
        remedy = (
            "set appendonly yes; otherwise load the lookups again after each restart of the store, "
            "and windows are wrong until their histories are full again"
        )
        findings.append(warning(DURABILITY, found, remedy))
    return findings
