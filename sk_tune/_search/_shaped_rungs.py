# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The rungs of a search under a time budget, and a sentence on the omitted candidates.

A bracket starts with fewer candidates, so that at least one is expected to have all
resources in time.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sk_tune._compat import num_samples
from sk_tune._schedule import Promotion, Rung, new_resources, with_candidates
from sk_tune._search._outcomes import FoldOutcome, best_first
from sk_tune._search._search_plan import SearchPlan
from sk_tune._search._time_budget import SHARE_OF_BEST, SLOWER, TimeBudget
from sk_tune._search_record import NOT_TRAINED, granted_resource, resources_text
from sk_tune._text import counted, seconds_text

# Share of the time left that measuring a second candidate may take.
_SHARE_OF_SECOND = 0.25


class Ladder:
    """The rungs of a bracket, with fewer candidates if the time is too short.

    The number of candidates is chosen so that at least one is expected to get all resources
    in time.  A rung promotes at least one candidate.  With `goes_on`, a rung continues the
    training of the rung below.  With `refit_grows`, more resources make the refit longer.
    If no candidate has time for all resources and `can_lower` is true, the best candidate
    gets as many as possible: networks that continue train until the time is up, other
    estimators end at a lower rung.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        promoted: Promotion,
        budget: TimeBudget,
        *,
        goes_on: bool,
        can_lower: bool,
        refit_grows: bool,
        n_splits: int,
    ) -> None:
        self._n_splits = n_splits
        self.rungs, self._planned = list(rungs), tuple(rungs)
        self._promoted = promoted
        self._budget = budget
        self._goes_on, self._can_lower = goes_on, can_lower
        self._refit_grows = refit_grows
        # Whether the best candidate counts even if it is interrupted.
        self.is_needed = can_lower and goes_on
        # Expected final resources of one candidate.
        self._reach = rungs[-1].n_resources
        self._slowness = 1.0
        self._set_ahead()

    def units(self, rungs: Sequence[Rung] | None = None) -> list[float]:
        """Return the resources that each rung trains, as a mean over all folds."""
        rungs = self.rungs if rungs is None else rungs
        granted = [replace(r, n_resources=min(r.n_resources, self._reach)) for r in rungs]
        return new_resources(granted, goes_on=self._goes_on, n_splits=self._n_splits)

    def begin(self, position: int, n_candidates: int) -> int:
        """Return the number of promoted candidates with time for a rung."""
        if not self._budget.is_limited or not self._budget.times.n_calls or not position:
            return n_candidates
        n_in_time = min(self._most(position, 0, n_candidates), n_candidates)
        if n_in_time == n_candidates:
            return n_in_time
        self._budget.shorten()
        if n_in_time > 1:
            self._shape(position, n_in_time)
            return n_in_time
        # The best candidate goes to the last rung at once, or to the highest possible one.
        last = [replace(rung, n_candidates=1) for rung in self.rungs[position:]]
        if n_in_time or self._goes_on:
            self.rungs[position:] = last[-1:]
            return 1
        for rung in reversed(last):
            self.rungs[position:] = [rung]
            if self._most(position, 0, 1):
                return 1
        return 0

    def part(
        self, position: int, n_done: int, n_candidates: int, slowness: float = 1.0
    ) -> int:
        """Return the number of candidates in the next call on a rung; 0 ends the rung."""
        budget, times, self._slowness = self._budget, self._budget.times, slowness
        is_first = not position and times.n_calls == 1
        if not position and self._can_lower:
            self._fit_reach(n_done, n_candidates)
            # Two candidates suffice to show whether one can get all resources.
            self._can_lower = is_first
        units = self.units()[position]
        seconds_left = _SHARE_OF_SECOND * budget.left_before_refit(0)
        if is_first and times.seconds(1, units) < seconds_left:
            # The first fit of a process may have waited for imports.
            return 1
        n_in_time = self._most(position, n_done, n_candidates)
        if position and not n_done:
            n_in_time = max(1, n_in_time)
        return max(0, min(n_in_time - n_done, budget.share(times.seconds_each(units))))

    def n_promoted(self, position: int) -> int:
        upper = self.rungs[position + 1 :]
        return upper[0].n_candidates if upper else 0

    def end(self, position: int, n_done: int, n_candidates: int) -> None:
        """Shape the upper rungs after a rung with results of some of its candidates."""
        if n_done < n_candidates:
            if self._budget.is_limited:
                self._budget.shorten()
            self._shape(position, max(1, n_done))

    def seconds_of_best(self, position: int) -> float:
        """Return the expected seconds of one candidate on the rungs above."""
        return self._seconds(position, 1, 1) if self._budget.times.n_calls > 1 else 0.0

    def can_start(self) -> bool:
        """Return whether there is time to give one candidate all resources."""
        return not self._budget.is_limited or self._most(0, 0, 1) > 0

    def _shape(self, position: int, n_candidates: int) -> None:
        upper = with_candidates(self.rungs[position:], n_candidates, self._promoted)
        self.rungs[position:] = upper

    def _most(self, position: int, n_done: int, n_candidates: int) -> int:
        """Return how many candidates of a rung there is time for; may be below `n_done`."""
        counts = range(max(1, n_done), n_candidates + 1)
        seconds_left = self._budget.left / SLOWER
        n = bisect_right(
            counts, seconds_left, key=lambda n: self._seconds(position, n_done, n)
        )
        return counts.start - 1 + n

    def _seconds(self, position: int, n_done: int, n_candidates: int) -> float:
        """Return the seconds for the rest of the bracket if a rung has `n_candidates`."""
        times = self._budget.times
        upper = with_candidates(self.rungs[position:], n_candidates, self._promoted)
        units = self.units([*self.rungs[:position], *upper])[position:]
        n_left = [n_candidates - n_done, *(rung.n_candidates for rung in upper[1:])]
        return sum(
            times.seconds(n, new) * (self._slowness if n == 1 else 1.0)
            for n, new in zip(n_left, units, strict=True)
            if n
        )

    def _fit_reach(self, n_done: int, n_candidates: int) -> None:
        """Lower the last rung if no candidate has time for all resources."""
        budget, first = self._budget, self._planned[0]
        self.rungs, self._reach = list(self._planned), self._planned[-1].n_resources
        self._set_ahead()
        is_short = self._most(0, n_done, n_candidates) < n_done
        budget.shorten(is_shortened=is_short)
        if not is_short:
            return
        done = first.n_resources if self._goes_on else 0
        done_each = done * first.folds_of(self._n_splits) / self._n_splits
        numbers = range(done + 1, self._reach + 1)

        def is_late(n: int) -> bool:
            seconds = self._slowness * budget.times.seconds(1, n - done_each)
            seconds_left = budget.left_before_refit(n if self._refit_grows else 0)
            return SLOWER * seconds > seconds_left

        most = done + bisect_right(numbers, 0, key=is_late)
        if self._goes_on:
            self._reach = max(done + 1, int(SHARE_OF_BEST * most))
            between = [r for r in self.rungs[1:-1] if r.n_resources < self._reach]
            self.rungs = [first, *between, self.rungs[-1]]
        else:
            most = max(first.n_resources, most)
            self.rungs = [r for r in self.rungs if r.n_resources <= most]
            self._reach = self.rungs[-1].n_resources
        self._set_ahead()

    def _set_ahead(self) -> None:
        self._budget.leave(n_epochs=self._reach if self._refit_grows else 0)


def was_left_out(folds: Sequence[FoldOutcome]) -> bool:
    return any(outcome.reason in NOT_TRAINED for outcome in folds)


def shortfall(search: Any, rounds: Any) -> str:
    """Return a sentence on what the time budget left out, "" if it left out nothing."""
    session, budget = rounds.session, rounds.session.time
    if not (budget.is_shortened or budget.is_late):
        return ""
    rungs = rounds.results.get("iter", [0] * rounds.n_candidates)
    outcomes = zip(rungs, session.outcomes, strict=False)
    n_candidates = sum(r == 0 and not was_left_out(folds) for r, folds in outcomes)
    seconds = seconds_text(budget.seconds)
    if n_candidates == 1 and 0 in budget.cut_epochs:
        return (
            f"The time budget of {seconds} was too short for a single candidate. Its "
            f"score is from {counted(budget.cut_epochs[0], 'epoch')}, fewer than "
            "requested. Set a larger time_budget or fewer epochs."
        )
    plan = search._plan(search.n_splits_, num_samples(rounds.session.call.X))
    name, planned = type(search).__name__, counted(plan.n_candidates, "candidate")
    text = (
        f"{name} planned {planned}. The time budget of {seconds} was enough for "
        f"{n_candidates}{_reached(search, rounds)}."
    )
    if not budget.times.n_calls:
        return f"{text} Set a larger time_budget."
    seconds_needed = _seconds_for(session, plan, has_rungs=search._level is not None)
    return f"{text} Set time_budget={seconds_needed} for the whole plan."


def stopped_text(search: Any, rounds: Any) -> str:
    """Return a sentence if the stop rule or a callback ended the search early, or ""."""
    by_callback = "a callback ended it" if rounds.has_ended_by_callback else ""
    reason = rounds.stop_rule.reason or by_callback
    if not reason:
        return ""
    plan = search._plan(search.n_splits_, num_samples(rounds.session.call.X))
    if rounds.n_candidates >= sum(planned.n_candidates for planned in plan.rounds):
        return ""
    n_tried = len(set(rounds.session.candidates[: rounds.n_candidates]))
    return (
        f"{type(search).__name__} ended after {n_tried} of "
        f"{counted(plan.n_candidates, 'candidate')}{_reached(search, rounds)}, because "
        f"{reason}."
    )


def _reached(search: Any, rounds: Any) -> str:
    """Return the number of candidates with all resources, or the most resources."""
    if search._level is None:
        return ""
    n_resources, top = rounds.results["n_resources"], search._full_resources
    of_all = resources_text(granted_resource(search), top)
    if n_full := rounds.n_full(top):
        return f", {n_full} of them with all {of_all}"
    rows = best_first(rounds.scores, n_resources)
    if not rows:
        return ""
    reached = rounds.session.time.cut_epochs.get(rows[0], n_resources[rows[0]])
    return f", none of them with all {of_all}; the best had {reached}"


def _seconds_for(session: Any, plan: SearchPlan, *, has_rungs: bool) -> int:
    """Return the expected seconds of a plan, rounded up to two digits."""
    budget, top, seconds = session.time, 0, 0.0
    for planned in plan.rounds:
        top = max(top, planned.n_resources if has_rungs else 0)
        units = planned.n_resources if has_rungs else 1.0
        if session.options.resource is not None:
            units = planned.n_epochs / planned.n_fits
        seconds += budget.times.seconds(planned.n_candidates, units)
    seconds = max(budget.with_refit(seconds, top), 1.2 * budget.seconds)
    digit = 10 ** max(0, math.floor(math.log10(seconds)) - 1)
    return int(math.ceil(seconds / digit) * digit)
