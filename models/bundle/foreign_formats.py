"""Recognise files that are not XGBoost models, and name their format and the remedy."""

from __future__ import annotations

import json
import re
import struct
from typing import Any, Final

from models.bundle.ubj import parse_ubj

_SAVE: Final = "save it with model.save_model('model.ubj')"
_OTHER_LIBRARY: Final = "export the model from its library as ONNX, and pack that file"
_LIGHTGBM: Final = f"a model of LightGBM; {_OTHER_LIBRARY}"
_CATBOOST: Final = f"a model of CatBoost; {_OTHER_LIBRARY}"
_DUMP: Final = f"a dump of trees (dump_model, get_dump), which XGBoost itself cannot load; {_SAVE}"
_PICKLE: Final = (
    "looks like a pickle, which is never loaded, because it can run any code; load it on a "
    f"machine where you trust it, then {_SAVE}"
)
_ARCHIVE: Final = (
    "looks like an archive or a compressed file (as joblib and R's saveRDS write); load it on a "
    f"machine where you trust it, then {_SAVE}"
)

# First tree of get_dump as text, DOT or JSON, also inside a list, and as text inside a JSON list.
_TREE: Final = re.compile(
    rb"\s*\[?\s*\"?\s*"
    rb"(?:\d+:(?:\[|leaf=)|bias:(?:\s|\\n)|digraph|\{\s*\\?\"(?:nodeid|leaf|bias)\\?\")"
)
_BEGINNINGS: Final = tuple(
    (re.compile(beginning, re.DOTALL), message)
    for beginning, message in (
        (rb"tree\r?\nversion=", f"is {_LIGHTGBM}"),
        (rb"CBM1", f"is {_CATBOOST}"),
        (rb"booster\[|" + _TREE.pattern, f"is {_DUMP}"),
        (rb"\xff\xfe|\xfe\xff", f"is UTF-16 text, not a model; {_SAVE}"),
        (rb"version https://git-lfs", "is a pointer of Git LFS; fetch the file with git lfs pull"),
        (rb"\s*<.{0,4000}<PMML|\s*<PMML", f"is a model in PMML; {_OTHER_LIBRARY}"),
        (rb"\s*<", f"is XML or HTML, not a model of XGBoost; {_SAVE}, or copy it again"),
        # Zip, gzip, zlib, bzip2, xz, lzma, lz4, zstandard, HDF5.
        (rb"PK\x03\x04|\x1f\x8b|x[\x01\x5e\x9c\xda]|BZh|\xfd7zXZ\x00|\]\x00\x00", _ARCHIVE),
        (rb"\x04\x22\x4d\x18|\x28\xb5\x2f\xfd|\x89HDF", _ARCHIVE),
        (rb"\x80", _PICKLE),
        # Pickle protocols 0 and 1 have no magic number. They begin with a class, or a container and
        # its place in the memo.
        (rb"\(?c[\w.]+\n[\w.]+\n|\([dlt]p\d+\n|[\]})]q\x00|\(i[\w.]+\n", _PICKLE),
        # They may also begin with a tuple that starts with text or a number.
        (rb"\([VS][^\n]{0,4000}\np\d+\n|\(X.{3}\x00|\(K.[\w(]|\(I\d+\n", _PICKLE),
    )
)
# XGBoost's old binary format: a header, then the length of the objective's name, and the name.
_MAGIC: Final = (b"binf", b"bs64")
_HEADER_BYTES: Final = 136
_VERSION_AT: Final = 20
_OBJECTIVE: Final = re.compile(rb"[a-z]+:[a-z]+")
_MAX_NAME: Final = 40


def is_onnx(beginning: bytes) -> bool:
    """Detect a model in ONNX: a protobuf message with a format version, then producer or graph.

    Args:
        beginning: Its first three bytes or more.
    """
    return re.match(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]", beginning) is not None


def explain_wrong_format(content: bytes) -> str:
    """Explain why a file is not an XGBoost model, by its first bytes, and say what to do.

    Returns:
        The rest of a sentence that begins with the file's name; "" if the file may be a model of
        XGBoost.
    """
    if content.startswith(b"{"):
        return ""
    if not content:
        return f"is empty; {_SAVE}, or copy it again"
    if old := _old_binary(content):
        return old
    text = content.removeprefix(b"\xef\xbb\xbf")
    for beginning, message in _BEGINNINGS:
        if beginning.match(text):
            return message
    if text.lstrip().startswith((b"{", b"[")):
        prefix = "blanks" if text is content else "a byte order mark"
        return explain_wrong_json(text.lstrip()) or f"begins with {prefix}; {_SAVE}"
    return f"is not a model of XGBoost: it begins with {content[:16]!r}; {_SAVE}"


def explain_wrong_json(content: bytes) -> str:
    """Explain why a JSON or UBJ document is not an XGBoost model, and say what to do.

    Returns:
        The rest of a sentence, as from `explain_wrong_format`; "" for a model of XGBoost.
    """
    if _TREE.match(content):
        return f"is {_DUMP}"
    try:
        document = parse_ubj(content) if content.startswith(b"{L") else json.loads(content)
    except (ValueError, RecursionError) as error:
        return f"is cut off or damaged ({error}); copy it again, or {_SAVE}"
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict) or not document:
        return f"is JSON without a model; {_SAVE}"
    if "tree_info" in document:
        return f"is {_LIGHTGBM}"
    if "oblivious_trees" in document or "features_info" in document:
        return f"is {_CATBOOST}"
    if document.keys() == {"Config", "Model"}:
        return f"is a snapshot of a booster, as pickles hold it; {_SAVE}"
    if "learner" in document:
        return _name_learner(document["learner"])
    keys = ", ".join(map(repr, list(document)[:5]))
    return f"is JSON, but not a model of XGBoost: it has {keys}; {_SAVE}"


def _name_learner(learner: Any) -> str:
    """Name a booster's configuration without trees; "" for a model with trees."""
    booster = learner.get("gradient_booster") if isinstance(learner, dict) else None
    if isinstance(booster, dict) and "model" not in booster and "gbtree" not in booster:
        return f"is the configuration of a booster (save_config), without trees; {_SAVE}"
    return ""


def _old_binary(content: bytes) -> str:
    """Name the binary format that XGBoost wrote by default before version 2.1; "" for another."""
    header = content.removeprefix(_MAGIC[0])
    if not content.startswith(_MAGIC):
        name = header[_HEADER_BYTES + 8 :][:_MAX_NAME]
        length = int.from_bytes(header[_HEADER_BYTES:][:8], "little")
        if not 0 < length <= len(name) or not _OBJECTIVE.fullmatch(name[:length]):
            return ""
    major, minor = 0, 0
    if len(header) >= _HEADER_BYTES and not content.startswith(_MAGIC[1]):
        major, minor = struct.unpack_from("<II", header, _VERSION_AT)
    version = f" of version {major}.{minor}" if 0 < major < 4 else ""
    return (
        f"is in XGBoost's old binary format{version}, which XGBoost cannot read since version 3.1; "
        "load it with XGBoost 1.6 to 3.0, and save it there with model.save_model('model.ubj')"
    )
