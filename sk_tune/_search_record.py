# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The record of a search that ensembles, diagnosis and reports read.

These packages and the searches do not import each other.  A search of sk_tune hands out
one record, as ``search_record_``; whatever else looks like a search has none.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune._input_scale import InputScale
from sk_tune._text import counted

# Reasons that a search gives why a candidate has no score.
LOST_RACE = "clearly worse than candidate"
INTERRUPTED = "It was not trained, because the search was interrupted."
LEFT_OUT = "It was not trained to its end, because the time budget was up."
# Reasons of candidates that were not trained to their end, which a later search may be.
NOT_TRAINED = frozenset({INTERRUPTED, LEFT_OUT})
# Followed by the cause, as far as it is known.
UNSCORED = "Its predictions could not be scored"

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchRecord:
    """Data and rungs of a fitted search.

    `n_rows` are the samples that it was fitted with, `y` their targets if any. `last_rows`
    has for each configuration the row of ``cv_results_`` with the most resources;
    `resource` is what rungs grant more of, a parameter or "n_samples", and None without
    rungs. `inputs` has the scale of the network's features for each row of ``cv_results_``.
    """

    n_rows: int
    y: Array | None
    last_rows: tuple[int, ...]
    resource: str | None
    inputs: tuple[InputScale | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldLayout:
    """How independent the folds of a search are.

    `n_folds` counts those of all repetitions; `n_repeats` is how often a sample that is
    held out is held out, 1 if folds part the samples; `test_by_train` is the ratio of
    held-out samples to training samples of a fold.
    """

    n_folds: int
    n_repeats: float
    test_by_train: float


def search_record(search: Any) -> SearchRecord | None:
    """Return what a fitted search of sk_tune tells of itself; None for others."""
    record: SearchRecord | None = getattr(search, "search_record_", None)
    return record


def granted_resource(search: Any) -> str | None:
    """Return what rungs of a search grant more of; None if it has no rungs."""
    resource: str | None = getattr(search, "resource_", getattr(search, "resource", None))
    return resource


def grants_epochs(resource: str | None) -> bool:
    """Return whether rungs grant epochs."""
    return isinstance(resource, str) and resource.rpartition("__")[2] == "max_epochs"


def resources_text(resource: str | None, n_resources: int) -> str:
    """Return an amount of what rungs grant, in words.

    >>> [resources_text(name, 9) for name in ("net__max_epochs", "n_samples", "depth")]
    ['9 epochs', '9 samples', '9 depth']
    """
    unit = "epoch" if grants_epochs(resource) else "sample"
    if unit == "sample" and resource != "n_samples":
        return f"{n_resources} {resource}"
    return counted(n_resources, unit)


def deciding_metric(search: Any) -> str:
    """Return the metric that decides in a fitted search, by its name in ``cv_results_``.

    It is "score" if it is alone, and the first of several if none of them decides.
    """
    means = [k for k in search.cv_results_ if k.startswith("mean_test_")]
    names = [name.removeprefix("mean_test_") for name in means]
    refit = getattr(search, "refit", True)
    return refit if isinstance(refit, str) and refit in names else names[0]


def deciding_scorer(search: Any) -> tuple[Any, str]:
    """Return the scorer that decides in a fitted search, and the name of its score."""
    scorer = search.scorer_
    if not isinstance(scorer, dict):
        return scorer, "score"
    name = search.refit if search.refit in scorer else next(iter(scorer))
    return scorer[name], name


def fold_layout(search: Any, candidate: int) -> FoldLayout:
    """Return how independent the folds are that a row of ``cv_results_`` was scored on.

    A search that does not tell the samples of each fold counts as one whose folds part all
    samples; what is not held out counts as trained on.
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


def rows_of_most(is_predicted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return a mask of the samples that all candidates with the most samples predict.

    `is_predicted` has shape (n_candidates, n_samples); candidates that went out early
    predict fewer.
    """
    n_predicted = is_predicted.sum(axis=1)
    mask: npt.NDArray[np.bool_]
    mask = is_predicted[n_predicted == n_predicted.max(initial=0)].all(axis=0)
    return mask


def was_stopped(reason: str) -> bool:
    """Return whether a lost race, Ctrl-C or the time budget is why a score is missing."""
    return LOST_RACE in reason or reason in NOT_TRAINED
