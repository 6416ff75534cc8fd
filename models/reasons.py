"""Reasons of scores: contributions of features, summed by the codes of the policy's catalogue.

TreeSHAP computes the contributions, in log-odds. With the model's bias they add up to the margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.arrays import Floats
from models.backend.protocol import Backend, Margins, Matrix
from models.policy import Coding

TOLERANCE = 1e-4
"""Largest accepted difference between the sum of contributions and the margin, in log-odds."""
_ROUNDING = 1e-5
"""Accepted difference as a share of the sum of absolute contributions, if that sum is above ten.

XGBoost adds leaves in float32. Measured: a share of up to 3e-6 for 1,000 trees; an absolute
difference of 7e-4, which is normal, for a regression with margins of 1,000.
"""

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """Reasons of E events, concatenated, and the features of each reason, concatenated.

    Attributes:
        rows: intp[E], rows of the events in the batch.
        counts: intp[E], number of reasons of each event.
        codes: intp[M], code of each reason, as a place in `code_names`.
        contributions: float32[M], contribution of each reason, in log-odds.
        sizes: intp[M], number of features of each reason.
        features: intp[K], features of the reasons, as places in `feature_names`.
        values: float32[K], values of these features.
        code_names: Names of the codes.
        feature_names: Names of the model's features.
        not_additive: Number of events whose contributions differ from the margin by more than
            rounding.
        farthest: Largest difference between the sum of contributions and the margin, in log-odds.
    """

    rows: Indices
    counts: Indices
    codes: Indices
    contributions: npt.NDArray[np.float32]
    sizes: Indices
    features: Indices
    values: npt.NDArray[np.float32]
    code_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    not_additive: int
    farthest: float


class Reasons:
    """Reasons of one model's scores, by the codes of one policy."""

    def __init__(self, coding: Coding, backend: Backend) -> None:
        self._coding = coding
        self._backend = backend
        # With the features sorted by code: first place and number of the features of each code.
        self._starts = np.searchsorted(np.sort(coding.code_of), np.arange(len(coding.codes)))
        self._sizes = np.bincount(coding.code_of, minlength=len(coding.codes))
        # The first call is the slowest, so it is made before the first event.
        backend.contributions(np.full((1, len(coding.features)), np.nan, dtype=np.float32))

    def explain(self, matrix: Matrix, margins: Margins, rows: Indices) -> Explained:
        """Explain the scores of the events in `rows` of a batch.

        A reason is a code whose features together raise the margin. The largest reasons come first,
        equal ones in the order of the catalogue. Their number is at most that of the catalogue. A
        reason has all features of its code that the model uses; those that raise the margin most
        come first. The reasons of a row have the same bits alone and in any batch.

        Args:
            matrix: float32[N, F] in the model's order.
            margins: float32[N], the model's margins for it.
            rows: intp[E], rows of the events to explain.
        """
        explained = np.ascontiguousarray(matrix[rows])
        contributions = self._backend.contributions(explained).astype(np.float64)
        by_feature, bias = contributions[:, :-1], contributions[:, -1]
        by_code = self._by_code(by_feature)
        difference = np.abs(by_code.sum(axis=0, initial=0.0) + bias - margins[rows])
        allowed = np.maximum(TOLERANCE, _ROUNDING * np.abs(contributions).sum(axis=1))
        order = np.argsort(-by_code, axis=0, kind="stable")[: self._coding.max_reasons]
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
            values=explained[np.repeat(of_event, sizes), features],
            code_names=self._coding.codes,
            feature_names=self._coding.features,
            not_additive=int(np.count_nonzero(~(difference <= allowed))),
            farthest=float(difference.max(initial=0.0)),
        )

    def _by_code(self, by_feature: Floats) -> Floats:
        """Contributions by code, float64[C, E], added in a fixed order: equal bits in any batch."""
        by_code = np.zeros((len(self._coding.codes), len(by_feature)))
        for column, code in enumerate(self._coding.code_of.tolist()):
            by_code[code] += by_feature[:, column]
        return by_code

    def _features(
        self, by_feature: Floats, of_event: Indices, codes: Indices, sizes: Indices
    ) -> Indices:
        """Features of each reason's code, intp[K]; those that raise the margin most come first.

        Args:
            by_feature: float64[E, F], contributions.
            of_event: intp[M], event of each reason.
            codes: intp[M], code of each reason.
            sizes: intp[M], number of features of each reason.
        """
        code_of = np.broadcast_to(self._coding.code_of, by_feature.shape)
        by_code_and_size = np.lexsort((-by_feature, code_of), axis=1)
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
        at = np.repeat(self._starts[codes], sizes) + within
        features: Indices = by_code_and_size[np.repeat(of_event, sizes), at]
        return features
