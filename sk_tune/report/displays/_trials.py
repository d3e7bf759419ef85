# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search evaluated, as one table that pictures and pages read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

__all__ = ["Trials", "curve_table", "metric_name", "trials_of"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_MEAN = "mean_test_"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trials:
    """A line for each row of ``cv_results_``, in its order.

    Parameters
    ----------
    params : list of dict
        Configurations, without what rungs grant more of.
    scores : ndarray of shape (n_rows,)
        Means over the folds, greater is better; NaN for what failed.
    spreads : ndarray of shape (n_rows,)
        Standard deviations over the folds.
    seconds : ndarray of shape (n_rows,)
        Spent on fits and scores of all folds.
    epochs : ndarray of shape (n_rows,)
        Trained for the row in all folds together, without those that it went on from; 0 for
        what is no network.
    configurations : ndarray of shape (n_rows,)
        Counted from 0; equal for the rows of one configuration in several rungs.
    rungs, brackets, n_resources : ndarray of shape (n_rows,)
        As in ``cv_results_``; all 0 for a search without them.
    resource : str or None
        What rungs grant more of.
    best : int or None
        Row of the best candidate.
    score_name : str
        What the scores are.
    """

    params: list[dict[str, Any]]
    scores: Floats
    spreads: Floats
    seconds: Floats
    epochs: Integers
    configurations: Integers
    rungs: Integers
    brackets: Integers
    n_resources: Integers
    resource: str | None
    best: int | None
    score_name: str

    @property
    def is_last(self) -> npt.NDArray[np.bool_]:
        """Whether no later row is of the same configuration; shape (n_rows,)."""
        last = {int(c): row for row, c in enumerate(self.configurations)}
        mask = np.zeros(len(self.configurations), dtype=bool)
        mask[list(last.values())] = True
        return mask

    @property
    def score_label(self) -> str:
        """Label of an axis of scores."""
        return f"{self.score_name[:1].upper()}{self.score_name[1:]} (mean over folds)"

    def resource_text(self, n_resources: int) -> str:
        """Return what a rung granted, in words.

        Parameters
        ----------
        n_resources : int
            Of a row.

        Returns
        -------
        str
            As "9 epochs".
        """
        name = (self.resource or "resources").rpartition("__")[2]
        noun = {"max_epochs": "epochs", "n_samples": "samples"}.get(name, name)
        return f"{n_resources} {noun.rstrip('s') if n_resources == 1 else noun}"

    @property
    def running_best(self) -> Floats:
        """The best score up to each row among those with as many resources.

        A rung with more resources begins anew: scores after few epochs are not those after
        many.  NaN until there is a score; shape (n_rows,).
        """
        return self._running()[0]

    @property
    def running_level(self) -> Integers:
        """The resources of the best score up to each row; 0 until there is a score."""
        return self._running()[1]

    def _running(self) -> tuple[Floats, Integers]:
        best = np.full(len(self.scores), np.nan)
        level = np.zeros(len(self.scores), dtype=np.int64)
        most, value = 0, np.nan
        for row, (score, n) in enumerate(zip(self.scores, self.n_resources, strict=True)):
            if np.isfinite(score) and n >= most:
                value = score if n > most else np.fmax(value, score)
                most = int(n)
            best[row], level[row] = value, most
        return best, level


def trials_of(search: Any, metric: str | None = None) -> Trials:
    """Return what a search evaluated.

    Parameters
    ----------
    search : estimator
        Fitted: one of sk_tune's, scikit-learn's or scikit-optimize's.
    metric : str or None, default=None
        Which of several metrics; that which decides if None.

    Returns
    -------
    Trials
        Not changed by a later ``fit``.

    Raises
    ------
    ValueError
        If the search has no such metric.
    """
    check_is_fitted(search, "cv_results_")
    results = search.cv_results_
    name = metric_name(search, metric)
    n_rows = len(results["params"])
    resource = _resource(search, results)
    params = [
        {key: value for key, value in row.items() if key != resource}
        for row in results["params"]
    ]
    configurations = _configurations(params, results, n_rows)
    n_resources = _column(results, "n_resources", n_rows)
    scores = np.array(results[_MEAN + name], dtype=np.float64)
    best = int(search.best_index_) if hasattr(search, "best_index_") else None
    if metric is not None and name != metric_name(search):
        best = _best_by(scores, n_resources)
    return Trials(
        params=params,
        scores=scores,
        spreads=np.array(results[f"std_test_{name}"], dtype=np.float64),
        seconds=_seconds(search, results),
        epochs=_epochs(search, configurations, resource, n_rows),
        configurations=configurations,
        rungs=_column(results, "iter", n_rows),
        brackets=_column(results, "bracket", n_rows),
        n_resources=n_resources,
        resource=resource,
        best=best,
        score_name=_score_name(search, name),
    )


def _best_by(scores: Any, n_resources: Any) -> int | None:
    """Return the row with the best score among those that were given most."""
    finite = np.isfinite(scores)
    if not finite.any():
        return None
    if n_resources is not None:
        finite &= n_resources == n_resources[finite].max()
    return int(np.where(finite, scores, -np.inf).argmax())


def metric_name(search: Any, metric: str | None = None) -> str:
    """Return the metric that a search's columns are named after.

    Parameters
    ----------
    search : estimator
        Fitted.
    metric : str or None, default=None
        One of several; that which decides, or else the first, if None.

    Returns
    -------
    str
        "score" if there is only one.

    Raises
    ------
    ValueError
        If the search has no such metric.
    """
    names = [n.removeprefix(_MEAN) for n in search.cv_results_ if n.startswith(_MEAN)]
    if metric is None:
        refit = search.refit
        return refit if isinstance(refit, str) and refit in names else names[0]
    if metric not in names:
        raise ValueError(
            f"The 'metric' parameter must be one of {names}, as the search has them. "
            f"Got {metric!r} instead."
        )
    return metric


def curve_table(search: Any) -> pd.DataFrame:
    """Return a search's learning curves by epochs, without rows if it has none."""
    curves: pd.DataFrame | None = getattr(search, "learning_curves_", None)
    if curves is None:
        columns = ("candidate", "fold", "epoch", "train_loss", "valid_loss", "valid_score")
        return pd.DataFrame({name: np.empty(0) for name in columns})
    return curves


def _resource(search: Any, results: Mapping[str, Any]) -> str | None:
    if "n_resources" not in results:
        return None
    return str(getattr(search, "resource_", search.resource))


def _column(results: Mapping[str, Any], name: str, n_rows: int) -> Integers:
    return np.array(results.get(name, np.zeros(n_rows)), dtype=np.int64)


def _configurations(
    params: list[dict[str, Any]], results: Mapping[str, Any], n_rows: int
) -> Integers:
    """Return the configurations' numbers; without rungs each row is one."""
    if "n_resources" not in results:
        return np.arange(n_rows)
    brackets = _column(results, "bracket", n_rows)
    numbers: dict[Any, int] = {}
    rows = [
        # Values need not be hashable; what they print as tells them apart.
        numbers.setdefault((int(bracket), repr(sorted(row.items()))), len(numbers))
        for row, bracket in zip(params, brackets, strict=True)
    ]
    return np.array(rows, dtype=np.int64)


def _seconds(search: Any, results: Mapping[str, Any]) -> Floats:
    per_fold = np.asarray(results["mean_fit_time"]) + results["mean_score_time"]
    seconds: Floats = np.nan_to_num(np.asarray(per_fold, dtype=np.float64))
    return seconds * int(search.n_splits_)


def _epochs(
    search: Any, configurations: Integers, resource: str | None, n_rows: int
) -> Integers:
    sizes = curve_table(search).groupby("candidate").size()
    epochs = np.array(sizes.reindex(range(n_rows), fill_value=0), dtype=np.int64)
    if resource is None or resource.rpartition("__")[2] != "max_epochs":
        return epochs
    # A curve begins with what the rungs before trained.
    spent: dict[int, int] = {}
    new: Integers = epochs.copy()
    for row, configuration in enumerate(configurations.tolist()):
        new[row] -= min(spent.get(configuration, 0), epochs[row])
        spent[configuration] = int(epochs[row])
    return new


def _score_name(search: Any, metric: str) -> str:
    """Return words for an axis; what scikit-learn negates stays negative and says so."""
    name = metric
    if metric == "score":
        scoring = getattr(search, "scoring", None)
        if scoring is None and is_classifier(search):
            return "accuracy"
        if scoring is None and is_regressor(search):
            return "R\N{SUPERSCRIPT TWO}"
        name = scoring if isinstance(scoring, str) else "score"
    if name == "r2":
        return "R\N{SUPERSCRIPT TWO}"
    words = name.replace("_", " ")
    return f"negative {words[4:]}" if words.startswith("neg ") else words
