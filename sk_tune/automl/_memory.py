# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What was learnt of each kind of model, for the rounds and for a later fit."""

from dataclasses import dataclass
from typing import Any

from sk_tune.automl._folds import Split
from sk_tune.automl._models import Model
from sk_tune.automl._sizes import Cost
from sk_tune.automl._trials import Trial
from sk_tune.report import data_fingerprint

__all__ = ["Kind", "Memory", "fingerprint"]


@dataclass(slots=True, eq=False)
class Kind:
    """A kind of model with what was learnt of it.

    Parameters
    ----------
    model : Model
        For `n_rows` rows.
    n_rows : int
        That its candidates are trained on in each fold.
    units : int
        Epochs or iterations of its candidates.
    cost : Cost or None
        Of a candidate in all folds; None where nothing asks for it.
    estimator, space : object
        What is searched; changed by the diagnosis.
    seconds_per_epoch : float
        Of one network of one fold among others; 0 until it was measured.
    """

    model: Model
    n_rows: int
    units: int
    cost: Cost | None
    estimator: Any
    space: dict[str, Any]
    seconds_per_epoch: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory:
    """What a later course on the same data can go on from.

    Parameters
    ----------
    seed : int
        Of the earlier fit.
    fingerprint : str
        Of its data.
    trials : list of Trial
        The best of each family.
    kinds : dict
        What was learnt of each kind of model.
    n_done : int
        Rounds that were done.
    scoring : object
        By which trials were judged.
    split : Split
        Rows that were set aside, and the folds of the others.
    """

    seed: int
    fingerprint: str
    trials: list[Trial]
    kinds: dict[str, Kind]
    n_done: int
    scoring: Any
    split: Split


def fingerprint(X: Any, y: Any, sample_weight: Any = None) -> str:
    """Return what tells the data of a fit from others.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, ...)
        Features.
    y : ndarray of shape (n_samples,)
        Targets.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows.

    Returns
    -------
    str
        Equal for equal values in the same order.
    """
    parts = [X, y] if sample_weight is None else [X, y, sample_weight]
    return ", ".join(map(data_fingerprint, parts))
