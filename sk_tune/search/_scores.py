# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The scores of a search by fold: what decides a race, and the names of the scores."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from sk_tune._search_record import LOST_RACE
from sk_tune.search._race import MIN_FOLDS, clearly_worse
from sk_tune.search._work import SearchOptions

__all__ = ["ScoreBook"]

# Of a wrong decision against a candidate that is as good, over all looks.
_LEVEL = 0.05


class ScoreBook:
    """Remembers the scores of all candidates on all folds."""

    def __init__(self) -> None:
        # What candidates that compete have in common, by row.
        self._groups: list[Hashable] = []
        # The score that decides, by row.
        self._scores: dict[int, list[float]] = {}
        # A result as scikit-learn has it, if there is one of a fit that did not fail.
        self._example: dict[str, Any] | None = None
        # With a callable `scoring` the names of scores are known after a success only.
        self._unnamed: list[dict[str, Any]] = []
        self._names: list[str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it knows no result yet."""
        return self._example is None

    def enter(self, groups: Sequence[Hashable]) -> None:
        """Let further candidates enter the race; those of equal groups compete."""
        self._groups += groups

    def remember(self, result: dict[str, Any]) -> None:
        """Learn from a result of scikit-learn's which scores there are."""
        if self._example is None or self._example["fit_error"] is not None:
            self._example = dict(result)

    def add(self, row: int, result: dict[str, Any], options: SearchOptions) -> None:
        """Take note of the result of a candidate's next fold.

        Scores of a failed fit get their names here.
        """
        if options.has_callable_scoring:
            self._name(result, options.error_score)
        self.remember(result)
        scores = result["test_scores"]
        if isinstance(scores, dict):
            name = options.refit if options.refit in scores else next(iter(scores), None)
            scores = scores.get(name, np.nan)
        self._scores.setdefault(row, []).append(float(scores))

    def stages(self, n_folds: int) -> Iterator[range]:
        """Yield the folds to run together in a race."""
        first = min(MIN_FOLDS, n_folds)
        yield range(first)
        for fold in range(first, n_folds):
            yield range(fold, fold + 1)

    def losers(
        self, rows: Collection[int], n_folds: int, test_train_ratio: float
    ) -> dict[int, str]:
        """Return the candidates that are clearly worse than the best rival, and why.

        `test_train_ratio` are the samples that a fold tests on for each that it trains on.
        """
        # After each fold there is one more look, and one more chance of an error.
        level = _LEVEL / max(1, n_folds - MIN_FOLDS)
        lost: dict[int, str] = {}
        for group in {self._groups[row] for row in rows}:
            rivals = [row for row in self._scores if self._groups[row] == group]
            # Candidates are compared by the folds that the round has behind it.
            n_done = max([0, *(len(self._scores[row]) for row in rivals if row in rows)])
            if n_done < MIN_FOLDS:
                continue
            scores = np.full((len(rivals), n_folds), np.nan)
            for own, row in zip(scores, rivals, strict=True):
                own[: len(self._scores[row])] = self._scores[row]
            means = scores[:, :n_done].mean(axis=1)
            if np.isnan(means).all():
                continue
            best = int(np.nanargmax(means))
            worse = clearly_worse(
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
        result = dict(self._example or {})
        for name in ("test_scores", "train_scores"):
            if isinstance(result.get(name), dict):
                result[name] = dict.fromkeys(result[name], np.nan)
            elif name in result:
                result[name] = np.nan
        return {**result, "fit_time": 0.0, "score_time": 0.0, "fit_error": None}

    def _name(self, result: dict[str, Any], error_score: Any) -> None:
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
                failed[name] = dict.fromkeys(self._names, error_score)
        self._unnamed.clear()
