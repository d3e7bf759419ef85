# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The time of a search: seconds left for candidates, and the expected refit."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sk_tune._compat import num_samples
from sk_tune._engine import Fit, signature, train_one
from sk_tune._search._network_training import FoldTraining
from sk_tune._search._outcomes import FoldOutcome
from sk_tune._text import seconds_text
from sk_tune._training import LimitedTime, TimeIsUpError, TimeLimit, time_limit
from sk_tune._warnings import warn_user
from sk_tune.exceptions import TimeBudgetWarning

# On a shared machine, trainings exceed their estimates by this factor.
SLOWER = 1.15
# Least seconds of the first candidate.
_LEAST_SECONDS = 0.25
# The refit may exceed the budget by this share of it plus these seconds.
_LATER, _SECONDS_LATER = 0.05, 0.5
# Share of the time for the best candidate, if no candidate can get all resources.
SHARE_OF_BEST = 0.8
# Share of the time left that measuring a refit may take.
_SHARE_TO_MEASURE = 0.15
# Most measurements of an epoch, and the share of the time left after which they end.
_N_MEASUREMENTS, _SHARE_TO_REPEAT = 4, 0.03
# The estimate for an interrupted epoch is its time multiplied by this.
_LONGER = 1.5
# Least share of the time budget for one call.
_SHARE_OF_BUDGET = 0.1


class CallTimes:
    """Times of the calls that evaluated candidates, and estimates for other calls.

    A candidate takes a fixed time, and a time per unit (an epoch or another resource) that
    is shorter if more candidates train together.
    """

    def __init__(self) -> None:
        # By the number of candidates in a call: sums of training seconds and units.
        self._training: dict[int, tuple[float, float]] = {}
        self._seconds_each = 0.0
        self._n_candidates = self.n_calls = 0
        self._n_latest = 1  # Candidates of the latest call.

    def note(
        self, units: float, seconds: float, outcomes: Sequence[Sequence[FoldOutcome]]
    ) -> None:
        """Take note of a call, in which each candidate trained `units`."""
        if self.n_calls == 1:
            # The first call of a process may have waited for imports.
            self._training.clear()
            self._seconds_each, self._n_candidates = 0.0, 0
        every = [outcome for folds in outcomes for outcome in folds]
        loaded = sum(o.seconds for o in every if o.n_loaded)
        trained = min(seconds, sum(o.seconds for o in every if not o.n_loaded))
        training = loaded + trained or seconds
        n = self._n_latest = len(outcomes)
        seconds_before, units_before = self._training.get(n, (0.0, 0.0))
        self._training[n] = seconds_before + training, units_before + units
        total = self._seconds_each * self._n_candidates + max(0.0, seconds - training)
        self._n_candidates += n
        self._seconds_each = total / self._n_candidates
        self.n_calls += 1

    def seconds_each(self, units: float) -> float:
        """Return the expected seconds of a candidate in a call like the latest one."""
        return self.seconds(self._n_latest, units) / self._n_latest

    def seconds(self, n_candidates: int, units: float) -> float:
        sizes = sorted(self._training)
        per_unit = [self._training[size][0] / self._training[size][1] for size in sizes]
        rising = np.maximum.accumulate(per_unit)
        seconds_per_unit = float(np.interp(n_candidates, sizes, rising))
        seconds_per_unit *= max(1.0, n_candidates / sizes[-1])
        return n_candidates * self._seconds_each + units * seconds_per_unit


@dataclass(frozen=True, slots=True)
class _Refit:
    """Seconds of a candidate's refit: per epoch (or other unit), and fixed."""

    once: float = 0.0
    per_epoch: float = 0.0
    n_epochs: float = 0


@dataclass(frozen=True, slots=True)
class Reserve:
    """Time that the candidates of a rung must leave for later steps.

    `n_epochs` is the largest number of epochs in this bracket, and so of the refit;
    `seconds` is the expected time of the best candidate after the rung. While the best
    candidate has the rest of the time for its last rung, `finishing_from` is the number of
    its previous epochs, else None.
    """

    n_epochs: float = 0
    seconds: float = 0.0
    finishing_from: int | None = None


