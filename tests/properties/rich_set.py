"""A feature set with every kind of window, as a features.yaml and as the oracle has it."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from features.definition import FeatureSet
from features.windows import entity_windows
from tests.oracles.windows import Event, Raw, Rules, Window, always
from tests.support.making import feature_set

SECOND = 1_000_000
NAME = "rich"
NULLABLE = ("channel", "country")
KEYS = {
    "card": ["card"],
    "shop": ["shop"],
    "card_channel": ["card", "channel"],
    "shop_country": ["shop", "country"],
}
"""Fields of the key of each entity."""
ENTITIES = {
    entity: [{"field": path, "nullable": True} if path in NULLABLE else path for path in paths]
    if len(paths) > 1
    else paths[0]
    for entity, paths in KEYS.items()
}
OWN = "card"
"""The entity of the partition key: all its events are of one partition."""
SHARED = "shop"
"""An entity whose events are of several partitions."""
ALL_SHARED = (SHARED, "shop_country")
"""All such entities; the keys of the others have the partition key in them."""
AMOUNT_DIGITS = 2
PRICE_DIGITS = 4
DIRECT = {"amount": AMOUNT_DIGITS, "cents": 0, "price": PRICE_DIGITS, "x": 3, "z": 1}
"""Fields that windows read themselves, with the most digits that one of them keeps."""
OWN_DIGITS = {"amount": AMOUNT_DIGITS, "price": PRICE_DIGITS}
EARLIER_ONLY = ("first", "last", "time_since_first", "time_since_last")
CHANNELS = ["pos", "ecom"]

Numbers = tuple[int, int, int, int, int | None, bool]
"""Lateness, memory of ids, cap, support of the watermark, max_ahead; times in microseconds. True if
record timestamps are those of arrival."""
Condition = Callable[[Event], bool]


def _x_above_one(e: Event) -> bool:
    return isinstance(x := e.values["x"], float) and x > 1


CONDITIONS: Mapping[str, Condition] = {
    "": always,
    "channel == 'ecom'": lambda e: e.values["channel"] == "ecom",
    "not online": lambda e: e.values["online"] is False,
    "x > 1": _x_above_one,
    "CHANNEL == 0 or is_null(country)": lambda e: (
        e.values["CHANNEL"] == 0.0 or e.values["country"] is None
    ),
}


def _window(
    name: str,
    kind: str,
    by: str,
    over: int,
    *,
    delay: int = 0,
    of: str = "",
    scale: int | None = None,
    where: str = "",
    current: bool | None = None,
    default: float | None = None,
    same: str = "",
    half_life: int | None = None,
    percent: float | None = None,
) -> tuple[Window, dict[str, object]]:
    """The window, its times in seconds, and its entry in features.yaml."""
    entry: dict[str, object] = {"name": name, "window": kind, "by": by, "over": f"{over}s"}
    given: dict[str, object] = {"of": of, "scale": scale, "where": where, "same": same}
    given |= {"include_current": current, "percent": percent}
    entry |= {key: found for key, found in given.items() if found not in ("", None)}
    if delay:
        entry["delay"] = f"{delay}s"
    if half_life is not None:
        entry["half_life"] = f"{half_life}s"
    if default is not None:
        entry["default"] = default
    if by in ALL_SHARED:
        entry["across"] = "aligned" if delay else "best_effort"
    itself = not delay and kind not in EARLIER_ONLY
    usual = 0.0 if kind in ("count", "sum", "distinct", "fraud_share") else math.nan
    made = Window(
        name=name,
        kind=kind,
        entity=by,
        over=over * SECOND,
        delay=delay * SECOND,
        of=of,
        digits=OWN_DIGITS.get(of, scale or 0),
        where=CONDITIONS[where],
        current=itself if current is None else current,
        default=usual if default is None else default,
        same=same,
        same_digits=OWN_DIGITS.get(same, 0),
        half_life=None if half_life is None else half_life * SECOND,
        percent=50 if percent is None else percent,
    )
    return made, entry


ECOM, OFFLINE, ABOVE, MIXED = list(CONDITIONS)[1:]
_DECLARED = [
    _window("N3", "count", "card", 3),
    _window("N2_BEFORE", "count", "card", 2, current=False, default=-1),
    _window("N4_DELAYED", "count", "card", 4, delay=2),
    _window("N5_ECOM", "count", "card", 5, where=ECOM),
    _window("SUM5", "sum", "card", 5, of="amount"),
    _window("SUM2_CENTS", "sum", "card", 2, of="cents", current=False),
    _window("SUM4_PRICE", "sum", "card", 4, delay=1, of="price", where=OFFLINE),
    _window("SUM3_WORTH", "sum", "card", 3, of="WORTH", scale=1, default=math.nan),
    _window("SUM3_ONLINE", "sum", "card", 3, of="online"),
    _window("MEAN5", "mean", "card", 5, of="amount"),
    _window("MEAN3_X", "mean", "card", 3, of="x", scale=3, current=False),
    _window("MEAN4_CENTS", "mean", "card", 4, of="cents", default=0),
    _window("STD5", "std", "card", 5, of="amount"),
    _window("STD4_X", "std", "card", 4, delay=1, of="x", scale=2, default=-2.5),
    _window("STD6_CENTS", "std", "card", 6, of="cents", where=MIXED),
    _window("MIN3", "min", "card", 3, of="price"),
    _window("MIN4_Z", "min", "card", 4, of="z", scale=1, current=False),
    _window("MAX3_X", "max", "card", 3, of="x", scale=1, where=ABOVE),
    _window("MAX5_WORTH", "max", "card", 5, delay=3, of="WORTH", scale=2, default=7),
    _window("LAST5", "last", "card", 5, of="amount"),
    _window("LAST3_CENTS", "last", "card", 3, of="cents", current=True),
    _window("LAST4_X", "last", "card", 4, delay=2, of="x", scale=2, where=ECOM),
    _window("DISTINCT4", "distinct", "card", 4, of="country"),
    _window("DISTINCT3_CODE", "distinct", "card", 3, delay=1, of="merchant.code", where=MIXED),
    _window("DISTINCT5_SHOP", "distinct", "card", 5, of="shop", current=False),
    _window("DISTINCT5_X", "distinct", "card", 5, of="x", scale=0),
    _window("DISTINCT4_CHANNEL", "distinct", "card", 4, of="CHANNEL", scale=0, default=-1),
    _window("SINCE5", "time_since_last", "card", 5),
    _window("SINCE4_OFFLINE", "time_since_last", "card", 4, where=OFFLINE, default=99),
    _window("SINCE6_DELAYED", "time_since_last", "card", 6, delay=1),
    _window("RISK5", "fraud_share", "card", 5),
    _window("RISK4_DELAYED", "fraud_share", "card", 4, delay=2),
    _window("RISK3_ECOM", "fraud_share", "card", 3, where=ECOM, current=False, default=0.5),
    _window("N5_SAME_CHANNEL", "count", "card", 5, same="channel"),
    _window("SUM4_SAME_SHOP", "sum", "card", 4, of="cents", same="shop", where=OFFLINE),
    _window("N5_SAME_AMOUNT", "count", "card", 5, delay=1, same="amount", default=-1),
    _window("SINCE5_SAME_COUNTRY", "time_since_last", "card", 5, same="country"),
    _window("FIRST4", "first", "card", 4, of="amount"),
    _window("FIRST5_X", "first", "card", 5, of="x", scale=2, where=ABOVE, current=True),
    _window("AGE6", "time_since_first", "card", 6),
    _window("AGE5_ITSELF", "time_since_first", "card", 5, where=ECOM, current=True),
    _window("MODE5", "mode_share", "card", 5, of="channel"),
    _window("MODE4_SHOP", "mode_share", "card", 4, of="shop", current=False, default=0),
    _window("ENTROPY6", "entropy", "card", 6, of="shop"),
    _window("ENTROPY5_X", "entropy", "card", 5, of="x", scale=0, where=OFFLINE),
    _window("MEDIAN6", "median", "card", 6, of="amount"),
    _window("P90_5_X", "percentile", "card", 5, of="x", scale=3, percent=90, current=False),
    _window("P33_6_CENTS", "percentile", "card", 6, delay=1, of="cents", percent=33.3),
    _window("DECAYED6", "count", "card", 6, half_life=2),
    _window("DECAYED5_SUM", "sum", "card", 5, delay=2, of="amount", half_life=1, where=MIXED),
    _window("SHOP_N4", "count", "shop", 4),
    _window("SHOP_SAME_CARD", "count", "shop", 5, same="card", where=OFFLINE),
    _window("SHOP_MEDIAN5_SAME", "median", "shop", 5, delay=1, of="amount", same="channel"),
    _window("SHOP_ENTROPY5", "entropy", "shop", 5, of="card"),
    _window("SHOP_DECAYED5", "sum", "shop", 5, delay=1, of="cents", half_life=3),
    _window("SHOP_AGE4", "time_since_first", "shop", 4, delay=1),
    _window("SHOP_SUM3", "sum", "shop", 3, of="amount", current=False),
    _window("SHOP_STD5", "std", "shop", 5, of="amount"),
    _window("SHOP_LAST4", "last", "shop", 4, of="cents", current=True),
    _window("SHOP_FIRST1", "first", "shop", 1, of="cents", current=True),
    _window("SHOP_MIN3_X", "min", "shop", 3, delay=2, of="x", scale=1),
    _window("SHOP_CARDS", "distinct", "shop", 6, of="card", where=OFFLINE),
    _window("SHOP_SINCE4", "time_since_last", "shop", 4, delay=1),
    _window("SHOP_RISK4", "fraud_share", "shop", 4, delay=1),
    _window("SHOP_RISK5", "fraud_share", "shop", 5, where=MIXED),
    _window("LANE_N5", "count", "card_channel", 5),
    _window("LANE_SUM4", "sum", "card_channel", 4, delay=1, of="amount", where=OFFLINE),
    _window("LANE_AGE6", "time_since_first", "card_channel", 6),
    _window("LANE_SHOPS5", "distinct", "card_channel", 5, of="shop", same="country"),
    _window("LANE_RISK5", "fraud_share", "card_channel", 5),
    _window("PLACE_N4", "count", "shop_country", 4),
    _window("PLACE_MEAN5", "mean", "shop_country", 5, delay=1, of="cents"),
    _window("PLACE_RISK4", "fraud_share", "shop_country", 4, delay=2),
]
WINDOWS = tuple(window for window, _ in _DECLARED)
ALIGNED = frozenset(w.name for w in WINDOWS if w.entity in ALL_SHARED and w.delay)
SOONEST = {
    entity: min(w.delay for w in WINDOWS if w.entity == entity and w.name in ALIGNED)
    for entity in ALL_SHARED
}
"""Delay of an entity's aligned windows that end soonest before the event."""
RATIO = "N5_SHARE"
"""N5_ECOM / N3: an expression over windows."""

