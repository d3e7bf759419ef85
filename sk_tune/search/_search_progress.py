# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One line that says how far a search is: all of its rounds, and the refit."""

import math
import time

from sk_tune._search_record import grants_epochs
from sk_tune._text import LiveLine, seconds_text
from sk_tune.engine import Progress
from sk_tune.search._search_plan import SearchPlan


class SearchLine:
    """Tells in one line how far a search is, whatever calls of the engine it is made of."""

    def __init__(
        self, plan: SearchPlan, *, refits: bool, time_budget: float | None
    ) -> None:
        self._plan = plan
        self._budget = math.inf if time_budget is None else time_budget
        self._refit_work = _refit_work(plan) if refits else 0.0
        self._start = time.monotonic()
        self._line = LiveLine()
        # Epochs of the engine's earlier calls, and its newest report.
        self._epochs_before = 0
        self._call: Progress | None = None
        self._n_new = 0
        self._n_entered = 0
        self._n_evaluated = 0
        self._best = math.nan
        self._stage = ""
        # Whether one call of the engine serves all rounds.
        self.is_streaming = False

    def __call__(self, progress: Progress) -> None:
        """Take note of a call of the engine."""
        if self._call is not None and progress.seconds < self._call.seconds:
            self._end_call()
        self._call = progress
        self._line.show(self.text())

    def begin_round(self, n_new: int) -> None:
        """Take note of a round, in which so many candidates enter the search."""
        self._n_new = n_new

    def end_round(self, n_candidates: int, best: float) -> None:
        """Take note of a round's end, and of the best score with most resources."""
        if not self.is_streaming:
            self._end_call()
        self._n_entered += self._n_new
        self._n_evaluated += n_candidates
        self._n_new = 0
        self._best = best
        self._line.show(self.text())

    def begin_refit(self) -> None:
        """Take note that all candidates are evaluated."""
        if self._refit_work:
            self._stage = "refit"
            self._line.show(self.text())

    def end(self) -> None:
        """Show the state at the end, and leave it."""
        self._stage = f"{seconds_text(time.monotonic() - self._start)} in all"
        self._line.end(self.text())

    def text(self) -> str:
        """Return how far the search is, in one line."""
        plan, epochs = self._plan, self._n_epochs_done()
        entered = self._n_entered
        if self._call is not None and not self.is_streaming:
            # Candidates of the round at hand count as their fits end.
            entered += min(self._n_new, self._call.n_fits_done // plan.n_folds)
        parts = [f"candidates {entered}/{max(plan.n_candidates, entered)}"]
        if plan.n_epochs:
            parts.append(f"epochs {epochs}/{max(plan.n_epochs, epochs)}")
        if not math.isnan(self._best):
            parts.append(f"best score {self._best:.4g}")
        elif self._call is not None and not math.isnan(self._call.best_score):
            parts.append(f"best fold {self._call.best_score:.4g}")
        if self._stage:
            return ", ".join([*parts, self._stage])
        left = self._seconds_left()
        if math.isfinite(left):
            parts.append(f"{seconds_text(left)} left")
        return ", ".join(parts)

    def _end_call(self) -> None:
        self._epochs_before, self._call = self._n_epochs_done(), None

    def _n_epochs_done(self) -> int:
        return self._epochs_before + (0 if self._call is None else self._call.n_epochs_done)

    def _seconds_left(self) -> float:
        """Return the time until the search ends, as long as work goes on at its speed."""
        plan, spent = self._plan, time.monotonic() - self._start
        done, in_all = self._n_epochs_done(), plan.n_epochs
        if not in_all:
            done, in_all = self._n_evaluated * plan.n_folds, plan.n_fits
        if not done:
            return max(0.0, self._budget - spent)
        left = spent / done * (max(0, in_all - done) + self._refit_work)
        return max(0.0, min(left, self._budget - spent))


def _refit_work(plan: SearchPlan) -> float:
    """Return what a refit takes: epochs of a fold's fit, or such fits if there are none.

    It trains on the samples of all folds as long as the longest fits.
    """
    longest = 1.0
    if plan.n_epochs:
        rounds = [r for r in plan.rounds if r.n_fits]
        # Later rungs go on with what the earlier ones have trained.
        of_epochs = plan.resource == "epochs" or grants_epochs(plan.resource)
        longest = max(r.n_resources if of_epochs else r.n_epochs / r.n_fits for r in rounds)
    return longest * plan.n_folds / max(1, plan.n_folds - 1)
