"""Import of pyarrow without pandas, for commands that do not need pandas."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder


def spare_pandas() -> None:
    """Make pyarrow believe, for the whole process, that pandas is not installed.

    On the first array that it makes from a list, pyarrow looks for pandas and imports it. The
    import is not needed, and takes 0.4 s of the 3 s of a table (measured). Other code can still
    import pandas.
    """
    import pyarrow as pa

    if "pandas" in sys.modules:
        return
    hiding = _Hiding()
    sys.meta_path.insert(0, hiding)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(hiding)


class _Hiding(MetaPathFinder):
    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
