# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Successive halving [1]_, Hyperband, and asynchronous successive halving.

Notation of Hyperband, as in Li et al. [2]_: R is ``max_resources``, eta ``factor``, s the
number of reductions of a bracket and s_max the largest s.  Asynchronous halving is
Algorithm 2 of Li et al. [3]_: of a rung with n results the best floor(n / eta) may be
promoted.  Resources are whole epochs or samples.

References
----------
.. [1] K. Jamieson, A. Talwalkar. Non-stochastic best arm identification and hyperparameter
   optimization. AISTATS 2016.
.. [2] L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh, A. Talwalkar. Hyperband: a novel
   bandit-based approach to hyperparameter optimization. JMLR 18(185):1-52, 2018.
.. [3] L. Li, K. Jamieson, A. Rostamizadeh, E. Gonina, J. Ben-tzur, M. Hardt, B. Recht,
   A. Talwalkar. A system for massively parallel hyperparameter tuning. MLSys 2020.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from sk_tune._text import text_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A rung of successive halving."""

    n_candidates: int
    n_resources: int  # of each candidate, in all
    n_folds: int | None = None  # the first folds, all if None

    def folds_of(self, n_splits: int) -> int:
        """Return the number of folds of a candidate, of `n_splits` in all."""
        return n_splits if self.n_folds is None else min(self.n_folds, n_splits)


def new_resources(
    rungs: Sequence[Rung], *, goes_on: bool = True, n_splits: int = 1
) -> list[float]:
    """Return the resources that each rung adds, as a mean over all folds."""
    new, previous, n_previous = [], 0, 0
    for rung in rungs:
        n_folds = rung.folds_of(n_splits)
        if not goes_on or previous >= rung.n_resources:
            previous = 0
        new.append((rung.n_resources * n_folds - previous * n_previous) / n_splits)
        previous, n_previous = rung.n_resources, n_folds
    return new


# Returns the number of promoted candidates, given the number of candidates of a rung, the
# planned rung and the next rung.
Promotion = Callable[[int, Rung, Rung], int]


def with_candidates(
    rungs: Sequence[Rung], n_candidates: int, promoted: Promotion
) -> list[Rung]:
    """Return rungs for `n_candidates`; a single remaining one skips to the last rung.

    >>> rungs = hyperband_brackets(1, 81)[0].rungs
    >>> rungs = with_candidates(rungs, 14, lambda n, *_: n // 3)
    >>> [(rung.n_candidates, rung.n_resources) for rung in rungs]
    [(14, 1), (4, 3), (1, 81)]
    """
    if n_candidates >= rungs[0].n_candidates:
        return list(rungs)
    shaped = [replace(rungs[0], n_candidates=n_candidates)]
    for previous, rung in pairwise(rungs):
        n_candidates = max(1, promoted(n_candidates, previous, rung))
        if n_candidates > 1 or rung is rungs[-1]:
            shaped.append(replace(rung, n_candidates=n_candidates))
    return shaped


def n_reductions(ratio: int, factor: float) -> int:
    """Return the largest k with ``factor**k <= ratio``, for a factor above 1."""
    # Counted, because math.log(243, 3) is 4.999..., which loses a rung.
    k = 0
    while factor ** (k + 1) <= ratio:
        k += 1
    return k


@dataclass(frozen=True, slots=True, kw_only=True)
class HalvingSchedule:
    """The rungs of a halving search, with scikit-learn's attribute names."""

    n_required_iterations: int  # leave fewer than ``factor`` candidates
    n_possible_iterations: int  # fit between the resources
    n_iterations: int
    min_resources: int
    max_resources: int
    n_remaining_candidates: int  # after the last rung
    rungs: tuple[Rung, ...]


def halving_schedule(
    n_candidates: int,
    *,
    max_resources: int,
    min_resources: int | Literal["smallest", "exhaust"] = "exhaust",
    smallest_resources: int = 1,
    factor: float = 3,
    aggressive_elimination: bool = False,
) -> HalvingSchedule:
    """Return the rungs of a halving search.

    The numbers are scikit-learn's, except that its floating-point logarithm loses the last
    rung of some exact powers, such as 243 with a factor of 3.

    >>> schedule = halving_schedule(60, min_resources=20, max_resources=180)
    >>> [(rung.n_candidates, rung.n_resources) for rung in schedule.rungs]
    [(60, 20), (20, 60), (7, 180)]
    """
    smallest = smallest_resources if isinstance(min_resources, str) else min_resources
    if n_candidates < 1:
        raise ValueError(
            "The 'n_candidates' parameter of halving_schedule must be an int >= 1. "
            f"Got {n_candidates!r} instead."
        )
    if not factor > 1:
        raise ValueError(
            "The 'factor' parameter of halving_schedule must be more than 1. "
            f"Got {factor!r} instead."
        )
    if not 1 <= smallest <= max_resources:
        raise ValueError(
            "Resources of a halving must satisfy 1 <= min_resources <= "
            f"max_resources. Got min_resources={smallest} and {max_resources=} instead."
        )
    if factor == int(factor):
        factor = int(factor)  # Powers of an int are exact.

    n_required = 1 + n_reductions(n_candidates, factor)
    if min_resources == "exhaust":
        smallest = max(smallest, int(max_resources // factor ** (n_required - 1)))
    n_possible = 1 + n_reductions(max_resources // smallest, factor)
    n_iterations = n_required if aggressive_elimination else min(n_possible, n_required)

    rungs = []
    for i in range(n_iterations):
        power = max(0, i - n_required + n_possible) if aggressive_elimination else i
        n_resources = min(int(factor**power * smallest), max_resources)
        rungs.append(Rung(n_candidates=n_candidates, n_resources=n_resources))
        n_candidates = n_promoted(n_candidates, factor)
    return HalvingSchedule(
        n_required_iterations=n_required,
        n_possible_iterations=n_possible,
        n_iterations=n_iterations,
        min_resources=smallest,
        max_resources=max_resources,
        n_remaining_candidates=n_candidates,
        rungs=tuple(rungs),
    )


def n_promoted(n_candidates: int, factor: float) -> int:
    """Return the number of promoted candidates, n_candidates / factor rounded up.

    >>> n_promoted(20, 3)
    7
    """
    return math.ceil(n_candidates / factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """One run of successive halving, with `index` (s) reductions."""

    index: int
    rungs: tuple[Rung, ...]

    def __str__(self) -> str:
        header = ["rung", "candidates", "resources"]
        rows: list[list[object]]
        rows = [[i, r.n_candidates, r.n_resources] for i, r in enumerate(self.rungs)]
        if any(rung.n_folds is not None for rung in self.rungs):
            header.append("folds")
            for row, rung in zip(rows, self.rungs, strict=True):
                row.append(rung.n_folds or "all")
        return text_table(header, rows)


def hyperband_brackets(
    min_resources: int, max_resources: int, factor: int = 3
) -> tuple[Bracket, ...]:
    """Return the ``s_max + 1`` brackets of one Hyperband pass, the most aggressive first.

    The first rung of the first bracket grants `min_resources`, or slightly more if
    `max_resources` is not a multiple of it by a power of `factor`. Rung i of bracket s
    grants ``floor(R / eta**(s - i))``, so that rounding does not accumulate. As in
    Algorithm 1 of the paper, a bracket starts with ``ceil((s_max + 1) / (s + 1) * eta**s)``
    candidates.

    >>> for bracket in hyperband_brackets(1, 9):
    ...     print(bracket.index, [(r.n_candidates, r.n_resources) for r in bracket.rungs])
    2 [(9, 1), (3, 3), (1, 9)]
    1 [(5, 3), (1, 9)]
    0 [(3, 9)]
    """
    if not 1 <= min_resources <= max_resources:
        raise ValueError(
            "Resources of Hyperband must satisfy 1 <= min_resources <= "
            f"max_resources. Got {min_resources=} and {max_resources=} instead."
        )
    if factor < 2:
        raise ValueError(
            "The 'factor' parameter of hyperband_brackets must be an int >= 2. "
            f"Got {factor!r} instead."
        )

    s_max = n_reductions(max_resources // min_resources, factor)
    brackets = []
    for s in range(s_max, -1, -1):
        # n = ceil((s_max + 1) / (s + 1) * eta**s), in integers.
        n_first = -(-(s_max + 1) * factor**s // (s + 1))
        rungs = tuple(
            Rung(
                n_candidates=n_first // factor**i,
                n_resources=max_resources // factor ** (s - i),
            )
            for i in range(s + 1)
        )
        brackets.append(Bracket(index=s, rungs=rungs))
    return tuple(brackets)


# Shares of the candidates and of the resources, for a bracket on one fold whose last rung
# has all folds; chosen with benchmarks/replay.py.
_ON_ONE_FOLD = ((1, 1 / 27), (1 / 4, 0.26), (1 / 10, 1 / 2), (1 / 24, 1))


def one_fold_brackets(
    min_resources: int, max_resources: int, n_passes: int = 1
) -> tuple[Bracket, ...]:
    """Return equal brackets on one fold up to their last rung, which has all folds.

    A bracket has as many candidates as all `hyperband_brackets` with a factor of 3, and
    spends a third of their epochs.

    >>> (bracket,) = one_fold_brackets(1, 27)
    >>> [(rung.n_candidates, rung.n_resources, rung.n_folds) for rung in bracket.rungs]
    [(49, 1, 1), (12, 7, 1), (5, 13, 1), (2, 27, None)]
    """
    passes = hyperband_brackets(min_resources, max_resources)
    n_all = sum(bracket.rungs[0].n_candidates for bracket in passes)
    rungs: list[Rung] = []
    for of_candidates, of_resources in _ON_ONE_FOLD:
        n_resources = max(min_resources, int(of_resources * max_resources))
        if of_resources == 1 or n_resources < max_resources:
            if rungs and n_resources == rungs[-1].n_resources:
                continue
            n_candidates = max(min(2, n_all), round(n_all * of_candidates))
            n_folds = None if of_resources == 1 else 1
            rungs.append(
                Rung(n_candidates=n_candidates, n_resources=n_resources, n_folds=n_folds)
            )
    return tuple(Bracket(index=i, rungs=tuple(rungs)) for i in range(n_passes))


def promoted_in_ratio(n_candidates: int, before: Rung, after: Rung) -> int:
    """Return the share of `n_candidates` that the planned rungs promote, rounded."""
    return round(n_candidates * after.n_candidates / before.n_candidates)


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJob:
    """Training of a candidate, numbered from 0 in order of start, up to a rung."""

    candidate: int
    rung: int


class AsynchronousBracket:
    """The state of a run of asynchronous halving.

    A rung promotes the best ``floor(n / factor)`` of its n results so far, and thus
    sometimes a candidate that is not among the best in the end. In the paper, rungs get
    results without end. Here candidates are finite: once a rung has all of its results, it
    promotes up to the number of the synchronous rung. Without `factor`, the ratio of the
    rungs counts.

    >>> rungs = [Rung(n_candidates=4, n_resources=1), Rung(n_candidates=2, n_resources=2)]
    >>> bracket = AsynchronousBracket(rungs, factor=2)
    >>> for score in (0.1, 0.3):
    ...     job = bracket.next_job()
    ...     bracket.start(job)
    ...     bracket.end(job, score)
    >>> bracket.next_job()
    RungJob(candidate=1, rung=1)
    """

    def __init__(self, rungs: Sequence[Rung], factor: float | None) -> None:
        self.rungs = self._planned = tuple(rungs)
        self._factor = factor
        self._n_first, self._n_started = rungs[0].n_candidates, 0
        # Whether each rung promotes only one candidate.
        self._promotes_one = False
        # For each rung: candidates with scores, and promoted candidates.
        self._scores: list[list[tuple[int, float]]] = [[] for _ in rungs]
        self._promoted: list[set[int]] = [set() for _ in rungs]

    @property
    def n_new(self) -> int:
        """Candidates that are still to be started."""
        return self._n_first - self._n_started

    def next_job(self) -> RungJob | None:
        """Return the job of the best promotable candidate, else of a new candidate."""
        for rung in range(len(self.rungs) - 2, -1, -1):
            candidate = next(self._promotable(rung), None)
            if candidate is not None:
                return RungJob(candidate=candidate, rung=rung + 1)
        return RungJob(candidate=self._n_started, rung=0) if self.n_new else None

    def start(self, job: RungJob) -> None:
        """Record that the job from :meth:`next_job` is submitted to a worker."""
        if job.rung == 0:
            self._n_started += 1
        else:
            self._promoted[job.rung - 1].add(job.candidate)

    def end(self, job: RungJob, score: float) -> None:
        """Record the result of a job; greater is better, NaN if it failed."""
        self._scores[job.rung].append((job.candidate, score))

    def start_no_more(self) -> None:
        """Start no new candidates."""
        self._n_first = self._n_started

    def shrink(self, *, to_best: bool = False) -> None:
        """Start no new candidates, and promote as in a smaller bracket, or one each."""
        self.start_no_more()
        n, self._promotes_one = 1 if to_best else self._n_started, to_best
        rungs = [replace(self.rungs[0], n_candidates=self._n_started)]
        for i, rung in enumerate(self.rungs[1:]):
            n = max(1, self._n_promoted(n, i))
            rungs.append(replace(rung, n_candidates=min(n, rung.n_candidates)))
        self.rungs = tuple(rungs)

    @property
    def top(self) -> int:
        """The highest rung with a submitted candidate, -1 if none was started."""
        return sum(map(bool, self._promoted)) if self._n_started else -1

    def rungs_of_waiting(self) -> list[Rung]:
        """Return the latest rungs of the candidates that may still be promoted."""
        waiting = self.waiting()
        last = {c: i for i, pairs in enumerate(self._scores) for c, _ in pairs}
        return [self.rungs[i] for c, i in last.items() if c in waiting]

    def waiting(self) -> frozenset[int]:
        """Return candidates that may still be promoted, whatever the remaining results."""
        return frozenset(
            candidate
            for rung, above in enumerate(self.rungs[1:])
            # No rung gets more results than the first rung.
            for candidate in self._best(
                rung, max(self._n_promoted(self._n_first, rung), above.n_candidates)
            )
            if candidate not in self._promoted[rung]
        )

    def _best(self, rung: int, n: int) -> list[int]:
        """Return the best `n` scored candidates, best first; ties by order of arrival."""
        usable = [pair for pair in self._scores[rung] if not math.isnan(pair[1])]
        return [candidate for candidate, _ in sorted(usable, key=lambda p: -p[1])[:n]]

    def _promotable(self, rung: int) -> Iterator[int]:
        """Yield candidates of a rung that may be promoted now, the best one first."""
        if self._promotes_one and self._promoted[rung]:
            return iter(())
        n = self._n_promoted(len(self._scores[rung]), rung)
        if self._is_complete(rung):
            # Without further results, rounding down would leave candidates out.
            n = max(n, self.rungs[rung + 1].n_candidates)
        return (c for c in self._best(rung, n) if c not in self._promoted[rung])

    def _n_promoted(self, n_candidates: int, rung: int) -> int:
        if self._factor is None:
            return promoted_in_ratio(n_candidates, *self._planned[rung : rung + 2])
        return int(n_candidates // self._factor)

    def _is_complete(self, rung: int) -> bool:
        """Return whether a rung has all of its results."""
        n_arrived = len(self._scores[rung])
        if rung == 0:
            return n_arrived == self._n_started == self._n_first
        return (
            self._is_complete(rung - 1)
            and n_arrived == len(self._promoted[rung - 1])
            and next(self._promotable(rung - 1), None) is None
        )
