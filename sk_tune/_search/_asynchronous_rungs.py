# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Asynchronous rungs: each result determines the next training of a free worker.

:mod:`sk_tune._schedule` decides on promotions; this module hands out candidates and returns
their scores.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sk_tune._backend import Job
from sk_tune._compat import knows_fold_tasks
from sk_tune._engine import FitStream
from sk_tune._schedule import AsynchronousBracket, RungJob, new_resources
from sk_tune._search._fold_fits import network_of
from sk_tune._search._network_training import Step
from sk_tune._search._outcomes import Work
from sk_tune._search._rounds import Rounds
from sk_tune._search._time_budget import SLOWER
from sk_tune._search_record import grants_epochs
from sk_tune._space import Candidate

# Least time of the candidates that a worker gets at once, if there are enough of them.
_SECONDS_PER_GROUP = 1.0


def climbs_asynchronously(search: Any, resource: str) -> bool:
    """Return whether a search climbs its rungs asynchronously.

    It cannot if scikit-learn's tasks have an unknown form. Raises ValueError if `resource`
    is not the epochs of a network.
    """
    if not search.asynchronous:
        return False
    name = type(search).__name__
    if not grants_epochs(resource) or network_of(search.estimator) is None:
        raise ValueError(
            f"asynchronous=True of {name} needs a network, and its epochs as the "
            f"resource, such as resource='max_epochs'. Got resource={resource!r} of "
            f"{type(search.estimator).__name__} instead. Use asynchronous=False."
        )
    return knows_fold_tasks()


def _nothing(*_: Any) -> None:
    """Ignore all arguments."""


# The job of joblib is unknown until a task is evaluated.
_NO_JOB = Job(_nothing, _nothing)
# Receives a candidate, its score and its resources.
Tell = Callable[[Candidate, float, int], object]


@dataclass(slots=True, eq=False)
class Climb:
    """A bracket, and the candidates that it started.

    `ask` returns a new candidate, or None at the end; `columns` are columns of
    ``cv_results_`` next to rung and resources. The best candidate takes `slowness` times as
    long as the mean.
    """

    bracket: AsynchronousBracket
    ask: Callable[[], Candidate | None]
    columns: Mapping[str, int] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    slowness: float = 1.0

    def start_next(self) -> "_Started | None":
        """Start the next job, a candidate and its rung; None if there is none."""
        job = self.bracket.next_job()
        if job is not None and job.rung == 0:
            candidate = self.ask()
            if candidate is None:
                self.bracket.start_no_more()
                job = self.bracket.next_job()
            else:
                self.candidates.append(candidate)
        if job is None:
            return None
        self.bracket.start(job)
        n_resources = self.bracket.rungs[job.rung].n_resources
        n_before = self.bracket.rungs[job.rung - 1].n_resources if job.rung else 0
        return _Started(
            climb=self,
            job=job,
            candidate=self.candidates[job.candidate],
            n_epochs=self.n_epochs(job.rung),
            n_epochs_before=n_before,
            columns={**self.columns, "iter": job.rung, "n_resources": n_resources},
        )

    def n_epochs(self, rung: int) -> int:
        """Return the epochs that a rung trains in addition to the rung below."""
        return new_resources(self.bracket.rungs)[rung]

    def n_epochs_to_end(self) -> int:
        """Return the epochs that the best candidate lacks after its rung."""
        return sum(new_resources(self.bracket.rungs)[max(0, self.bracket.top) + 1 :])


@dataclass(slots=True, kw_only=True, eq=False)
class _Started:
    """A candidate in training for a rung: its folds and their current step.

    `n_epochs` is the number that the rung adds to `n_epochs_before`, `columns` are columns
    of ``cv_results_``, `number` is the candidate's. A needed candidate counts
    even if it is interrupted.
    """

    climb: Climb
    job: RungJob
    candidate: Candidate
    n_epochs: int
    n_epochs_before: int
    columns: Mapping[str, int]
    number: int = 0
    is_needed: bool = False
    works: Sequence[Work] = ()
    steps: Iterator[Step] = field(default_factory=lambda: iter(()))
    step: Step = ()


