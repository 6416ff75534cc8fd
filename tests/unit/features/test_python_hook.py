from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from base.errors import HookError
from features.hooks.calls import HookFile
from features.hooks.python_files import PythonFiles
from features.hooks.python_hook import PythonHook

HEADER = "import numpy as np\n\n\n"


def hook(folder: Path, code: str, *arguments: str, name: str = "f") -> PythonHook:
    (folder / "own.py").write_text(HEADER + dedent(code), encoding="utf-8")
    path, function, _ = PythonFiles(folder).function(f"./own.py:{name}", arguments)
    return PythonHook(name, path, function, arguments)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_a_function_of_columns_gives_a_column(tmp_path: Path) -> None:
    made = hook(tmp_path, "def f(a, b):\n    return a / b", "a", "b")
    made.prove()
    called = made.call([column(1, np.nan, 3), column(2, 1, 4)])
    np.testing.assert_array_equal(called.values, [0.5, np.nan, 0.75])
    assert called.values.dtype == np.float64
    assert not called.failed.any()


def test_a_python_hook_is_not_called_without_rows(tmp_path: Path) -> None:
    made = hook(tmp_path, "def f(a):\n    raise RuntimeError", "a")
    assert made.call([column()]).values.shape == (0,)


PURE = {
    "plain": "return a * 2.0 - b",
    "functions of numpy": "return np.sin(np.radians(a)) * np.arcsin(np.sqrt(np.abs(b)))",
    "an argument itself": "return a",
    "a strided result": "return np.column_stack([a, b])[:, 1]",
    "row by row": "return np.array([min(x, y) for x, y in zip(a.tolist(), b.tolist())])",
}


@pytest.mark.parametrize("body", PURE.values(), ids=PURE.keys())
def test_a_function_of_each_row_is_proven(body: str, tmp_path: Path) -> None:
    hook(tmp_path, f"def f(a, b):\n    {body}", "a", "b").prove()


IMPURE = {
    "the mean of its neighbours": ("return a - np.mean(a)", "among others"),
    "a running sum": ("return np.cumsum(np.nan_to_num(a))", "among others"),
    "the row above": ("return np.roll(a, 1)", "among others"),
    "a rank": ("return np.argsort(np.argsort(a)).astype(np.float64)", "among others"),
    "the number of rows": ("return a + len(a)", "among others"),
    "the first row": ("return np.full(len(a), a[0])", "among others"),
    "whether any is missing": ("return np.where(np.isnan(a).any(), np.nan, a)", "among others"),
    "a sum that rounds otherwise": (
        "m = np.nan_to_num(a, posinf=0, neginf=0).max(); return (a + m) - m",
        "among others",
    ),
    "only its sign of zero": (
        "z = np.zeros(len(a)); z[len(a) // 2 :] = -0.0; return z",
        "alone",
    ),
    "chance": ("return a + np.random.random(len(a))", "alone"),
    "what it remembers": ("SEEN.append(1); return a + len(SEEN)", "alone"),
}


@pytest.mark.parametrize(("body", "company"), IMPURE.values(), ids=IMPURE.keys())
def test_a_function_of_more_than_the_row_is_refused(
    body: str, company: str, tmp_path: Path
) -> None:
    made = hook(tmp_path, f"SEEN = []\n\n\ndef f(a, b):\n    {body}", "lat", "x + 1")
    with pytest.raises(
        HookError, match=r"f gives .* for a row alone and .* for the same row"
    ) as no:
        made.prove()
    assert company in str(no.value)
    assert "lat = " in str(no.value)
    assert "x + 1 = " in str(no.value)
    assert str(no.value).endswith(
        "; compute each row from its own values only, and remember nothing"
    )


def test_a_function_that_alternates_is_refused(tmp_path: Path) -> None:
    """It gives the rows alone what it gives them together, the first time."""
    code = """\
        CALLS = []


        def f(a):
            if len(a) > 1:
                CALLS.append(1)
            return a + (len(CALLS) > 1)
    """
    with pytest.raises(HookError, match="for the same row when called again"):
        hook(tmp_path, code, "a").prove()