_HEAD = """\
name: {name}
events:
  schema: event.avsc
  id: id
  time: at
  amount: {{field: amount, scale: {amount_digits}}}
  partition_key: card
entities: {entities}
history:
  {{allowed_lateness: {lateness}s, duplicates: {remembered}s, cap: {cap}, {wild}}}
features:
  - {{name: WORTH, expr: x * z}}
  - {{name: CHANNEL, category: {{field: channel, values: {channels}}}}}
"""


def features_yaml(rules: Rules) -> str:
    """Delayed windows over what is not the partition key are aligned; others cannot be."""
    head = _HEAD.format(
        name=NAME,
        amount_digits=AMOUNT_DIGITS,
        entities=json.dumps(ENTITIES),
        lateness=rules.lateness // SECOND,
        remembered=rules.remembered // SECOND,
        cap=rules.cap,
        wild=f"watermark_support: {rules.support}"
        + (f", max_ahead: {rules.ahead // SECOND}s" if rules.ahead else "")
        + (", arrival: record_timestamp" if rules.arrival else ""),
        channels=CHANNELS,
    )
    ratio = f"  - {{name: {RATIO}, expr: N5_ECOM / N3}}\n"
    return head + "".join(f"  - {_yaml(entry)}\n" for _, entry in _DECLARED) + ratio


