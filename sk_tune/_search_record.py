# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The record of a search for ensembles, diagnosis and reports.

These packages and the searches do not import each other.  They read the record of a search
by :func:`search_record`; searches of other packages have none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sk_tune._input_scale import InputScale
from sk_tune._text import counted
from sk_tune._types import Array, Bools

# Reasons why a candidate has no score.
INTERRUPTED = "It was not trained, because the search was interrupted."
LEFT_OUT = "It was not trained to its end, because the time budget was up."
# Reasons of candidates with incomplete training; a later search may complete them.
NOT_TRAINED = frozenset({INTERRUPTED, LEFT_OUT})
# Followed by the cause, if known.
UNSCORED = "Its predictions could not be scored"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchRecord:
    """Data and rungs of a fitted search."""

    n_rows: int  # of the samples in ``fit``
    y: Array | None
    groups: Array | None  # of ``fit``
    last_rows: tuple[int, ...]  # result row of each candidate with the most resources
    resource: str | None  # of the rungs, a parameter or "n_samples"
    inputs: tuple[InputScale | None, ...] = ()  # by result row
    # Result row with the best score on the remaining folds, for each fold.
    rows_by_fold: tuple[int, ...] = ()
    omitted: str = ""  # by the time budget, in sentences that end with a remedy
    cut_rows: tuple[int, ...] = ()  # networks that the time budget ended early
    is_weighted: bool = False  # samples had weights in ``fit``


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldLayout:
    """How independent the folds of a search are."""

    n_folds: int  # of all repetitions
    n_repeats: float  # mean number of times that a sample is held out
    test_by_train: float  # ratio of held-out samples to training samples of a fold

    @property
    def test_share(self) -> float:
        """Share of the samples that a fold holds out."""
        return self.test_by_train / (1 + self.test_by_train)

    @property
    def error_factor(self) -> float:
        """Standard error of a mean difference over folds, as a multiple of their deviation.

        Training samples of folds overlap, even more with repetitions, so further
        repetitions shrink only the first term (Nadeau and Bengio 2003, section 4).
        """
        return math.sqrt(1 / self.n_folds + self.test_by_train)


def search_record(search: Any) -> SearchRecord | None:
    """Return the record of a fitted search of sk_tune; None for others."""
    record: SearchRecord | None = getattr(search, "_search_record", None)
    return record


def granted_resource(search: Any) -> str | None:
    """Return the resource of a search's rungs; None without rungs."""
    resource: str | None = getattr(search, "resource_", getattr(search, "resource", None))
    return resource


def grants_epochs(resource: str | None) -> bool:
    """Return whether rungs grant epochs."""
    return isinstance(resource, str) and resource.rpartition("__")[2] == "max_epochs"


def resources_text(resource: str | None, n_resources: int) -> str:
    """Return an amount of the rungs' resource in words.

    >>> [resources_text(name, 9) for name in ("net__max_epochs", "n_samples", "depth")]
    ['9 epochs', '9 samples', '9 depth']
    """
    unit = "epoch" if grants_epochs(resource) else "sample"
    if unit == "sample" and resource != "n_samples":
        return f"{n_resources} {resource}"
    return counted(n_resources, unit)


def deciding_metric(search: Any) -> str:
    """Return the metric that ranks candidates, by default the first in ``cv_results_``."""
    refit = getattr(search, "refit", True)
    return guiding_name(search.cv_results_, refit).removeprefix("mean_test_")


def guiding_name(results: Mapping[str, Any], refit: Any) -> str:
    """Return the column of the mean score that decides, "" without results."""
    names = [name for name in results if name.startswith("mean_test_")]
    key = f"mean_test_{refit}"
    return key if key in names else next(iter(names), "")


def deciding_scorer(search: Any) -> tuple[Any, str]:
    """Return the scorer that ranks candidates, and the name of its score."""
    scorer = search.scorer_
    if not isinstance(scorer, dict):
        return scorer, "score"
    name = search.refit if search.refit in scorer else next(iter(scorer))
    return scorer[name], name


def fold_layout(search: Any, candidate: int) -> FoldLayout:
    """Return the layout of the folds that a row of ``cv_results_`` was scored on.

    A search without recorded folds is assumed to partition all samples; samples that are
    not held out count as training samples.
    """
    n_folds = int(search.n_splits_)
    record = search_record(search)
    recorded = search.held_out_rows_[candidate] if record is not None else []
    held_out = [rows for rows in recorded if rows is not None and len(rows)]
    if record is None or len(held_out) < n_folds:
        parts = max(n_folds - 1, 1)
        return FoldLayout(n_folds=n_folds, n_repeats=1.0, test_by_train=1 / parts)
    n_rows = record.n_rows
    if record.resource == "n_samples":
        n_rows = int(search.cv_results_["n_resources"][candidate])
    n_held = sum(len(rows) for rows in held_out)
    mean = n_held / n_folds
    return FoldLayout(
        n_folds=n_folds,
        n_repeats=n_held / len(np.unique(np.concatenate(held_out))),
        test_by_train=mean / max(n_rows - mean, 1.0),
    )


def fold_of_samples(held_out: Sequence[Array | None], n_rows: int) -> Array:
    """Return the first fold that held out each sample, (n_rows,), or -1."""
    fold_of = np.full(n_rows, -1)
    for fold, rows in reversed([*enumerate(held_out)]):
        if rows is not None:
            fold_of[rows] = fold
    return fold_of


def rows_of_most(is_predicted: Bools) -> Bools:
    """Return a mask of the samples that all candidates with the most samples predict.

    `is_predicted` has shape (n_candidates, n_samples); candidates eliminated early predict
    fewer samples.
    """
    n_predicted = is_predicted.sum(axis=1)
    mask: Bools
    mask = is_predicted[n_predicted == n_predicted.max(initial=0)].all(axis=0)
    return mask
