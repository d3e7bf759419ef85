# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The time of a search: what is left for candidates, and what its refit will need."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sk_tune._compat import num_samples
from sk_tune._text import seconds_text
from sk_tune.engine import Fit, signature, train_one
from sk_tune.exceptions import warn_user
from sk_tune.search._outcomes import Work
from sk_tune.training import LimitedTime, TimeIsUpError, TimeLimit, time_limit

# A refit may take so many times as long as measured, on a machine that others use.
_SLOWER = 1.15
# Time that the first candidate has in any case.
_LEAST_SECONDS = 0.25
# The refit may end later by this part of the budget, and so many seconds.
_LATER, _SECONDS_LATER = 0.05, 0.5
# Share of the time left that measuring a refit may take.
_SHARE_TO_MEASURE = 0.15
# An epoch that takes longer is taken for so many times as long.
_LONGER = 1.5


@dataclass(frozen=True, slots=True)
class _Refit:
    """Seconds of the refit of a candidate: each of its epochs, and all else."""

    once: float = 0.0
    per_epoch: float = 0.0
    n_epochs: int = 0


class TimeBudget:
    """Seconds from the start of a search, and the part of them that its refit needs.

    `is_late` says that the time was up before candidates at hand had their results,
    `n_epochs_of_cut` the epochs of the first candidate by row if it was cut, `cut_refit`
    after how many epochs the refit was cut, `n_epochs_ahead` the epochs of the candidates
    that train now, one of which may become the best. Networks are trained in `n_steps`, one
    after the other.
    """

    def __init__(
        self, seconds: float | None, start: float, *, refits: bool, n_steps: int
    ) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self.is_limited = not math.isinf(self.seconds)
        # When all is to be done, by ``time.monotonic``.
        self.end = start + self.seconds
        self._n_steps = n_steps
        self._start = start
        self._refits = refits
        self.is_late = False
        self.n_epochs_of_cut: dict[int, int] = {}
        self.cut_refit = ""
        self._seconds_of_first = 0.0
        self.n_epochs_ahead = 0
        self._refit = _Refit()
        self._refit_time = LimitedTime(None)
        # Seconds that the last task of each kind took.
        self._seconds_of_task: dict[str, float] = {}
        # A task of each candidate at hand by result row; measurements by result row and by
        # signature.
        self._works: dict[int, Work] = {}
        self._known: dict[int, _Refit] = {}
        self._seconds_alone: dict[Any, float] = {}

    @property
    def left(self) -> float:
        """Seconds that are left for candidates; below 0 if it is time for the refit."""
        refit = self._refit
        n_epochs = max(refit.n_epochs, self.n_epochs_ahead)
        refit_seconds = _SLOWER * (refit.once + n_epochs * refit.per_epoch)
        return self.end - time.monotonic() - refit_seconds

    def limit(self, n_tasks: int = 0, *, is_first: bool = False) -> TimeLimit | None:
        """Return when training has to end, after which so many tasks are scored.

        The first candidate is cut there.
        """
        if not self.is_limited:
            return None
        now = time.monotonic()
        if is_first:
            left = self.end - now - _SLOWER * self._refit.once
            until = now + max(_LEAST_SECONDS, left / self._n_steps)
            per_epoch = _SLOWER * self._refit.per_epoch / self._n_steps
            return TimeLimit(until=until, cuts=True, seconds_per_epoch=per_epoch)
        after = n_tasks * self._seconds_of_task.get("scoring", 0.0)
        return TimeLimit(until=now + self.left - after)

    def limit_refit(self, closing: ExitStack) -> None:
        """Let the refit end in time, and networks inside of other estimators in it."""
        limit = None
        if self.is_limited:
            # Rather a little late than less than what was scored.
            until = self.end + _LATER * self.seconds + _SECONDS_LATER
            limit = TimeLimit(until=until, cuts=True)
        self._refit_time = closing.enter_context(time_limit(limit))

    @contextmanager
    def task(self, what: str, *, is_first: bool) -> Iterator[None]:
        """Run a task, which nothing stops, if it is expected to end in time."""
        if not self.is_limited:
            yield
            return
        if not is_first and self.left < self._seconds_of_task.get(what, 0.0):
            raise TimeIsUpError
        start = time.monotonic()
        yield
        self._seconds_of_task[what] = time.monotonic() - start

    def note_unstoppable(self) -> None:
        """Remember what the first candidate took if nothing could stop it in time."""
        if time.monotonic() > self.end:
            self._seconds_of_first = time.monotonic() - self._start

    def takes(self, works: Sequence[Work], *, is_first: bool) -> bool:
        """Return whether all networks of tasks were trained; let go of those that were cut.

        But for those of the first candidate, where fewer epochs are better than nothing.
        """
        cut = [work for work in works if work.trained is not None and work.trained.is_cut]
        self.is_late = self.is_late or bool(cut)
        for work in cut:
            if not is_first or work.state is None:
                work.trained = None
        return not any(work.fit is not None and work.trained is None for work in works)

    def note(self, works: Sequence[Work]) -> None:
        """Remember networks by which refits can be measured, and which of them were cut."""
        if self.is_limited and self._refits:
            self._works |= {work.row: work for work in works}
        for work in works:
            if work.trained is None or work.state is None or not work.trained.is_cut:
                continue
            work.n_epochs = len(work.state.history)
            n_epochs = self.n_epochs_of_cut.get(work.row, work.n_epochs)
            self.n_epochs_of_cut[work.row] = min(n_epochs, work.n_epochs)

    def measure_refit(
        self, row: int, best_epoch: int | None, seconds_of_fit: float
    ) -> None:
        """Find out what the refit of the best candidate takes.

        `seconds_of_fit` is what each of its fits took, if it is no network.
        """
        work = self._works.get(row)
        if not self.is_limited or not self._refits:
            return
        if work is not None and work.fit is not None:
            growth = num_samples(work.task.X) / len(work.task.train)
            seconds = 0.0
            if work.trained is not None and not work.trained.is_loaded:
                n_trained = work.n_epochs - work.n_epochs_before
                seconds = work.trained.seconds / max(1, n_trained)
            if self.end > time.monotonic():
                # Alone a network takes longer than its share of a fleet's time.
                key = signature(work.fit)
                if key not in self._seconds_alone:
                    self._seconds_alone[key] = self._measured(work.fit)
                seconds = max(seconds, self._seconds_alone[key])
            self._known[row] = _Refit(
                growth * self._seconds_of_task.get("preparing", 0.0),
                growth * seconds,
                best_epoch or work.n_epochs,
            )
        self._refit = self._known.setdefault(row, _Refit(once=seconds_of_fit))
        self._works.clear()

    def _measured(self, fit: Fit) -> float:
        """Return the seconds of an epoch alone; more than was spent if that is too long."""
        # A seed is given, so that nothing is drawn from torch's generator.
        fit = replace(
            fit, n_epochs=1, seed=0, monitor=None, state=None,
            keeps_checkpoints=False, checkpoint=None,
        )  # fmt: skip
        # A fit that is cut the first time may have had to wait for imports.
        for _ in range(2):
            start = time.monotonic()
            until = start + _SHARE_TO_MEASURE * (self.end - start)
            trained = train_one(fit, limit=TimeLimit(until=until))
            if trained.state is not None:
                return float(trained.state.history[-1].get("dur", trained.seconds))
        return _LONGER * (time.monotonic() - start)

    def warn_if_cut(self) -> str:
        """Return which networks have fewer epochs than they were to have; warn of them."""
        budget = (
            f"The time budget of {seconds_text(self.seconds)}" if self.is_limited else ""
        )
        parts = [
            f"{budget} was too short for a single candidate. The only one was trained for "
            f"{n_epochs} epochs, and its score is that of networks with so few."
            for n_epochs in self.n_epochs_of_cut.values()
        ]
        if self.cut_refit or self._refit_time.has_cut:
            parts.append(
                f"{budget} ended the refit {self.cut_refit or 'before its last epoch'}."
            )
        if self._seconds_of_first:
            warn_user(
                f"{budget} was too short for a single candidate, whose fits nothing can "
                f"stop: it took {seconds_text(self._seconds_of_first)}. Give more time, or "
                "fewer rows."
            )
        if not parts:
            return ""
        message = " ".join([*parts, "Give more time, or fewer epochs."])
        warn_user(message)
        return message