WRONG = {
    "float32": ("return a.astype(np.float32)", r"returns float32\[1\] where it has to return"),
    "whole numbers": ("return a > 0", r"returns bool\[1\]"),
    "a sum": ("return a.sum()", "returns float64 where"),
    "nothing": ("pass", "returns NoneType"),
    "a list": ("return list(a)", "returns list"),
    "a table": ("return np.stack([a, a])", r"returns float64\[2, 1\]"),
    "fewer rows": ("return a[~np.isnan(a)]", r"returns float64\[0\] where .* float64\[1\]"),
    "a masked array": ("return np.ma.masked_invalid(a)", "returns MaskedArray"),
    "an error for some rows": (
        "if a[0] < 0: raise ValueError('negative')\n    return a",
        r"raises ValueError: negative \(own.py, line 5\) for a = -1.0; give nan where there is no",
    ),
    "an error without words": (
        "assert a[0] == a[0]\n    return a",
        r"raises AssertionError \(own.py, line 5\) for a = nan",
    ),
    "a test of a whole column": (
        "return a if a > 0 else -a",
        r"raises ValueError: The truth value .* \(own.py, line 5\); it is called with a column",
    ),
    "a write to its argument": ("a[0] = 0.0\n    return a", "raises .*; do not modify the argu"),
}


