"""Reasons of scores: contributions of the features, summed by the codes of the policy's catalogue.

Contributions are those of TreeSHAP, in log-odds: with the model's bias they add up to the margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.backend.protocol import Backend, Margins, Matrix
from models.policy import Coding

TOLERANCE = 1e-4
"""Largest accepted difference between the sum of contributions and the margin, in log-odds."""
_ROUNDING = 1e-5
"""Accepted difference as a share of the sum of absolute contributions, where that is above ten.

XGBoost adds up leaves in float32. Measured: up to 3e-6, for 1,000 trees; 7e-4 in all, which is no
fault, for a regression with margins of 1,000.
"""

Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """Reasons of E events, concatenated, and the features of each reason, concatenated.

    Attributes:
        rows: intp[E], places of the events in the batch.
        counts: intp[E], number of reasons of each event.
        codes: intp[M], the code of each reason, as a place in `code_names`.
        contributions: float32[M], contribution of each reason, in log-odds.
        sizes: intp[M], number of features of each reason.
        features: intp[K], features of the reasons, as places in `feature_names`.
        values: float32[K], values of these features.
        code_names: Names of the codes.
        feature_names: Names of the model's features.
        not_additive: Number of events whose contributions miss the margin by more than rounding.
        farthest: Largest difference between contributions and margin among all E events.
    """

    rows: Ints
    counts: Ints
    codes: Ints
    contributions: npt.NDArray[np.float32]
    sizes: Ints
    features: Ints
    values: npt.NDArray[np.float32]
    code_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    not_additive: int
    farthest: float


class Reasons:
    """Explains scores of one model by the codes of one policy."""

    def __init__(self, coding: Coding, backend: Backend) -> None:
        self._coding = coding
        self._backend = backend
        # int[F], the features in the order of their codes, and where those of each code stand
        self._starts = np.searchsorted(np.sort(coding.code_of), np.arange(len(coding.codes)))
        self._sizes = np.bincount(coding.code_of, minlength=len(coding.codes))
        # the first call is the slowest; no event shall wait for it
        backend.contributions(np.full((1, len(coding.features)), np.nan, dtype=np.float32))

    def explain(self, matrix: Matrix, margins: Margins, rows: Ints) -> Explained:
        """Explain the scores of the events in `rows` of a batch.

        A reason is a code whose features together raise the margin. The largest reasons come first,
        equal ones in the order of the catalogue, and at most as many as the catalogue allows. A
        reason names all features of its code that the model uses, those that raise the margin most
        first. A row's reasons are bit-equal alone and in any batch.

        Args:
            matrix: float32[N, F] in the model's order.
            margins: float32[N] that the model gave for it.
            rows: intp[E], places of the events to explain.
        """
        seen = np.ascontiguousarray(matrix[rows])
        found = self._backend.contributions(seen).astype(np.float64)
        by_feature, bias = found[:, :-1], found[:, -1]
        by_code = self._by_code(by_feature)
        off = np.abs(by_code.sum(axis=0, initial=0.0) + bias - margins[rows])
        allowed = np.maximum(TOLERANCE, _ROUNDING * np.abs(found).sum(axis=1))
        order = np.argsort(-by_code, axis=0, kind="stable")[: self._coding.most]
        largest = np.take_along_axis(by_code, order, axis=0)
        raises = largest > 0.0
        of_event, place = np.nonzero(raises.T)
        codes = order[place, of_event]
        sizes = self._sizes[codes]
        features = self._features(by_feature, of_event, codes, sizes)
        return Explained(
            rows=rows,
            counts=raises.sum(axis=0),
            codes=codes,
            contributions=largest[place, of_event].astype(np.float32),
            sizes=sizes,
            features=features,
            values=seen[np.repeat(of_event, sizes), features],
            code_names=self._coding.codes,
            feature_names=self._coding.features,
            not_additive=int(np.count_nonzero(~(off <= allowed))),
            farthest=float(off.max(initial=0.0)),
        )

    def _by_code(self, by_feature: Floats) -> Floats:
        """Contributions by code, float64[C, E], added one by one: the same bits in any batch."""
        by_code = np.zeros((len(self._coding.codes), len(by_feature)))
        for column, code in enumerate(self._coding.code_of.tolist()):
            by_code[code] += by_feature[:, column]
        return by_code

    def _features(self, by_feature: Floats, of_event: Ints, codes: Ints, sizes: Ints) -> Ints:
        """Features of each reason's code, intp[K]; those that raise the margin most come first."""
        code_of = np.broadcast_to(self._coding.code_of, by_feature.shape)
        by_code_and_size = np.lexsort((-by_feature, code_of), axis=1)
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
        at = np.repeat(self._starts[codes], sizes) + within
        found: Ints = by_code_and_size[np.repeat(of_event, sizes), at]
        return found
