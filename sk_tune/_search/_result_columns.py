# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The columns of ``cv_results_``, formatted by scikit-learn."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.stats import rankdata

from sk_tune._search._outcomes import n_whole_rows
from sk_tune._space import Candidate

# Unused folds have no score, and one warning at the end counts all failures.
NOT_FINITE = "One or more of the .* non-finite"


class ResultColumns:
    """The results of a search so far, by column."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        # Returns all columns of the first n candidates; None before scikit-learn asks for
        # any.
        self._format_first: Callable[[int], dict[str, Any]] | None = None
        self.are_appended = False

    @contextmanager
    def appending(self) -> Iterator[None]:
        """Append the results of each candidate in a block; format all results at its end.

        Formatting all results after each candidate takes a tenth of the time of training
        one small network.
        """
        self.are_appended = True
        try:
            yield
        finally:
            self.are_appended = False
            if self._format_first is not None:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", NOT_FINITE)
                    results = self._format_first(n_whole_rows(self.results))
                # Changed in place, because scikit-learn holds this object.
                self.results.clear()
                self.results.update(results)

    def format(
        self,
        format_results: Callable[..., dict[str, Any]],
        params: Sequence[Candidate],
        n_splits: int,
        out: Sequence[Mapping[str, Any]],
        more_results: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, Any]:
        """Return ``cv_results_`` by scikit-learn; guiding columns only if `appending`."""
        more = more_results or {}

        def of_first(n: int) -> dict[str, Any]:
            columns = {name: values[:n] for name, values in more.items()}
            results = format_results(params[:n], n_splits, out[: n * n_splits], columns)
            average_used_folds(results, n_splits)
            return results

        self._format_first = of_first
        if not self.are_appended:
            self.results = of_first(len(params))
            return self.results
        for row in range(n_whole_rows(self.results), len(params)):
            columns = {name: values[row] for name, values in more.items()}
            fits = out[row * n_splits : (row + 1) * n_splits]
            columns |= guiding_columns(fits, columns.get("n_folds", n_splits))
            for name, value in columns.items():
                self.results.setdefault(name, []).append(value)
        return self.results


def guiding_columns(fits: Sequence[Mapping[str, Any]], n_used: int) -> dict[str, float]:
    """Return the guiding columns of one candidate, with means over `n_used` folds."""
    times = [fit["fit_time"] for fit in fits[:n_used]]
    columns = {"mean_fit_time": float(np.mean(times)), "std_fit_time": float(np.std(times))}
    of_folds = [fit["test_scores"] for fit in fits]
    if not isinstance(of_folds[0], dict):
        of_folds = [{"score": score} for score in of_folds]
    for name in of_folds[0]:
        scores = [scores[name] for scores in of_folds]
        columns |= {f"split{k}_test_{name}": score for k, score in enumerate(scores)}
        columns[f"mean_test_{name}"] = float(np.mean(scores[:n_used]))
    return columns


def average_used_folds(results: Mapping[str, Any], n_splits: int) -> None:
    """Let means, deviations and ranks ignore folds that a row's rung did not use.

    scikit-learn averages over all folds, but unused folds have no score and took no time.
    Rows with fewer folds rank below rows with all.
    """
    n_folds = np.asarray(results.get("n_folds", n_splits))
    if np.all(n_folds == n_splits):
        return
    partial = np.flatnonzero(n_folds < n_splits)
    share = n_folds[partial] / n_splits
    for name in ("fit_time", "score_time"):
        mean, std = results[f"mean_{name}"], results[f"std_{name}"]
        square = (std[partial] ** 2 + mean[partial] ** 2) / share
        mean[partial] /= share
        std[partial] = np.sqrt(np.maximum(0.0, square - mean[partial] ** 2))
    for key in [name for name in results if name.startswith("mean_t")]:
        name = key.removeprefix("mean_")
        scores = np.stack([results[f"split{k}_{name}"] for k in range(n_splits)], axis=1)
        for n in np.unique(n_folds[partial]):
            rows = np.flatnonzero(n_folds == n)
            used = scores[rows, :n]
            results[key][rows] = used.mean(axis=1)
            results[f"std_{name}"][rows] = used.std(axis=1)
        if f"rank_{name}" in results:
            losses = np.where(np.isnan(results[key]), np.inf, -results[key])
            ranks, n_better = results[f"rank_{name}"], 0
            for rows in (np.flatnonzero(n_folds == n_splits), partial):
                ranks[rows] = n_better + rankdata(losses[rows], method="min")
                n_better += len(rows)
