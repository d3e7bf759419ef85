# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Candidates whose networks train before scikit-learn asks for their scores.

A search with rounds hands over tasks and waits until all are trained.  Here the networks of
each candidate are a request of their own, and whoever is ready first comes back first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sk_tune._compat import FoldTask
from sk_tune.backend import Job
from sk_tune.engine import FitStream
from sk_tune.search._steps import Step
from sk_tune.search._trainer import Trainer
from sk_tune.search._work import SearchOptions, Work
from sk_tune.training import TimeLimit

__all__ = ["TrainingAhead"]


def _nothing(*_: Any) -> None:
    """Do nothing."""


# joblib's job of a task is known when the task is evaluated.
_NO_JOB = Job(_nothing, _nothing)


@dataclass(slots=True, eq=False)
class _Candidate:
    """A candidate under way, and what it trains at present."""

    number: int
    works: Sequence[Work]
    steps: Iterator[Step]
    step: Step = ()
    limit: TimeLimit | None = None


class TrainingAhead:
    """Trains candidates in a stream of the engine."""

    def __init__(self, trainer: Trainer, options: SearchOptions, stream: FitStream) -> None:
        self._trainer = trainer
        self._options = options
        self._stream = stream
        self._n_begun = 0
        self._under_way: dict[int, _Candidate] = {}
        # Ready without a request, because they train no network.
        self._ready: list[_Candidate] = []

    @property
    def n_idle(self) -> int:
        """Workers that have nothing to do."""
        with self._trainer.outside():
            return self._stream.n_idle

    @property
    def n_wanted(self) -> int:
        """Calls of `begin` after which no worker is idle for a while."""
        with self._trainer.outside():
            return self._stream.n_wanted

    @property
    def n_workers(self) -> int:
        """Workers that there are now."""
        with self._trainer.outside():
            return self._stream.n_workers

    @property
    def n_candidates(self) -> int:
        """Candidates that are under way."""
        return len(self._under_way) + len(self._ready)

    def begin(
        self,
        candidates: Sequence[Sequence[FoldTask]],
        n_pieces: int = 1,
        limit: TimeLimit | None = None,
    ) -> list[int]:
        """Begin with some candidates, which train together.

        Parameters
        ----------
        candidates : sequence of sequence of FoldTask
            A task for each fold of each candidate.
        n_pieces : int, default=1
            Workers that they may be shared among.
        limit : TimeLimit or None, default=None
            When their training is to end.

        Returns
        -------
        list of int
            Their numbers, counted from 0.
        """
        with self._trainer.preparing():
            begun = [self._prepared(tasks) for tasks in candidates]
        for candidate in begun:
            candidate.limit = limit
        self._go_on(begun, n_pieces)
        return [own.number for own in begun]

    def next(self, timeout: float | None = None) -> list[tuple[int, Sequence[Work]]]:
        """Wait for candidates whose networks are all trained: their numbers and folds.

        The result is empty if `timeout` seconds have passed, or Ctrl-C came.
        """
        while not self._trainer.is_interrupted and (
            not self._ready or self._stream.n_ended
        ):
            try:
                with self._trainer.outside():
                    ended = self._stream.next(timeout)
            except KeyboardInterrupt:
                self._trainer.is_interrupted = True
                break
            if ended is None:
                break
            request, trained = ended
            candidate = self._under_way.pop(request)
            for (work, _), own in zip(candidate.step, trained, strict=True):
                work.trained = own
            self._go_on([candidate], 1)
        ready, self._ready = self._ready, []
        return [(own.number, own.works) for own in ready]

    def _prepared(self, tasks: Sequence[FoldTask]) -> _Candidate:
        number, self._n_begun = self._n_begun, self._n_begun + 1
        # Its row is not known before it is evaluated, but until then there are no two of
        # one number.
        works = [Work(job=_NO_JOB, task=task, row=-1 - number) for task in tasks]
        self._trainer.begin_candidate(tasks[0])
        for work in works:
            self._trainer.prepare(work, self._options)
            work.is_ahead = True
        networks = [work for work in works if work.fit is not None]
        return _Candidate(number, works, self._trainer.steps(networks, self._options))

    def _go_on(self, candidates: Sequence[_Candidate], n_pieces: int) -> None:
        """Ask for what candidates have to train next."""
        asking = []
        for candidate in candidates:
            step = next(candidate.steps, None)
            if step is None:
                self._ready.append(candidate)
            else:
                candidate.step = step
                asking.append(candidate)
        if not asking:
            return
        requests = [[fit for _, fit in own.step] for own in asking]
        try:
            with self._trainer.outside():
                numbers = self._stream.ask(requests, n_pieces, asking[0].limit)
        except KeyboardInterrupt:
            self._trainer.is_interrupted = True
        else:
            self._under_way |= dict(zip(numbers, asking, strict=True))
