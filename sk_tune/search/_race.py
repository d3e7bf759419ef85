# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Scores of a search by fold, and which candidates they show to be clearly worse."""

from collections.abc import Collection, Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from sk_tune._search_record import LOST_RACE
from sk_tune.search._outcomes import SearchOptions

# Two folds leave one degree of freedom, and among scores of few samples it is common that
# both differences are equal, so that their variance says nothing.
MIN_FOLDS = 3

# Differences of scores smaller than this share of them are rounding.
_ROUNDING = 1e-12


def _clearly_worse(
    scores: Any,
    incumbent_scores: Any,
    *,
    test_train_ratio: float,
    level: float = 0.05,
) -> npt.NDArray[np.bool_]:
    """Return which candidates, (C,), are worse than the incumbent beyond chance.

    `scores`, (C, F), are NaN on folds to come; `incumbent_scores`, (F,), are those of the
    best candidate so far, which itself is never among the results. `test_train_ratio` is n2
    / n1, the samples tested on for each one trained on: ``1 / (F - 1)`` of one K-fold.
    `level` is the probability that a candidate as good as the incumbent is dropped, in one
    test; with fewer than three folds in common, nothing is dropped.

    It is the corrected resampled t-test of Nadeau and Bengio (2003), one-sided and paired
    over the folds that both have, with the variance corrected for training sets that
    overlap: with ``t = mean(d) / sqrt((1 / J + n2 / n1) * var(d))``, a candidate is dropped
    if t is below the quantile at `level` of Student's distribution with J - 1 degrees of
    freedom. Differences that are equal on all folds are the limit of that: worse if they
    are negative, and no reason if they are zero.

    The level holds for one comparison with an incumbent named before. The best of many was
    lucky too, and each further fold is another look: of 20 equal candidates on 5 folds,
    looked at after 3 and 4 at a level of 0.05, 35 % are dropped (simulated).
    """
    scores = np.asarray(scores, dtype=np.float64)
    incumbent_scores = np.asarray(incumbent_scores, dtype=np.float64)
    largest = np.maximum(np.abs(scores), np.abs(incumbent_scores))
    with np.errstate(invalid="ignore"):
        differences = scores - incumbent_scores
        differences[np.abs(differences) <= _ROUNDING * largest] = 0.0
    shared = np.isfinite(differences)
    n_shared = shared.sum(axis=1)
    enough = n_shared >= MIN_FOLDS
    n = np.where(enough, n_shared, 2)

    kept = np.where(shared, differences, 0.0)
    mean = kept.sum(axis=1) / n
    deviations = np.where(shared, differences - mean[:, np.newaxis], 0.0)
    variance = np.square(deviations).sum(axis=1) / (n - 1)
    scale = np.sqrt((1 / n + test_train_ratio) * variance)
    # The scale may be zero, so nothing is divided by it.
    lost = mean < stats.t.ppf(level, n - 1) * scale
    return np.asarray(enough & lost)


# Probability, over all looks, of dropping a candidate that is as good.
_LEVEL = 0.05


class ScoreBook:
    """Remembers the scores of all candidates on all folds."""

    def __init__(self, options: SearchOptions) -> None:
        self._options = options
        # Key of the group whose candidates compete with each other, by result row.
        self.groups: list[Hashable] = []
        # The scores that decide, by result row.
        self._scores: dict[int, list[float]] = {}
        # A result as scikit-learn has it, if there is one of a fit that did not fail.
        self.example: dict[str, Any] | None = None
        # Results that wait for the names of scores: those of a callable `scoring` are known
        # after a success only.
        self._unnamed: list[dict[str, Any]] = []
        self._names: list[str] | None = None

    def remember(self, result: dict[str, Any]) -> None:
        """Learn from a result of scikit-learn's which scores there are."""
        if self.example is None or self.example["fit_error"] is not None:
            self.example = dict(result)

    def add(self, row: int, result: dict[str, Any]) -> None:
        """Take note of the result of a candidate's next fold.

        Scores of a failed fit get their names here.
        """
        options = self._options
        if options.has_callable_scoring:
            self._name(result)
        self.remember(result)
        scores = result["test_scores"]
        if isinstance(scores, dict):
            name = options.refit if options.refit in scores else next(iter(scores), None)
            scores = scores.get(name, np.nan)
        self._scores.setdefault(row, []).append(float(scores))

    def losers(
        self, rows: Collection[int], n_folds: int, test_train_ratio: float
    ) -> dict[int, str]:
        """Return the candidates that are clearly worse than the best rival, and why.

        `test_train_ratio` are the samples that a fold tests on for each that it trains on.
        """
        # After each fold there is one more look, and one more chance of an error.
        level = _LEVEL / max(1, n_folds - MIN_FOLDS)
        lost: dict[int, str] = {}
        for group in {self.groups[row] for row in rows}:
            rivals = [row for row in self._scores if self.groups[row] == group]
            # Candidates are compared by the folds that the round has behind it.
            n_done = max([0, *(len(self._scores[row]) for row in rivals if row in rows)])
            if n_done < MIN_FOLDS:
                continue
            scores = np.full((len(rivals), n_folds), np.nan)
            for line, row in zip(scores, rivals, strict=True):
                line[: len(self._scores[row])] = self._scores[row]
            means = scores[:, :n_done].mean(axis=1)
            if np.isnan(means).all():
                continue
            best = int(np.nanargmax(means))
            worse = _clearly_worse(
                scores, scores[best], test_train_ratio=test_train_ratio, level=level
            )
            lost |= {
                row: f"stopped after {len(self._scores[row])} folds: "
                f"{LOST_RACE} {rivals[best]}"
                for row, is_worse in zip(rivals, worse, strict=True)
                if is_worse and row in rows
            }
        return lost

    def unscored(self) -> dict[str, Any]:
        """Return scikit-learn's result of a candidate on a fold that it was not run on."""
        result = dict(self.example or {})
        for name in ("test_scores", "train_scores"):
            if isinstance(result.get(name), dict):
                result[name] = dict.fromkeys(result[name], np.nan)
            elif name in result:
                result[name] = np.nan
        return {**result, "fit_time": 0.0, "score_time": 0.0, "fit_error": None}

    def _name(self, result: dict[str, Any]) -> None:
        """Give what failed the score names that only a success can tell."""
        scores = result["test_scores"]
        if result["fit_error"] is not None:
            self._unnamed.append(result)
        elif self._names is None and isinstance(scores, dict):
            self._names = list(scores)
        if self._names is None:
            return
        for failed in self._unnamed:
            for name in {"test_scores", "train_scores"} & set(failed):
                failed[name] = dict.fromkeys(self._names, self._options.error_score)
        self._unnamed.clear()