def _yaml(entry: Mapping[str, object]) -> str:
    """JSON is YAML, but for NaN."""
    return json.dumps(entry).replace("NaN", "nan")


def load(rules: Numbers) -> FeatureSet:
    """The compiled set, with the gain for which histories are compacted now: tests patch it."""
    return _load(rules, entity_windows.WORTH)


@cache
def _load(rules: Numbers, _gain: int) -> FeatureSet:
    with tempfile.TemporaryDirectory() as folder:
        return feature_set(Path(folder), features_yaml(make_rules(*rules)))


def make_rules(
    lateness: int,
    remembered: int,
    cap: int,
    support: int,
    ahead: int | None,
    arrives: bool,
) -> Rules:
    horizons = {
        entity: max(w.over + w.delay for w in WINDOWS if w.entity == entity) for entity in ENTITIES
    }
    shared = {
        entity: [(w.delay, w.over + w.delay) for w in WINDOWS if w.entity == entity]
        for entity in ALL_SHARED
    }
    arrival = SOONEST if arrives else {}
    return Rules(lateness, remembered, cap, horizons, support, ahead, shared, arrival)


def keys_of(values: Mapping[str, Raw]) -> dict[str, str]:
    """The key of each entity."""
    return {entity: _key([values[path] for path in paths]) for entity, paths in KEYS.items()}


def _key(parts: Sequence[Raw]) -> str:
    texts = ["" if part is None else str(part) for part in parts]
    if len(texts) == 1:
        return texts[0]
    return "|".join(t.replace("\\", "\\\\").replace("|", "\\|") or "\\N" for t in texts)


def derived(values: Mapping[str, Raw]) -> dict[str, Raw]:
    """The features made of the event alone that windows read."""
    x, z, channel = values["x"], values["z"], values["channel"]
    worth = x * z if isinstance(x, float) and isinstance(z, float) else math.nan
    codes = {name: float(code) for code, name in enumerate(CHANNELS)}
    return {"WORTH": worth, "CHANNEL": codes.get(str(channel), math.nan)}
