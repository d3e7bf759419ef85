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
from dataclasses import dataclass

from sk_tune.schedule._halving import Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJob:
    """A candidate, counted from 0 as they start, that is to be trained up to a rung."""

    candidate: int
    rung: int


class AsynchronousBracket:
    """A run of asynchronous halving, as far as it has come.

    The first rung starts all of its candidates; at least so many come to each of the others
    as synchronous halving would train there, unless too many fail. One in `factor` is
    promoted.

    A rung promotes whoever is among the best ``floor(n / factor)`` of the n results that it
    has so far, and so now and then one that is not among the best in the end. The paper's
    rung has no end. Here candidates are finite: when a rung has all results that it will
    ever have, it promotes as many as the synchronous rung, if it has not yet.

    >>> rungs = [Rung(n_candidates=4, n_resources=1), Rung(n_candidates=2, n_resources=2)]
    >>> bracket = AsynchronousBracket(rungs, factor=2)
    >>> for score in (0.1, 0.3):
    ...     job = bracket.next_job()
    ...     bracket.start(job)
    ...     bracket.end(job, score)
    >>> bracket.next_job()
    RungJob(candidate=1, rung=1)
    """

    def __init__(self, rungs: Sequence[Rung], factor: float) -> None:
        self.rungs = tuple(rungs)
        self._factor = factor
        self._n_first, self._n_started = rungs[0].n_candidates, 0
        # Candidates with their scores, and those promoted, by rung.
        self._scores: list[list[tuple[int, float]]] = [[] for _ in rungs]
        self._promoted: list[set[int]] = [set() for _ in rungs]

    @property
    def n_new(self) -> int:
        """Candidates that are still to be started."""
        return self._n_first - self._n_started

    def next_job(self) -> RungJob | None:
        """Return what a free worker is to train now; None until a result arrives.

        It is the best candidate that may be promoted, on the highest rung that has one,
        else a new candidate.
        """
        for rung in range(len(self.rungs) - 2, -1, -1):
            candidate = next(self._promotable(rung), None)
            if candidate is not None:
                return RungJob(candidate=candidate, rung=rung + 1)
        return RungJob(candidate=self._n_started, rung=0) if self.n_new else None

    def start(self, job: RungJob) -> None:
        """Take note that the job of :meth:`next_job` is given to a worker."""
        if job.rung == 0:
            self._n_started += 1
        else:
            self._promoted[job.rung - 1].add(job.candidate)

    def end(self, job: RungJob, score: float) -> None:
        """Take note of the result of a job; greater is better, NaN if it failed."""
        self._scores[job.rung].append((job.candidate, score))

    def start_no_more(self) -> None:
        """Let there be no other candidates than those that were started."""
        self._n_first = self._n_started

    def waiting(self) -> frozenset[int]:
        """Return candidates with a result that may yet be promoted.

        Those that are too many by now are not among them: a result that arrives moves
        nobody up.
        """
        return frozenset(
            candidate
            for rung, above in enumerate(self.rungs[1:])
            # No rung has more results in the end than the first.
            for candidate in self._best(
                rung, max(int(self._n_first // self._factor), above.n_candidates)
            )
            if candidate not in self._promoted[rung]
        )

    def _best(self, rung: int, n: int) -> list[int]:
        """Return the best `n` with a score, best first; ties go to the earlier one."""
        usable = [pair for pair in self._scores[rung] if not math.isnan(pair[1])]
        return [candidate for candidate, _ in sorted(usable, key=lambda p: -p[1])[:n]]

    def _promotable(self, rung: int) -> Iterator[int]:
        """Yield who may be promoted from a rung and was not, the best one first."""
        n = int(len(self._scores[rung]) // self._factor)
        if self._is_complete(rung):
            # No later result can make room for those that rounding down leaves out.
            n = max(n, self.rungs[rung + 1].n_candidates)
        return (c for c in self._best(rung, n) if c not in self._promoted[rung])

    def _is_complete(self, rung: int) -> bool:
        """Return whether all results that a rung will ever have are there."""
        n_arrived = len(self._scores[rung])
        if rung == 0:
            return n_arrived == self._n_started == self._n_first
        return (
            self._is_complete(rung - 1)
            and n_arrived == len(self._promoted[rung - 1])
            and next(self._promotable(rung - 1), None) is None
        )