class AsynchronousRungs:
    """Climbs brackets with one candidate or group per worker.

    Earlier `climbs` have priority; `tell` receives each score.
    """

    def __init__(
        self,
        search: Any,
        rounds: Rounds,
        climbs: Sequence[Climb],
        *,
        context: Any,
        tell: Tell = _nothing,
    ) -> None:
        self._search = search
        self._session = search._session
        self._trainer = self._session.trainer
        self._rounds = rounds
        self._climbs = climbs
        self._context = context
        self._tell = tell
        self._numbers = itertools.count(1)
        # Candidates in training by the request of the stream, and candidates with trained
        # networks only.
        self._running: dict[int, _Started] = {}
        self._ready: list[_Started] = []
        self._n_workers = 1
        self._top = max(climb.bracket.rungs[-1].n_resources for climb in climbs)

    def climb(self) -> None:
        """Train and evaluate all candidates, or until the time is up."""
        self._climb_all()
        if not (self._rounds.is_over or self._session.time.is_shortened):
            return
        granted = [each.n_epochs_before for each in self._running.values()]
        for climb in self._climbs:
            granted += climb.bracket.resources_of_waiting()
        n_epochs = self._search.n_splits_ * sum(self._top - n for n in granted if n)
        cut = [self._session.outcomes[row] for row in self._session.time.cut_epochs]
        n_epochs += sum(self._rounds.n_epochs_left(folds, 0) for folds in cut)
        self._session.n_epochs_left_out += n_epochs

    def _climb_all(self) -> None:
        n_splits = self._search.n_splits_
        expected = [
            n_epochs
            for climb in self._climbs
            for i, rung in enumerate(climb.bracket.rungs)
            for n_epochs in [climb.n_epochs(i)] * (rung.n_candidates * n_splits)
        ]
        with self._session.streaming(expected) as stream:
            while not self._session.has_complete_candidate or self._session.time.left > 0:
                self._hand_out(stream)
                if not (self._running or self._ready) or self._rounds.is_over:
                    return
                with self._session.timed("training"):
                    self._wait(stream)
                ended: list[_Started] = []
                for started in self._ready:
                    # The first candidate counts even if it was interrupted.
                    is_first = not ended and not self._session.has_complete_candidate
                    is_needed = started.is_needed or is_first
                    if self._session.time.takes(started.works, is_needed=is_needed):
                        ended.append(started)
                self._ready = []
                if not ended:
                    self._rounds.was_stopped = True
                    return
                self._take(ended)
                if self._rounds.is_over:
                    return  # type: ignore[unreachable] # a candidate's callback may end it
        self._rounds.was_stopped = True

    def _hand_out(self, stream: FitStream) -> None:
        with self._trainer.outside():
            n_wanted, n_workers = stream.n_wanted, stream.n_workers
            n_idle = stream.n_idle
        self._n_workers = max(1, n_workers)
        groups: list[list[_Started]] = []
        while len(groups) < n_wanted and (group := self._next_group(n_workers)):
            groups.append(group)
        # Idle workers help with the folds.
        n_pieces = max(1, n_idle // max(1, len(groups)))
        for group in groups:
            # Training in this process cannot be interrupted.
            is_unsafe = n_workers == 1 and self._session.has_complete_candidate
            is_unsafe &= not any(started.is_needed for started in group)
            if is_unsafe and self._session.time.left <= self._seconds(group):
                self._rounds.was_stopped = True
                return
            with self._session.timed("preparing"):
                self._prepare(group)
                self._ask(stream, group, n_pieces)
            started = (*self._running.values(), *self._ready)
            granted = (each.columns["n_resources"] for each in started)
            self._session.time.n_epochs_ahead = max(granted, default=0)

    def _next_group(self, n_workers: int) -> list[_Started]:
        """Start the candidates for a free worker: one, or several with few epochs.

        A fleet of many networks takes little longer than a small one.  Groups become small
        when few new candidates remain, so that each worker gets some.  A single worker gets
        one candidate at a time, so that results do not depend on the time.
        """
        self._shrink_to_time(n_workers)
        n_new = sum(climb.bracket.n_new for climb in self._climbs)
        limit = 1 if n_workers == 1 else max(1, n_new // (2 * n_workers))
        group: list[_Started] = []
        while len(group) < limit and self._seconds(group) < _SECONDS_PER_GROUP:
            jobs = ((climb, climb.bracket.next_job()) for climb in self._climbs)
            upcoming = next((c.n_epochs(job.rung) for c, job in jobs if job), None)
            if group and upcoming != group[0].n_epochs:
                break
            with self._session.timed("sampling"):
                started = next(filter(None, (c.start_next() for c in self._climbs)), None)
            if started is None:
                break
            started.number = self._rounds.numbers.of(
                started.candidate, started.job.rung, started.columns.get("bracket", 0)
            )
            started.is_needed = self._is_needed(started)
            group.append(started)
            if not self._session.time.times.n_calls:
                # Its time is still unknown.
                break
            self._shrink_to_time(n_workers)
        return group

    def _shrink_to_time(self, n_workers: int) -> None:
        """Leave time for the best candidate of each bracket."""
        budget = self._session.time
        if not budget.is_limited or budget.times.n_calls < 1:
            return
        for climb in self._climbs:
            while job := climb.bracket.next_job():
                if self._has_time(climb, job, n_workers):
                    break
                budget.is_shortened = True
                climb.bracket.shrink(to_best=job.rung > 0)

    def _has_time(self, climb: Climb, job: RungJob, n_workers: int) -> bool:
        """Return whether after a job the best of each bracket can have all epochs."""
        budget, top = self._session.time, climb.bracket.top
        if 0 <= top < job.rung:
            return True
        started = [c for c in self._climbs if c.bracket.top >= 0 or c is climb]
        ends = [self._seconds_of(c.n_epochs_to_end()) * c.slowness for c in started]
        seconds_left = budget.left_before_refit(self._top) / SLOWER
        new = self._seconds_of(climb.n_epochs(job.rung))
        if max(*ends, (sum(ends) + new) / n_workers) <= seconds_left:
            return True
        # If no candidate can have all epochs, part of the time serves to find the best.
        return job.rung == 0 == top and max(ends) > seconds_left and budget.is_early

    def _is_needed(self, started: _Started) -> bool:
        """Return whether a candidate gets the rest of the time, and counts if cut."""
        is_best = started.job.rung > 0 and not self._running and not self._ready
        is_short = self._session.time.is_shortened
        return is_best and is_short and not self._rounds.n_full(self._top)

    def _prepare(self, group: Sequence[_Started]) -> None:
        tasks_of = [self._rounds.tasks(self._params(started)) for started in group]
        with self._trainer.maker.sharing_folds():
            for started, tasks in zip(group, tasks_of, strict=True):
                # The result row is unknown before the evaluation; a unique negative number
                # stands for it.
                row = -next(self._numbers)
                works = [
                    Work(_NO_JOB, task, row, started.number, is_ahead=True)
                    for task in tasks
                ]
                self._trainer.maker.begin_candidate(tasks[0])
                for work in works:
                    self._trainer.prepare(work)
                started.works = works
                networks = [work for work in works if work.fit is not None]
                started.steps = self._trainer.steps(networks)

    def _params(self, started: _Started) -> Candidate:
        n_resources = started.columns["n_resources"]
        return {**started.candidate, self._session.options.resource: n_resources}

    def _ask(self, stream: FitStream, group: Sequence[_Started], n_pieces: int) -> None:
        """Request the next trainings of candidates, together, from some workers."""
        asking: list[_Started] = []
        for started in group:
            started.step = next(started.steps, ())
            (asking if started.step else self._ready).append(started)
        if not asking:
            return
        is_first = not self._session.has_complete_candidate
        needed = [started.n_epochs_before for started in group if started.is_needed]
        limit = self._session.time.limit(
            is_needed=is_first or bool(needed), n_epochs_before=max(needed, default=0)
        )
        with self._trainer.interruptible(), self._trainer.outside():
            requests = [[fit for _, fit in started.step] for started in asking]
            numbers = stream.ask(requests, n_pieces, limit)
            self._running |= dict(zip(numbers, asking, strict=True))

    def _wait(self, stream: FitStream) -> None:
        """Wait until networks of candidates are trained, time is up or Ctrl-C comes."""
        budget = self._session.time
        is_needed = any(started.is_needed for started in self._running.values())
        is_needed |= not self._session.has_complete_candidate
        waits = is_needed or not budget.is_limited
        timeout = None if waits else max(0.0, budget.left)
        while not self._trainer.is_interrupted and (not self._ready or stream.n_ended):
            ended = None
            with self._trainer.interruptible(), self._trainer.outside():
                ended = stream.next(timeout)
            if ended is None:
                return
            request, trained = ended
            started = self._running.pop(request)
            for (work, _), result in zip(started.step, trained, strict=True):
                work.trained = result
            self._ask(stream, [started], 1)

    def _take(self, ended: Sequence[_Started]) -> None:
        """Evaluate trained candidates and report their scores to the brackets."""
        more = {n: [started.columns[n] for started in ended] for n in ended[0].columns}
        candidates = [self._params(started) for started in ended]
        n_tasks = len(ended) * self._search.n_splits_
        with self._rounds.task(
            self._context, "candidates", n_tasks, is_sequential=False
        ) as context:
            works = [started.works for started in ended]
            needed = [started.n_epochs_before for started in ended if started.is_needed]
            self._session.time.finishing_from = max(needed, default=None)
            scores = self._rounds.add(candidates, works, more, context)
            self._session.time.finishing_from = None
        self._note_times(ended)
        for started, score in zip(ended, scores, strict=True):
            started.climb.bracket.end(started.job, score)
            with self._session.timed("sampling"):
                self._tell(started.candidate, score, started.columns["n_resources"])
        # A candidate may train again to its best epoch.
        training = (started.candidate for started in self._running.values())
        waiting = (
            climb.candidates[i] for climb in self._climbs for i in climb.bracket.waiting()
        )
        self._trainer.keep_only([*waiting, *training])

    def _note_times(self, ended: Sequence[_Started]) -> None:
        times = self._session.time.times
        for started, folds in zip(
            ended, self._session.outcomes[-len(ended) :], strict=True
        ):
            seconds = sum(outcome.seconds for outcome in folds)
            if started.job.rung >= started.climb.bracket.top and times.n_calls:
                mean = self._seconds_of(started.n_epochs)
                started.climb.slowness = max(1.0, seconds / max(mean, 1e-9))
            times.note(started.n_epochs, seconds / self._n_workers, [folds])

    def _seconds(self, group: Sequence[_Started]) -> float:
        """Return the expected seconds of candidates on all folds in one worker."""
        return self._seconds_of(sum(started.n_epochs for started in group))

    def _seconds_of(self, n_epochs: float) -> float:
        """Return the expected seconds of epochs on all folds in one worker."""
        times = self._session.time.times
        return self._n_workers * times.seconds(1, n_epochs) if times.n_calls else 0.0
