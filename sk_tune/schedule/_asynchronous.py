# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Asynchronous successive halving: who trains next, given the scores that have arrived.

Notation, as in Li et al. [1]_, Algorithm 2: eta is ``factor``; of a rung with n results
the best floor(n / eta) may be promoted.

References
----------
.. [1] L. Li, K. Jamieson, A. Rostamizadeh, E. Gonina, J. Ben-tzur, M. Hardt, B. Recht,
   A. Talwalkar. A system for massively parallel hyperparameter tuning. MLSys 2020.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sk_tune.schedule._halving import Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJob:
    """A candidate, counted from 0 as they start, that is to be trained up to a rung."""

    candidate: int
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrived:
    """Results of one rung: candidates with their scores, and who was promoted."""

    scores: tuple[tuple[int, float], ...] = ()
    promoted: frozenset[int] = frozenset()

    def best(self, n: int) -> list[int]:
        """Return the best `n` candidates, best first.

        Ties go to the earlier one; failed ones are left out.
        """
        usable = [(c, score) for c, score in self.scores if not math.isnan(score)]
        return [c for c, _ in sorted(usable, key=lambda own: -own[1])[:n]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AsynchronousBracket:
    """A run of asynchronous halving, as far as it has come; each method returns a new one.

    `rungs` are as synchronous halving would train them; `arrived` has results by rung.
    """

    rungs: tuple[Rung, ...]
    factor: float
    arrived: tuple[_Arrived, ...]
    n_started: int = 0

    def next_job(self) -> RungJob | None:
        """Return what a free worker is to train now; None until a result arrives.

        It is the best candidate that may be promoted, on the highest rung that has one,
        else a new candidate.
        """
        for rung in range(len(self.rungs) - 2, -1, -1):
            candidate = next(self._promotable(rung), None)
            if candidate is not None:
                return RungJob(candidate=candidate, rung=rung + 1)
        if self.n_started < self.rungs[0].n_candidates:
            return RungJob(candidate=self.n_started, rung=0)
        return None

    def with_started(self, job: RungJob) -> "AsynchronousBracket":
        """Return the bracket with the job of :meth:`next_job` given to a worker."""
        if job.rung == 0:
            return replace(self, n_started=self.n_started + 1)
        below = self.arrived[job.rung - 1]
        below = replace(below, promoted=below.promoted | {job.candidate})
        return self._with(job.rung - 1, below)

    def with_score(self, job: RungJob, score: float) -> "AsynchronousBracket":
        """Return the bracket with the result of a job.

        Greater is better, NaN if it failed.
        """
        arrived = self.arrived[job.rung]
        scores = (*arrived.scores, (job.candidate, score))
        return self._with(job.rung, replace(arrived, scores=scores))

    def without_more(self) -> "AsynchronousBracket":
        """Return the bracket with the candidates that were started, and no others."""
        first = replace(self.rungs[0], n_candidates=self.n_started)
        return replace(self, rungs=(first, *self.rungs[1:]))

    def waiting(self) -> frozenset[int]:
        """Return candidates with a result that may yet be promoted.

        Those that are too many by now are not among them: a result that arrives moves
        nobody up.
        """
        n_first = self.rungs[0].n_candidates
        return frozenset(
            candidate
            for rung, arrived in enumerate(self.arrived[:-1])
            # No rung has more results in the end than the first.
            for candidate in arrived.best(
                max(int(n_first // self.factor), self.rungs[rung + 1].n_candidates)
            )
            if candidate not in arrived.promoted
        )

    def _promotable(self, rung: int) -> Iterator[int]:
        """Yield who may be promoted from a rung and was not, the best one first."""
        arrived = self.arrived[rung]
        n = int(len(arrived.scores) // self.factor)
        if self._is_complete(rung):
            # No later result can make room for those that rounding down leaves out.
            n = max(n, self.rungs[rung + 1].n_candidates)
        return (c for c in arrived.best(n) if c not in arrived.promoted)

    def _is_complete(self, rung: int) -> bool:
        """Return whether all results that a rung will ever have are there."""
        n_arrived = len(self.arrived[rung].scores)
        if rung == 0:
            return n_arrived == self.n_started == self.rungs[0].n_candidates
        return (
            self._is_complete(rung - 1)
            and n_arrived == len(self.arrived[rung - 1].promoted)
            and next(self._promotable(rung - 1), None) is None
        )

    def _with(self, rung: int, own: _Arrived) -> "AsynchronousBracket":
        arrived = (*self.arrived[:rung], own, *self.arrived[rung + 1 :])
        return replace(self, arrived=arrived)


def asynchronous_bracket(rungs: Sequence[Rung], factor: float) -> AsynchronousBracket:
    """Return a run of asynchronous halving before its start.

    The first rung starts all of its candidates; at least so many come to each of the others
    as synchronous halving would train there, unless too many fail. One in `factor` is
    promoted.

    A rung promotes whoever is among the best ``floor(n / factor)`` of the n results that it
    has so far, and so now and then one that is not among the best in the end. The paper's
    rung has no end. Here candidates are finite: when a rung has all results that it will
    ever have, it promotes as many as the synchronous rung, if it has not yet.

    >>> rungs = [Rung(n_candidates=4, n_resources=1), Rung(n_candidates=2, n_resources=2)]
    >>> bracket = asynchronous_bracket(rungs, factor=2)
    >>> for score in (0.1, 0.3):
    ...     job = bracket.next_job()
    ...     bracket = bracket.with_started(job).with_score(job, score)
    >>> bracket.next_job()
    RungJob(candidate=1, rung=1)
    """
    if not rungs:
        raise ValueError("asynchronous_bracket needs at least one rung. Got none instead.")
    if not factor > 1:
        raise ValueError(
            "The 'factor' parameter of asynchronous_bracket must be more than 1. "
            f"Got {factor!r} instead."
        )
    arrived = tuple(_Arrived() for _ in rungs)
    return AsynchronousBracket(rungs=tuple(rungs), factor=factor, arrived=arrived)
