# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rules that end a search before its last candidate: a target score, and a plateau."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sk_tune._search._choice import fold_scores, standard_error, top_rows
from sk_tune._search._outcomes import guiding_scores
from sk_tune._text import counted


class StopRule:
    """Follows the scores of a search; `reason` says why it ends, "" while it continues."""

    def __init__(self, search: Any) -> None:
        self._metric, self._level = search.refit, search._level
        self._target = search.target_score
        self._n_most = getattr(search, "n_iter_no_change", None)
        self.is_active = self._target is not None or self._n_most is not None
        self.reason = ""
        # The latest candidate that was better by more than the noise, and the number of
        # candidates that were tried after it.
        self._best: int | None = None
        self._n_since = 0

    def note(self, results: Mapping[str, Any], first: int) -> None:
        """Take note of the result rows from `first` on."""
        if not self.is_active or self.reason:
            return
        scores = guiding_scores(results, self._metric)
        for row in range(first, len(scores)):
            self._n_since += self._level is None or results["iter"][row] == 0
            if self._is_better(results, row):
                self._best, self._n_since = row, 0
        best = next(iter(top_rows(results, self._metric, self._level)), None)
        if best is not None and np.isnan(fold_scores(results, self._metric, best)).any():
            # Its rung does not use all folds.
            best = None
        if best is not None and self._target is not None and scores[best] >= self._target:
            self.reason = (
                f"the score {scores[best]:.4g} reached target_score={self._target:g}"
            )
        elif self._level is None:
            self.note_plateau()

    def note_plateau(self) -> None:
        """End the search if enough candidates improved nothing."""
        if self._n_most is not None and self._n_since >= self._n_most:
            tried = counted(self._n_since, "candidate")
            self.reason = (
                f"the last {tried} improved the score by no more than its noise "
                f"(n_iter_no_change={self._n_most})"
            )

    def _is_better(self, results: Mapping[str, Any], row: int) -> bool:
        """Return whether a row beats the best so far by more than a standard error.

        The error is of the mean difference over folds, 0 for a single fold. More resources
        always count as better.
        """
        folds = fold_scores(results, self._metric, row)
        if math.isnan(folds.mean()):
            return False
        if self._best is None:
            return True
        if self._level is not None:
            level, before = (results[self._level][r] for r in (row, self._best))
            if level != before:
                return bool(level > before)
        difference = folds - fold_scores(results, self._metric, self._best)
        return bool(difference.mean() > standard_error(difference))
