"""Python features: entries with ``python:`` compiled to calls of a user's function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from base.arrays import Floats
from base.errors import HookError
from base.yaml_document import Location, YamlDocument
from features.definition.spec import FeatureSpec
from features.expression import Expression, ExpressionProgram
from features.hooks.python_files import PythonFiles
from features.hooks.python_hook import PythonHook
from features.values.frame import Frame


class PythonCompiler:
    """Compiler of python features; each function is proven once for each number of arguments."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self._files = PythonFiles(document.path.parent)
        self._proven: set[tuple[str, int]] = set()

    def compile(
        self, spec: FeatureSpec, location: Location, arguments: Sequence[Expression]
    ) -> tuple[Callable[[Frame], Floats], Any]:
        """Compile a python feature to its function and its definition.

        Args:
            spec: Entry of features.yaml.
            location: Place of the entry in features.yaml.
            arguments: Compiled arguments of the function.

        Returns:
            A function from a frame to float64[N], and the definition for the fingerprint.

        Raises:
            ConfigurationError: The entry is invalid; points at its place.
        """
        reference, written = str(spec.python), tuple(map(str, spec.args or ()))
        try:
            file, function, digest = self._files.function(reference, written)
            name = reference.rpartition(":")[2]
            hook = PythonHook(name, file, function, written)
            if (reference, len(written)) not in self._proven:
                hook.prove()
                self._proven.add((reference, len(written)))
        except HookError as error:
            key = "args" if error.of_arguments else "python"
            raise self._document.refuse((*location, key), str(error)) from error
        definition = {
            "python": digest,
            "function": name,
            "args": [argument.term.canonical for argument in arguments],
        }
        return _compute(spec.name, hook, arguments), definition


def _compute(
    feature: str, hook: PythonHook, arguments: Sequence[Expression]
) -> Callable[[Frame], Floats]:
    program = ExpressionProgram(
        {text: argument.term.node for text, argument in zip(hook.arguments, arguments, strict=True)}
    )

    def compute(frame: Frame) -> Floats:
        columns = program.run(frame)
        called = hook.call([columns[text] for text in hook.arguments])
        if called.failed.any():
            frame.failed[feature] = called.failed
        return called.values

    return compute
