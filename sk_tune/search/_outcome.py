# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search remembers of each candidate on each fold, and the tables made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier

__all__ = [
    "Held",
    "Outcome",
    "hold",
    "out_of_fold_predictions",
    "positions",
    "without_values",
]

Array = npt.NDArray[Any]


def _no_epochs() -> Array:
    return np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """What a candidate predicts on the rows of a fold that it was not trained on.

    Parameters
    ----------
    rows : ndarray of shape (n_test,)
        Positions of these rows.
    values : ndarray of shape (n_test,) or (n_test, n_outputs), or None
        Probabilities (1 and 0 if a classifier knows labels only), or predictions of a
        regressor; None if they are not kept.
    classes : ndarray of shape (n_classes,) or None
        Which class each column of `values` is the probability of.
    is_of_predict : bool, default=False
        Whether `values` are what ``predict`` returns, and so say nothing of how sure a
        classifier is.
    """

    rows: Array
    values: Array | None
    classes: Array | None
    is_of_predict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What became of a candidate on a fold.

    Parameters
    ----------
    train_loss, valid_loss, valid_score : ndarray of shape (n_epochs,)
        Of each epoch; empty for what is no network.
    held : Held or None
        Predictions on the held-out rows.
    n_epochs : int
        Epochs that were trained for it.
    n_resumed : int
        Epochs that it went on from, which were not trained again.
    n_loaded : int
        Epochs that were trained in an earlier run, and came from the store.
    n_again : int
        Epochs that were trained once more to get to the best one.
    n_granted, n_granted_before : int
        Epochs that it might have behind it now, and before this rung.
    seconds : float
        Time that the training took, in one thread.
    engine : {"fleet", "reference", ""}
        Which engine trained it; empty if it trained itself.
    solo_reason : str
        Why no fleet could carry it.
    reason : str
        Why it has no score; empty if it has.
    was_stopped : bool
        Whether it lost a race, which is no failure.
    """

    train_loss: Array = field(default_factory=_no_epochs)
    valid_loss: Array = field(default_factory=_no_epochs)
    valid_score: Array = field(default_factory=_no_epochs)
    held: Held | None = None
    n_epochs: int = 0
    n_resumed: int = 0
    n_loaded: int = 0
    n_again: int = 0
    n_granted: int = 0
    n_granted_before: int = 0
    seconds: float = 0.0
    engine: str = ""
    solo_reason: str = ""
    reason: str = ""
    was_stopped: bool = False


def hold(estimator: Any, X: Any, rows: Array) -> Held | None:
    """Let a fitted estimator predict the samples at positions `rows`; None if it cannot."""
    classes = getattr(estimator, "classes_", None) if is_classifier(estimator) else None
    has_columns = isinstance(classes, np.ndarray) and classes.ndim == 1
    has_probabilities = hasattr(estimator, "predict_proba")
    try:
        if has_probabilities:
            values = _as_array(estimator.predict_proba(X), classes)
        elif has_columns:
            values = (np.asarray(estimator.predict(X))[:, None] == classes).astype(float)
        else:
            values = np.asarray(estimator.predict(X), dtype=float)
    except Exception:  # noqa: BLE001 - predictions are an extra; the score says what fails
        return None
    return Held(
        rows=positions(rows),
        values=values,
        classes=classes if has_columns else None,
        is_of_predict=not has_probabilities,
    )


def without_values(outcome: Outcome) -> Outcome:
    """Return an outcome that keeps which rows were predicted, and not what."""
    if outcome.held is None or outcome.held.values is None:
        return outcome
    return replace(outcome, held=replace(outcome.held, values=None))


def positions(rows: Any) -> Array:
    """Return positions of samples that a user's splitter may give as a mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


def out_of_fold_predictions(
    outcomes: Sequence[Sequence[Outcome]],
    n_rows: int,
    classes: Array | None,
    *,
    averaged: bool = True,
) -> Array:
    """Return what each candidate predicts of each row by the folds that lacked the row.

    Parameters
    ----------
    outcomes : sequence of sequence of Outcome
        By candidate and fold.
    n_rows : int
        Rows of the data.
    classes : ndarray of shape (n_classes,) or None
        All classes, for probabilities; a class that a fold lacks has probability 0.
    averaged : bool, default=True
        Whether a row that several folds held out has the mean of their predictions, which
        are those of an ensemble; if not, it has the first.

    Returns
    -------
    ndarray of shape (n_candidates, n_rows) or (n_candidates, n_rows, n_outputs)
        NaN where no fold held the row out; of the type of the predictions, such as float32.
    """
    kept = [[_aligned(outcome.held, classes) for outcome in folds] for folds in outcomes]
    every = [values for own in kept for values in own if values is not None]
    shape = every[0].shape[1:] if every else ()
    kind = np.result_type(*{values.dtype for values in every}) if every else float
    predictions = np.full((len(outcomes), n_rows, *shape), np.nan, dtype=kind)
    for means, folds, own in zip(predictions, outcomes, kept, strict=True):
        n_before = np.zeros(n_rows, dtype=np.int32)
        for held, values in zip((outcome.held for outcome in folds), own, strict=True):
            if held is None or values is None or values.shape[1:] != shape:
                continue
            is_new = n_before[held.rows] == 0
            means[held.rows[is_new]] = values[is_new]
            if averaged and not is_new.all():
                _average_in(means, n_before, held.rows[~is_new], values[~is_new])
            n_before[held.rows] += 1
    return predictions


def _average_in(means: Array, n_before: Array, rows: Array, values: Array) -> None:
    """Make means of some predictions of rows means of one more."""
    n = n_before[rows].reshape(-1, *([1] * (values.ndim - 1)))
    means[rows] += (values - means[rows]) / (n + 1)


def _as_array(probabilities: Any, classes: Any) -> Array:
    """Return probabilities; with several labels, those that a row has each of them."""
    if isinstance(probabilities, list):
        # A label that was the same in all rows has one column, of its 0 or its 1.
        pairs = zip(probabilities, classes, strict=True)
        return np.column_stack([own @ np.asarray(values, float) for own, values in pairs])
    return np.asarray(probabilities)


def _aligned(held: Held | None, classes: Array | None) -> Array | None:
    """Return probabilities with a column for every class."""
    if held is None or held.values is None:
        return None
    if held.classes is None or classes is None or np.array_equal(held.classes, classes):
        return held.values
    values = np.zeros((len(held.values), len(classes)), dtype=held.values.dtype)
    values[:, np.searchsorted(classes, held.classes)] = held.values
    return values