@pytest.mark.parametrize(("body", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_python_hook_has_to_return_a_column_of_float64(
    body: str, message: str, tmp_path: Path
) -> None:
    made = hook(tmp_path, f"def f(a):\n    {body}", "a")
    with pytest.raises(HookError, match="^f " + message):
        made.prove()


def test_a_row_that_raises_is_missing_and_told_and_its_neighbours_are_not(tmp_path: Path) -> None:
    code = """\
        def f(a):
            if (a == 13).any():
                raise ValueError
            return a * 2.0
    """
    made = hook(tmp_path, code, "a")
    values = np.arange(100.0)
    values[70] = 13.0
    called = made.call([values])
    wrong = values == 13
    np.testing.assert_array_equal(called.failed, wrong)
    np.testing.assert_array_equal(called.values, np.where(wrong, np.nan, values * 2))


def test_a_column_that_raises_as_a_whole_gives_its_rows_alone(tmp_path: Path) -> None:
    code = """\
        def f(a):
            if len(a) > 1:
                raise MemoryError
            return a + 1.0
    """
    called = hook(tmp_path, code, "a").call([column(1, 2, 3)])
    np.testing.assert_array_equal(called.values, [2, 3, 4])
    assert not called.failed.any()


@pytest.mark.parametrize("body", ["raise SystemExit(1)", "return a[:0]", "return None"])
def test_values_of_a_python_hook_that_fails_are_missing(body: str, tmp_path: Path) -> None:
    called = hook(tmp_path, f"def f(a):\n    {body}", "a").call([column(1, 2, 3)])
    assert np.isnan(called.values).all()
    assert called.failed.all()


ODD = """\
class Odd(BaseException):
    def __str__(self):
        raise SystemExit(4)


class Unprintable(Exception):
    def __str__(self):
        raise Odd


"""
ENDS = {
    "a SystemExit": ("SystemExit(3)", "SystemExit: 3"),
    "a KeyboardInterrupt of its own": ("KeyboardInterrupt", "KeyboardInterrupt"),
    "a GeneratorExit": ("GeneratorExit('x')", "GeneratorExit: x"),
    "a BaseException": ("BaseException('x')", "BaseException: x"),
    "an exception that ends the process when shown": ("Odd", "Odd"),
    "an exception that raises another when shown": ("Unprintable", "Unprintable"),
    "a group": (
        "BaseExceptionGroup('g', [KeyboardInterrupt()])",
        r"BaseExceptionGroup: g \(1 sub-exception\)",
    ),
    "a long one": ("ValueError('9' * 10**6)", f"ValueError: {'9' * 300}…"),
    "one of many lines": (r"ValueError('a\nb\x1b[2J\ud800')", r"ValueError: a b�\[2J�"),
}


@pytest.mark.parametrize(("error", "said"), ENDS.values(), ids=ENDS.keys())
def test_nothing_that_a_function_raises_escapes(error: str, said: str, tmp_path: Path) -> None:
    made = hook(tmp_path, f"{ODD}def f(a):\n    raise {error}", "a")
    called = made.call([column(1, 2, 3)])
    assert np.isnan(called.values).all()
    assert called.failed.all()
    with pytest.raises(HookError, match=rf"^f raises {said} \(own.py, line 15\) for a = nan"):
        made.prove()


@pytest.mark.parametrize(("error", "said"), ENDS.values(), ids=ENDS.keys())
def test_nothing_that_a_file_raises_escapes(error: str, said: str, tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(HookError, match=rf"^own.py cannot be loaded: it raises {said} \(own.py, l"):
        hook(tmp_path, f"{ODD}raise {error}", "a")
    assert set(sys.modules) == before


LOOKED_UP = {
    "the file's attributes": "def __getattr__(name): raise KeyboardInterrupt",
    "its values": "class X:\n    __module__ = property(lambda self: exit())\n\n\nx = X()",
    "its signature": (
        "class F:\n    def __call__(self, a): return a\n    @property\n"
        "    def __signature__(self): raise GeneratorExit\n\n\nf = F()"
    ),
}


@pytest.mark.parametrize("code", LOOKED_UP.values(), ids=LOOKED_UP.keys())
def test_nothing_that_looking_a_function_up_raises_escapes(code: str, tmp_path: Path) -> None:
    with pytest.raises(HookError, match=r"^f cannot be used: it raises .+ \(own.py, line \d"):
        hook(tmp_path, code, "a")


@pytest.fixture
def python_handles_ctrl_c() -> Iterator[None]:
    """Python's own handler: a run in the background of a shell has inherited that SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "body",
    [
        "signal.raise_signal(signal.SIGINT)",
        "\n    try:\n        signal.raise_signal(signal.SIGINT)\n    except BaseException: pass",
        "\n    try:\n        signal.raise_signal(signal.SIGINT)\n    except: raise ValueError",
    ],
)
@pytest.mark.usefixtures("python_handles_ctrl_c")
def test_ctrl_c_while_a_function_runs_ends_a_command(body: str, tmp_path: Path) -> None:
    made = hook(tmp_path, f"import signal\n\n\ndef f(a):\n    {body}\n    return a", "a")
    for begin in (lambda: made.call([column(1, 2)]), made.prove):
        with pytest.raises(KeyboardInterrupt):
            begin()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_the_worker_has_set_is_left_in_place(tmp_path: Path) -> None:
    asked: list[int] = []
    made = hook(
        tmp_path,
        "import signal\n\n\ndef f(a):\n    signal.raise_signal(signal.SIGINT)\n    return a",
        "a",
    )
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        called = made.call([column(1)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert called.values == 1
    assert asked == [signal.SIGINT]


def test_in_another_thread_a_keyboard_interrupt_is_the_functions_own(tmp_path: Path) -> None:
    made = hook(tmp_path, "def f(a):\n    raise KeyboardInterrupt", "a")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(made.call, [column(1)]).result().failed.all()


WRITES = {
    "in place": "a += 1.0",
    "by its flag": "a.flags.writeable = True; a[:] = 9.0",
    "by setflags": "a.setflags(write=True); a[:] = 9.0",
    "through its base": "b = a.base; b.setflags(write=True); b[:] = 9.0",
    "through a view": "b = a.view(); b.flags.writeable = True; b[:] = 9.0",
    "through memory": "memoryview(a)[0] = 9.0",
    "by strides": "np.lib.stride_tricks.as_strided(a, writeable=True)[:] = 9.0",
    "by out": "np.negative(a, out=a)",
    "by sorting": "a.sort()",
}


@pytest.mark.parametrize("body", WRITES.values(), ids=WRITES.keys())
def test_a_function_that_changes_its_arguments_is_refused_and_changes_nothing(
    body: str, tmp_path: Path
) -> None:
    made = hook(tmp_path, f"def f(a, b):\n    {body}\n    return a", "x", "y")
    with pytest.raises(HookError, match=r"^f raises "):
        made.prove()
    given = column(3, 1, 2)
    assert made.call([given, given]).failed.all()
    np.testing.assert_array_equal(given, [3, 1, 2])


@pytest.mark.parametrize("body", [WRITES["in place"], WRITES["by its flag"], WRITES["by setflags"]])
def test_a_function_that_changes_its_arguments_is_told_what_to_do(
    body: str, tmp_path: Path
) -> None:
    made = hook(tmp_path, f"def f(a):\n    {body}\n    return a", "x")
    with pytest.raises(HookError, match="do not modify the arguments; copy them first"):
        made.prove()


def test_a_function_that_writes_past_numpy_changes_a_copy_of_its_own(tmp_path: Path) -> None:
    code = """\
        def f(a, b):
            class Writeable:
                __array_interface__ = {
                    **a.__array_interface__, "data": (a.__array_interface__["data"][0], False)
                }
            np.asarray(Writeable)[:] = 9.0
            return b * 1.0
    """
    given = column(3, 1, 2)
    np.testing.assert_array_equal(hook(tmp_path, code, "x", "x").call([given, given]).values, given)
    np.testing.assert_array_equal(given, [3, 1, 2])


def test_a_function_may_use_one_buffer_for_all_its_results(tmp_path: Path) -> None:
    code = """\
        BUFFER = np.empty(10_000)


        def f(a):
            return np.multiply(a, 2.0, out=BUFFER[: len(a)])
    """
    made = hook(tmp_path, code, "a")
    made.prove()
    first = made.call([column(1, 2, 3)]).values
    made.call([column(4, 5, 6)])
    np.testing.assert_array_equal(first, [2, 4, 6])


FILES = {
    "no function": ("def g(a): ...", "./own.py", "names no function; write its file and name"),
    "not a Python file": ("", "./own.txt:f", "names no function"),
    "not a name": ("", "./own.py:a.b", "names no function"),
    "no file": ("", "./other.py:f", "other.py cannot be read: No such file or directory; put the"),
    "a misspelt name": ("def haversine(a): ...", "./own.py:havresine", "did you mean 'haversine'?"),
    "no such name": ("def g(a): ...", "./own.py:f", "own.py: unknown function 'f'; known are: g"),
    "a number": ("f = 3", "./own.py:f", r"unknown function 'f' \(f is an int\)"),
    "no Python": ("def f(a:\n    pass", "./own.py:f", r"own.py:4:6: this is not Python: '\(' was"),
    "null bytes": ("x = '\0'", "./own.py:f", "own.py.*: this is not Python"),
    "raises": ("x = 1 / 0", "./own.py:f", r"raises ZeroDivisionError: .* \(own.py, line 4\)"),
    "a missing package": ("import nosuchpackage", "./own.py:f", "ModuleNotFoundError: No module"),
    "its neighbour": ("import beside", "./own.py:f", "own.py:4:1: imports a file beside it, which"),
    "later": ("def f(a):\n    from beside import x", "./own.py:f", "own.py:5:5: imports a file"),
    "a package": ("import parts.one", "./own.py:f", "own.py:4:1: imports a file beside it"),
    "a relative one": ("from . import beside", "./own.py:f", "own.py:4:1: imports a file beside"),
}


@pytest.mark.parametrize(("code", "reference", "message"), FILES.values(), ids=FILES.keys())
def test_a_file_that_does_not_hold_is_refused(
    code: str, reference: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(HEADER + code, encoding="utf-8")
    (tmp_path / "beside.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").touch()
    with pytest.raises(HookError, match=message) as refusal:
        PythonFiles(tmp_path).function(reference, ["a"])
    assert not refusal.value.of_arguments


LOADS = {
    "import_module": "importlib.import_module('beside')",
    "__import__": "__import__('beside')",
    "a package": "importlib.import_module('parts')",
    "a folder without __init__": "importlib.import_module('loose.inner')",
    "its path": (
        "spec = importlib.util.spec_from_file_location('other', HERE / 'beside.py'); "
        "spec.loader.exec_module(importlib.util.module_from_spec(spec))"
    ),
    "runpy": "runpy.run_path(str(HERE / 'beside.py'))",
    "exec": "p = HERE / 'beside.py'; exec(compile(p.read_text(), p, 'exec'))",
    "a link": "runpy.run_path(str(HERE / 'link.py'))",
}


@pytest.fixture
def neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is importable, as where a command is started in it with ``python -m``."""
    for folder in ("parts", "loose"):
        (tmp_path / folder).mkdir()
    for file in ("beside.py", "parts/__init__.py", "loose/inner.py"):
        (tmp_path / file).write_text("def f(a): return a\n", encoding="utf-8")
    (tmp_path / "link.py").symlink_to("beside.py")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


LOADING = (
    "import importlib.util, runpy\nfrom pathlib import Path\nHERE = Path(__file__).parent\n\n\n"
)


@pytest.mark.parametrize("statement", LOADS.values(), ids=LOADS.keys())
def test_code_of_a_file_beside_it_does_not_run(statement: str, neighbours: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(HookError, match=r"ImportError: \w+.py lies beside it, .* own.py"):
        hook(neighbours, f"{LOADING}{statement}\n\n\ndef f(a): return a", "a")
    later = f"{LOADING}def f(a):\n    {statement}\n    return a"
    made = hook(neighbours, later, "a")
    with pytest.raises(HookError, match=r"f raises ImportError: \w+.py lies beside it, .* own.py"):
        made.prove()
    assert made.call([column(1, 2)]).failed.all()
    assert not {"beside", "parts", "loose.inner"} & (set(sys.modules) - before)


def test_a_file_in_a_folder_does_not_import_one_beside_features_yaml(neighbours: Path) -> None:
    (neighbours / "code").mkdir()
    (neighbours / "code" / "own.py").write_text("import beside\nf = beside.f\n", "utf-8")
    with pytest.raises(HookError, match=r"own.py:1:1: imports a file beside it"):
        PythonFiles(neighbours).function("./code/own.py:f", ["a"])


def test_installed_packages_may_be_imported_also_where_the_folder_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    file = HookFile(tmp_path / "own.py", Path("/"))
    assert file.run(importlib.import_module, "colorsys").__name__ == "colorsys"


def test_modules_beside_a_python_hook_can_be_imported_elsewhere(neighbours: Path) -> None:
    made = hook(neighbours, "def f(a): return a", "a")
    made.call([column(1)])
    assert importlib.import_module("beside").f(1) == 1
    del sys.modules["beside"]


ELSEWHERE = {
    "above": ("../secret.py", "pipeline"),
    "through a folder": ("./code/../../secret.py", "pipeline"),
    "absolute": ("{root}/secret.py", "pipeline"),
    "a link": ("./link.py", "pipeline"),
    "a link to a link": ("./code/link.py", "pipeline"),
    "a link to a folder": ("./out/secret.py", "pipeline"),
    "a folder whose name begins alike": ("../pipeline2/own.py", "pipeline"),
    "the pipeline folder is a link": ("../secret.py", "as-link"),
}


@pytest.mark.parametrize(("file", "folder"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_file_outside_the_folder_is_not_run(file: str, folder: str, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline"
    for made in ("pipeline/code", "pipeline2"):
        (tmp_path / made).mkdir(parents=True)
    code = (
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\ndef f(a): return a\n"
    )
    for path in (tmp_path / "secret.py", tmp_path / "pipeline2" / "own.py"):
        path.write_text(code, encoding="utf-8")
    (pipeline / "link.py").symlink_to("../secret.py")
    (pipeline / "code" / "link.py").symlink_to("../link.py")
    (pipeline / "out").symlink_to("..")
    (tmp_path / "as-link").symlink_to("pipeline")
    reference = f"{file.format(root=tmp_path)}:f"
    with pytest.raises(
        HookError, match=r"leads to .*\.py, outside .*pipeline; put the file itself"
    ):
        PythonFiles(tmp_path / folder).function(reference, ["a"])
    assert not (tmp_path / "ran").exists()


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "real.py").write_text("def f(a): return a\n", encoding="utf-8")
    (tmp_path / "own.py").symlink_to("code/real.py")
    (tmp_path.parent / f"{tmp_path.name}-link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path.parent / f"{tmp_path.name}-link"):
        for reference in ("./own.py:f", "./code/../own.py:f", f"{folder}/own.py:f"):
            PythonFiles(folder).function(reference, ["a"])


@pytest.mark.parametrize("kind", ["pipe", "folder", "circle", "null byte"])
def test_a_python_path_that_is_no_regular_file_is_refused_and_not_waited_for(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.py"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "circle":
            path.symlink_to("own.py")
    reference = "./o\0wn.py:f" if kind == "null byte" else "./own.py:f"
    with pytest.raises(
        HookError, match=r"is not a plain file; put|cannot be read: .*; put the file"
    ):
        PythonFiles(tmp_path).function(reference, ["a"])


@pytest.mark.parametrize(
    ("parameters", "arguments", "message"),
    [
        ("a, b", 1, r"f\(a, b\) does not take 1 argument: missing a required argument: 'b'; corr"),
        ("a", 3, r"f\(a\) does not take 3 arguments: too many"),
        ("a, *, b", 2, "does not take 2 arguments"),
    ],
)
def test_the_number_of_arguments_is_that_of_the_function(
    parameters: str, arguments: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(HookError, match=message) as refusal:
        hook(tmp_path, f"def f({parameters}): ...", *"abcdef"[:arguments])
    assert refusal.value.of_arguments


@pytest.mark.parametrize("parameters", ["a, b", "a, b=1", "*all", "a, b, c=0, *, d=0"])
def test_defaults_and_stars_may_take_them(parameters: str, tmp_path: Path) -> None:
    hook(tmp_path, f"def f({parameters}): ...", "a", "b")


def test_a_function_that_the_file_imports_will_do(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from numpy import hypot\n", encoding="utf-8")
    path, function, _ = PythonFiles(tmp_path).function("./own.py:hypot", ["a", "b"])
    made = PythonHook("hypot", path, function, ("a", "b"))
    made.prove()
    assert made.call([column(3), column(4)]).values == 5


def test_a_file_may_define_dataclasses(tmp_path: Path) -> None:
    code = """\
        from dataclasses import dataclass


        @dataclass
        class Place:
            lat: "float"


        def f(a):
            return a + Place(1.0).lat
    """
    assert hook(tmp_path, code, "a").call([column(1)]).values == 2


def test_a_file_is_run_once_and_as_it_was_read(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from pathlib import Path\n"
        "with (Path(__file__).parent / 'runs').open('a') as runs:\n    runs.write('.')\n"
        "def f(a): return a\n"
        "def g(a): return a\n",
        encoding="utf-8",
    )
    files = PythonFiles(tmp_path)
    _, _, first = files.function("./own.py:f", ["a"])
    _, _, second = files.function("./own.py:g", ["a"])
    assert first == second
    assert (tmp_path / "runs").read_text() == "."
    assert not (tmp_path / "__pycache__").exists()
