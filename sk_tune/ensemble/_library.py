# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a fitted search has to offer to an ensemble of its trials.

Notation: M candidates, N rows of the data that were held out, K classes or outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune._search_record import rows_of_most, search_record

__all__ = ["Library", "read_library"]

Array = npt.NDArray[Any]

# Parts to hold out in turn where the folds of the search do not part the rows.
_N_PARTS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Library:
    """Candidates to choose from, and what they predict of rows that they did not see.

    Parameters
    ----------
    candidates : ndarray of shape (M,)
        Rows of ``cv_results_``.
    predictions : ndarray of shape (M, N) or (M, N, K)
        Probabilities of a classifier, else predictions.
    y : ndarray of shape (N,) or (N, K)
        Class numbers, 0 and 1 of labels, or targets.
    part : ndarray of shape (N,)
        Which part of the rows each one is of: its fold, if it is held out once.
    classes : ndarray of shape (K,) or None
        Labels; empty for a multilabel problem, None for regression.
    rows : ndarray of shape (N,) or None, default=None
        Positions in the data of the search; from 0 on if None.
    """

    candidates: Array
    predictions: Array
    y: Array
    part: Array
    classes: Array | None
    rows: Array | None = None

    def take(self, rows: Array) -> "Library":
        """Return the library on some of the rows.

        Parameters
        ----------
        rows : ndarray
            Positions, or a mask.

        Returns
        -------
        Library
            With all candidates.
        """
        return replace(
            self,
            predictions=self.predictions[:, rows],
            y=self.y[rows],
            part=self.part[rows],
            rows=self._positions()[rows],
        )

    def where_weights(self, params: Mapping[str, Any]) -> "Library":
        """Return the library without rows of weight 0, which count as absent.

        Parameters
        ----------
        params : mapping of str to object
            What ``fit`` was given; ``sample_weight``, also of a step of a pipeline, is
            looked at.

        Returns
        -------
        Library
            All of it if there are no weights.

        Raises
        ------
        ValueError
            If no row has a weight.
        """
        names = {"sample_weight", *(n for n in params if n.endswith("__sample_weight"))}
        weights = [params[n] for n in names if params.get(n) is not None]
        rows = self._positions()
        counts = np.ones(len(rows), dtype=bool)
        for own in weights:
            if np.ndim(own) == 1:
                counts &= np.asarray(own)[rows] > 0
        if not counts.any():
            raise ValueError(
                "sample_weight must be positive for a row that the search held out. All of "
                "them have weight 0."
            )
        return self if counts.all() else self.take(counts)

    def _positions(self) -> Array:
        return np.arange(len(self.y)) if self.rows is None else self.rows

    def only(self, candidate: int) -> "Library":
        """Return the library with one of its candidates.

        Parameters
        ----------
        candidate : int
            Its position.

        Returns
        -------
        Library
            With all rows.
        """
        own = slice(candidate, candidate + 1)
        return replace(
            self, candidates=self.candidates[own], predictions=self.predictions[own]
        )


def read_library(
    search: Any, *, is_classification: bool, needs_models: bool, random_state: int
) -> Library:
    """Return the candidates of a fitted search that an ensemble may have as members.

    Parameters
    ----------
    search : estimator
        A fitted search of sk_tune.
    is_classification : bool
        Whether predictions are probabilities.
    needs_models : bool
        Whether candidates are asked for whose fitted estimators were kept.
    random_state : int
        Where parts come from if the folds overlap.

    Returns
    -------
    Library
        Of a candidate that was on several rungs the highest one.

    Raises
    ------
    ValueError
        If there is no candidate.
    """
    record = search_record(search)
    if record is None:
        raise ValueError(
            "The 'search' parameter must be a search of sk_tune that has been fitted. "
            f"Got {type(search).__name__} instead."
        )
    eligible = np.array(record.last_rows, dtype=np.intp)
    if needs_models:
        models = getattr(search, "models_", {})
        eligible = np.array([row for row in eligible if _is_kept(models, row)], np.intp)
        if not len(eligible):
            raise ValueError(
                "An ensemble without refit needs the estimators that were fitted in the "
                "folds. Fit the search with keep_models='all', or use refit=True."
            )
    predictions = search.oof_predictions_[eligible].astype(np.float64)
    if not is_classification and predictions.ndim == 3 and predictions.shape[2] == 1:
        predictions = predictions[:, :, 0]
    is_there = np.isfinite(predictions).reshape(*predictions.shape[:2], -1).all(axis=2)
    # Those of the last rung, if rungs draw samples; others predict some of them only.
    rows = np.flatnonzero(is_there.any(axis=0))
    if record.resource == "n_samples":
        rows = np.flatnonzero(rows_of_most(is_there))
    complete = is_there[:, rows].all(axis=1)
    # A fold that no candidate predicts has no rows among these.
    folds = [search.held_out_rows_[row] for row in eligible]
    complete &= [all(held is not None for held in own) for own in folds]
    if not len(rows) or not complete.any():
        raise ValueError(
            "The search must have a candidate that predicts every held-out row. It has "
            "none: fits failed, the estimator has no predictions, or they were not kept "
            "(keep_predictions)."
        )
    y, classes = _encoded(np.asarray(record.y), is_classification=is_classification)
    first = int(eligible[complete][0])
    part = _parts(search.held_out_rows_[first], len(y), rows, random_state)
    return Library(
        candidates=eligible[complete],
        predictions=predictions[complete][:, rows],
        y=y[rows],
        part=part,
        classes=classes,
        rows=rows,
    )


def _is_kept(models: Any, row: int) -> bool:
    return row in models and all(model is not None for model in models[row])


def _encoded(y: Array, *, is_classification: bool) -> tuple[Array, Array | None]:
    if not is_classification:
        y = np.asarray(y, dtype=np.float64)
        return (y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y), None
    if y.ndim == 2 and y.shape[1] > 1:
        return y.astype(np.float64), np.empty(0)
    classes, numbers = np.unique(y.ravel(), return_inverse=True)
    return numbers, classes


def _parts(held_out: Any, n_rows: int, rows: Array, random_state: int) -> Array:
    """Return the fold that held each row out, or random parts if several did."""
    part = np.full(n_rows, -1)
    n_held = 0
    for fold, held in enumerate(held_out):
        part[held] = fold
        n_held += len(held)
    if n_held == len(rows) and len(np.unique(part[rows])) > 1:
        return part[rows]
    shuffled = np.random.default_rng(random_state).permutation(len(rows))
    return shuffled % min(_N_PARTS, len(rows))
