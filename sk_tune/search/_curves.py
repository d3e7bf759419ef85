# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning curves by epochs: their table, and the epoch that is best over all folds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FoldCurve", "best_epoch", "learning_curve_table"]

Floats = npt.NDArray[np.float64]

_CURVES = ("train_loss", "valid_loss", "valid_score")


def _no_epochs() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldCurve:
    """The T epochs of one candidate on one fold.

    Losses are less, scores greater for better ones; those on the held-out fold may be
    empty. `n_resources` is what the candidate had been given in all when the curve ends, in
    `rung`.
    """

    candidate: int
    fold: int
    train_loss: Floats
    valid_loss: Floats = field(default_factory=_no_epochs)
    valid_score: Floats = field(default_factory=_no_epochs)
    rung: int | None = None
    n_resources: int | None = None

    @property
    def n_epochs(self) -> int:
        """Epochs of the longest of the curves."""
        return max(len(getattr(self, name)) for name in _CURVES)


def best_epoch(curves: Any) -> int:
    """Return the epoch, counted from 1, at which the mean over folds is best.

    `curves`, (F, T), are scores after each epoch, NaN where a fold has none, for example
    after it stopped; of equal epochs the earliest counts. Raises ValueError if there is no
    epoch of which all folds have a score.

    The curve is not smoothed. Epochs that some fold did not reach are not compared: the
    mean over the folds that are left would favour or punish them for which folds those are.
    A fold without any score is left out.

    >>> best_epoch([[0.5, 0.8, 0.7], [0.6, 0.6, 0.8]])
    3
    >>> best_epoch([[0.5, 0.8, 0.7], [0.6, 0.6, float("nan")]])
    2
    """
    scores = np.asarray(curves, dtype=np.float64)
    scores = scores[~np.isnan(scores).all(axis=1)]
    mean = scores.mean(axis=0) if len(scores) else np.empty(0)
    if np.isnan(mean).all():
        raise ValueError(
            "The curves of best_epoch must have an epoch of which all folds have a score. "
            "Got none instead."
        )
    return 1 + int(np.nanargmax(mean))


def learning_curve_table(curves: Sequence[FoldCurve]) -> dict[str, npt.NDArray[Any]]:
    """Return curves as the columns of one tidy table, in their order.

    The columns are candidate, fold, epoch (from 1), train_loss, valid_loss and valid_score;
    and iter and n_resources, as in ``cv_results_``, if the curves have rungs.

    >>> curve = FoldCurve(candidate=0, fold=2, train_loss=np.array([0.7, 0.4]))
    >>> table = learning_curve_table([curve])
    >>> table["epoch"].tolist(), table["train_loss"].tolist()
    ([1, 2], [0.7, 0.4])
    """
    lengths = [curve.n_epochs for curve in curves]
    table: dict[str, npt.NDArray[Any]] = {
        "candidate": _repeated([curve.candidate for curve in curves], lengths),
        "fold": _repeated([curve.fold for curve in curves], lengths),
        "epoch": _concatenated([np.arange(1, n + 1) for n in lengths], np.int64),
    }
    for name in _CURVES:
        padded = [
            _padded(getattr(c, name), n) for c, n in zip(curves, lengths, strict=True)
        ]
        table[name] = _concatenated(padded, np.float64)
    rungs = [curve.rung for curve in curves if curve.rung is not None]
    if rungs:
        table["iter"] = _repeated(rungs, lengths)
        table["n_resources"] = _repeated([curve.n_resources for curve in curves], lengths)
    return table


def _repeated(values: Sequence[int | None], lengths: list[int]) -> npt.NDArray[Any]:
    return np.repeat(np.array(values, dtype=np.int64), lengths)


def _padded(curve: Floats, n_epochs: int) -> Floats:
    return np.append(curve, np.full(n_epochs - len(curve), np.nan))


def _concatenated(parts: list[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=dtype), *parts], dtype=dtype)