class TimeBudget:
    """The time budget of a search, and the part reserved for its refit.

    `is_late` says that the time was up before the present candidates had results, and
    `is_shortened` that the budget shortened the search. `cut_epochs` are the epochs of
    interrupted candidates by row; `cut_refit` describes the epochs of an interrupted refit.
    Networks are trained in `n_steps` consecutive steps.
    """

    def __init__(
        self, seconds: float | None, start: float, *, refits: bool, n_steps: int
    ) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self.is_limited = not math.isinf(self.seconds)
        # The end of the search by ``time.monotonic``.
        self.end = start + self.seconds
        self._n_steps = n_steps
        self._start = start
        self._refits = refits
        self.is_late = False
        self.is_shortened = False
        self.cut_epochs: dict[int, int] = {}
        self.cut_refit = ""
        self._seconds_of_first = 0.0
        self.reserve = Reserve()
        self.times = CallTimes()
        # Seconds spent on measurements of refits.
        self.seconds_measuring = 0.0
        self._refit = _Refit()
        self._refit_time = LimitedTime(None)
        # Seconds of the last task of each kind.
        self._seconds_of_task: dict[str, float] = {}
        # A training of each current candidate by result row; measured times by result row
        # and by signature.
        self._trainings: dict[int, FoldTraining] = {}
        self._known: dict[int, _Refit] = {}
        self._seconds_alone: dict[Any, float] = {}
        # Whether the only measurement so far is the first one.
        self._is_cold = False

    @property
    def left(self) -> float:
        """Seconds left for candidates; below 0 if it is time for the refit."""
        return self.left_before_refit(max(self._refit.n_epochs, self.reserve.n_epochs))

    def left_before_refit(self, n_epochs: float) -> float:
        """Return the seconds left for candidates before a refit of `n_epochs` epochs."""
        seconds = self._refit.once + n_epochs * self._refit.per_epoch
        return self.end - time.monotonic() - SLOWER * seconds

    def with_refit(self, seconds: float, n_epochs: float) -> float:
        """Return the expected time of a search, given the `seconds` of its candidates."""
        n_epochs = max(n_epochs, self._refit.n_epochs)
        return SLOWER * (seconds + self._refit.once + n_epochs * self._refit.per_epoch)

    def n_in_time(self) -> int:
        """Return the number of candidates in the next call of a search without rungs."""
        seconds_left, each = self.left, self.times.seconds_each(1)
        return 0 if seconds_left < each else self.share(each)

    def share(self, seconds_each: float) -> int:
        """Return how many candidates fit half of the time left, or a tenth of all."""
        seconds_left = self.left
        share = min(seconds_left, max(_SHARE_OF_BUDGET * self.seconds, seconds_left / 2))
        return max(1, int(share / max(seconds_each, 1e-9)))

    @property
    def is_early(self) -> bool:
        """Whether there is time to try candidates before the best one gets the rest."""
        share = (time.monotonic() - self._start) / self.seconds
        return share < 1 - SHARE_OF_BEST

    def limit(
        self, n_tasks: int = 0, *, is_needed: bool = False, n_epochs_before: int = 0
    ) -> TimeLimit | None:
        """Return the time limit of a training that leaves time to score `n_tasks` tasks.

        It interrupts a needed candidate: the first, or the best with `n_epochs_before`
        epochs.
        """
        if not self.is_limited:
            return None
        now = time.monotonic()
        if is_needed:
            seconds_left = self.left_before_refit(n_epochs_before)
            until = now + max(_LEAST_SECONDS, seconds_left / self._n_steps)
            per_epoch = SLOWER * self._refit.per_epoch / self._n_steps
            return TimeLimit(until=until, cuts=True, seconds_per_epoch=per_epoch)
        seconds_left = self.left
        after = n_tasks * self._seconds_of_task.get("scoring", 0.0)
        after += min(self.reserve.seconds, seconds_left / 2)
        return TimeLimit(until=now + seconds_left - after)

    def limit_refit(self, closing: ExitStack) -> None:
        """Let the refit end in time, including networks inside other estimators."""
        limit = None
        if self.is_limited:
            # The refit gets at least the epochs of the score, even if it ends a bit late.
            until = self.end + _LATER * self.seconds + _SECONDS_LATER
            limit = TimeLimit(until=until, cuts=True)
        self._refit_time = closing.enter_context(time_limit(limit))

    @contextmanager
    def task(self, what: str, *, is_needed: bool) -> Iterator[None]:
        """Run an uninterruptible task if it is needed or expected to end in time."""
        if not self.is_limited:
            yield
            return
        if not is_needed and self.left < self._seconds_of_task.get(what, 0.0):
            raise TimeIsUpError
        start = time.monotonic()
        yield
        self._seconds_of_task[what] = time.monotonic() - start

    def note_unstoppable(self) -> None:
        """Note the time of the first candidate if it exceeded the budget."""
        if time.monotonic() > self.end:
            self._seconds_of_first = time.monotonic() - self._start

    @contextmanager
    def until_late(self) -> Iterator[None]:
        """End a block when there is no time for its next task."""
        try:
            yield
        except TimeIsUpError:
            self.is_late = True

    def shorten(self, *, is_shortened: bool = True) -> None:
        self.is_shortened = is_shortened

    def give_rung_up(self) -> None:
        """Continue although a rung's time is up: the best candidate gets the rest."""
        self.is_late = False

    def leave(self, **seconds_or_epochs: Any) -> None:
        """Change fields of the `Reserve` for which the candidates leave time."""
        self.reserve = replace(self.reserve, **seconds_or_epochs)

    @contextmanager
    def finishing(self, n_epochs_before: int | None) -> Iterator[None]:
        """Give a block the rest of the time if it finishes the best candidate."""
        self.leave(finishing_from=n_epochs_before)
        try:
            yield
        finally:
            self.leave(finishing_from=None, seconds=0.0)

    def in_time(
        self, trainings: Sequence[FoldTraining], *, is_needed: bool
    ) -> list[FoldTraining]:
        """Drop results of interrupted trainings; needed ones count with whole epochs."""
        is_cut = [t.trained is not None and t.trained.is_cut for t in trainings]
        self.is_late |= any(is_cut)
        return [
            replace(training, trained=None)
            if cut and (not is_needed or training.state is None)
            else training
            for training, cut in zip(trainings, is_cut, strict=True)
        ]

    def note(self, trainings: Iterable[tuple[int, FoldTraining]]) -> None:
        """Note the networks of result rows, to measure refits, and epochs of cut ones."""
        if not self.is_limited:
            return
        for row, training in trainings:
            if self._refits and training.request.fit is not None:
                self._trainings[row] = training
            if training.trained is not None and training.trained.is_cut:
                n_epochs = self.cut_epochs.get(row, training.n_epochs)
                self.cut_epochs[row] = min(n_epochs, training.n_epochs)

    def note_cut_refit(self, n_epochs: int, n_requested: int) -> None:
        self.cut_refit = f"after {n_epochs} of {n_requested} epochs"

    def measure_refit(
        self, row: int, best_epoch: int | None, seconds_of_fit: float, units: int = 0
    ) -> None:
        """Measure the time of the refit of the best candidate.

        If the candidate is not a network, each of its fits took `seconds_of_fit`, in
        proportion to the `units` of the resource, if any.
        """
        if not self.is_limited or not self._refits:
            return
        training = self._trainings.get(row)
        if training is not None:
            self._known[row] = self._refit_of(training, best_epoch)
        other = _Refit(once=seconds_of_fit)
        if units:
            other = _Refit(per_epoch=seconds_of_fit / units, n_epochs=units)
        self._refit = self._known.setdefault(row, other)
        self._trainings.clear()

    def _refit_of(self, training: FoldTraining, best_epoch: int | None) -> _Refit:
        request, trained = training.request, training.trained
        growth = num_samples(request.task.X) / len(request.task.train)
        seconds = 0.0
        if trained is not None and not trained.is_loaded:
            n_trained = training.n_epochs - request.n_epochs_before
            seconds = trained.seconds / max(1, n_trained)
        if request.fit is not None and self.end > time.monotonic():
            # A network alone takes longer than its share of a fleet's time.
            key = signature(request.fit)
            self._seconds_alone[key] = self._alone(request.fit, key)
            seconds = max(seconds, self._seconds_alone[key])
        return _Refit(
            growth * self._seconds_of_task.get("preparing", 0.0),
            growth * seconds,
            best_epoch or training.n_epochs,
        )

    def _alone(self, fit: Fit, key: Any) -> float:
        """Return the seconds of an epoch of a network that trains alone."""
        previous = self._seconds_alone.get(key)
        if previous is not None:
            if not self._is_cold:
                return previous
            # The first measurement may have waited for imports.
            self._is_cold = False
            return min(previous, self._measured(fit, 1, previous))
        if self.seconds_measuring > _SHARE_TO_MEASURE * self.seconds:
            return max(self._seconds_alone.values())
        self._is_cold = not self._seconds_alone
        return self._measured(fit, _N_MEASUREMENTS)

    def _measured(self, fit: Fit, n_times: int, most: float = math.inf) -> float:
        """Measure the seconds of an epoch alone; an upper estimate if it was stopped."""
        # A seed avoids a draw from torch's generator.
        fit = replace(
            fit, n_epochs=1, seed=0, monitor=None, state=None,
            keeps_checkpoints=False, checkpoint=None,
        )  # fmt: skip
        began, seconds, n_late = time.monotonic(), math.inf, 0
        for _ in range(n_times):
            start = time.monotonic()
            until = start + min(most, _SHARE_TO_MEASURE * (self.end - start))
            trained = train_one(fit, limit=TimeLimit(until=until))
            if trained.state is None:
                n_late += 1
            else:
                record = trained.state.history[-1]
                seconds = min(seconds, float(record.get("dur", trained.seconds)))
            is_long = time.monotonic() - began > _SHARE_TO_REPEAT * (self.end - began)
            if n_late == 2 or (is_long and math.isfinite(seconds)):
                break
        now = time.monotonic()
        self.seconds_measuring += now - began
        return seconds if math.isfinite(seconds) else _LONGER * (now - start)

    def warn_if_cut(self, shortfall: str) -> str:
        """Warn of parts that the time left out, with `shortfall`; return the text."""
        if not self.is_limited:
            return ""
        budget = f"The time budget of {seconds_text(self.seconds)}"
        parts = [shortfall] if shortfall else []
        if self._seconds_of_first:
            parts = [
                f"{budget} was too short for a single candidate, and its fits cannot be "
                f"stopped: it took {seconds_text(self._seconds_of_first)}. Set a larger "
                "time_budget, or use fewer rows."
            ]
        if self.cut_refit or self._refit_time.has_cut:
            parts.append(
                f"{budget} ended the refit {self.cut_refit or 'before its last epoch'}. "
                "Set a larger time_budget or fewer epochs."
            )
        message = " ".join(parts)
        if message:
            warn_user(message, TimeBudgetWarning)
        return message
