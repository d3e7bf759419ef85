# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Asynchronous rungs: each result determines the next training of a free worker.

:mod:`sk_tune._schedule` decides on promotions; this module hands out candidates and returns
their scores.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from sk_tune._compat import knows_fold_tasks
from sk_tune._engine import Fit, FitStream
from sk_tune._schedule import AsynchronousBracket, Rung, RungJob, new_resources
from sk_tune._search._fold_fits import network_of
from sk_tune._search._network_training import FoldTraining, Results, Steps
from sk_tune._search._rounds import Numbered, Rounds
from sk_tune._search._time_budget import SLOWER
from sk_tune._search_record import grants_epochs
from sk_tune._space import Candidate

# A worker gets candidates that together take at least this time, if there are enough.
_SECONDS_PER_GROUP = 1.0


def climbs_asynchronously(search: Any, resource: str) -> bool:
    """Return whether a search climbs its rungs asynchronously.

    False if scikit-learn's tasks have an unknown form. Raises ValueError if the search is
    asynchronous but `resource` is not the epochs of a network.
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


# Receives a candidate, its score and its resources.
Tell = Callable[[Candidate, float, int], object]


@dataclass(slots=True, eq=False)
class Climb:
    """A bracket, and the candidates that it started.

    `ask` returns a new candidate, or None if there are no more; `n_splits` is the number of
    folds; `columns` returns further columns of ``cv_results_`` for a rung.
    """

    bracket: AsynchronousBracket
    ask: Callable[[], Candidate | None]
    n_splits: int
    columns: Callable[[Rung], Mapping[str, int]] = lambda _: {}
    candidates: list[Numbered] = field(default_factory=list)
    # Time of the best candidate, as a multiple of the mean.
    slowness: float = 1.0

    def start_next(self, numbered: Callable[..., list[Numbered]]) -> "_Started | None":
        """Start the next job and return its candidate; None if there is no job."""
        job = self.bracket.next_job()
        if job is not None and job.rung == 0:
            candidate = self.ask()
            if candidate is None:
                self.bracket.start_no_more()
                job = self.bracket.next_job()
            else:
                self.candidates += numbered([candidate])
        if job is None:
            return None
        self.bracket.start(job)
        rungs = self.bracket.rungs
        rung = rungs[job.rung]
        columns = {"iter": job.rung, "n_resources": rung.n_resources}
        return _Started(
            climb=self,
            job=job,
            candidate=self.candidates[job.candidate],
            n_epochs=self.n_epochs(job.rung),
            previous=rungs[job.rung - 1] if job.rung else None,
            columns={**self.columns(rung), **columns},
        )

    def n_epochs(self, rung: int) -> float:
        """Return the epochs that a rung adds, as a mean over all folds."""
        return new_resources(self.bracket.rungs, n_splits=self.n_splits)[rung]

    def n_epochs_to_end(self) -> float:
        """Return the epochs that the best candidate needs on the rungs above its own."""
        new = new_resources(self.bracket.rungs, n_splits=self.n_splits)
        return sum(new[max(0, self.bracket.top) + 1 :])

    def note(self, job: RungJob, seconds: float, mean: float) -> None:
        """Update `slowness` from a job on the highest rung, if the mean time is known."""
        if job.rung >= self.bracket.top and mean > 0:
            self.slowness = max(1.0, seconds / mean)


@dataclass(slots=True, kw_only=True, eq=False)
class _Started:
    """A candidate in training for a rung: its folds and their current step.

    `n_epochs` is the number that the rung adds to the rung `previous`, as a mean over all
    folds; `columns` are columns of ``cv_results_``. A needed candidate counts even if it
    is interrupted.
    """

    climb: Climb
    job: RungJob
    candidate: Numbered
    n_epochs: float
    previous: Rung | None
    columns: Mapping[str, int]
    is_needed: bool = False
    steps: Steps | None = None
    trainings: Sequence[FoldTraining] = ()

    @property
    def n_epochs_before(self) -> int:
        return 0 if self.previous is None else self.previous.n_resources

    def params(self, resource: Any) -> Candidate:
        """Return the parameters with the epochs of the rung."""
        return {**self.candidate[1], resource: self.columns["n_resources"]}

    def next_fits(self, results: Results | None) -> list[Fit]:
        """Return the fits that follow `results` of the previous fits; empty at the end."""
        try:
            return self.steps.send(results)  # type: ignore[union-attr, arg-type]
        except StopIteration as end:
            self.trainings = end.value
            return []


class AsynchronousRungs:
    """Climbs brackets in order; each worker trains one candidate or group at a time."""

    def __init__(
        self,
        search: Any,
        rounds: Rounds,
        climbs: Sequence[Climb],
        *,
        context: Any,
        tell: Tell = lambda *_: None,
    ) -> None:
        self._search = search
        self._session = rounds.session
        self._trainer = self._session.trainer
        self._rounds = rounds
        self._climbs = climbs
        self._context = context
        self._tell = tell
        # Candidates in training, by the stream's request number, and candidates whose
        # networks are all trained.
        self._running: dict[int, _Started] = {}
        self._ready: list[_Started] = []
        self._n_workers = 1
        self._top = max(climb.bracket.rungs[-1].n_resources for climb in climbs)

    def climb(self) -> None:
        """Train and evaluate all candidates, or until the time is up."""
        # The score names of a callable are unknown until a fit succeeds.
        has_names = not callable(self._search.scoring)
        with self._rounds.columns.appending() if has_names else nullcontext():
            self._climb_all()
        if not (self._rounds.is_over or self._session.time.is_shortened):
            return
        n_splits = self._search.n_splits_
        rungs = [each.previous for each in self._running.values() if each.previous]
        for climb in self._climbs:
            rungs += climb.bracket.rungs_of_waiting()
        granted = [rung.n_resources * rung.folds_of(n_splits) for rung in rungs]
        n_epochs = sum(n_splits * self._top - n for n in granted)
        cut = [self._session.outcomes[row] for row in self._session.time.cut_epochs]
        n_epochs += sum(self._rounds.n_epochs_left(folds, [0] * n_splits) for folds in cut)
        self._rounds.leave_out(n_epochs)

    def _climb_all(self) -> None:
        n_splits = self._search.n_splits_
        expected = [
            round(climb.n_epochs(i) * n_splits / rung.folds_of(n_splits))
            for climb in self._climbs
            for i, rung in enumerate(climb.bracket.rungs)
            for _ in range(rung.n_candidates * rung.folds_of(n_splits))
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
                    if self._is_whole(started, is_needed=started.is_needed or is_first):
                        ended.append(started)
                self._ready = []
                if not ended:
                    self._rounds.stop()
                    return
                self._take(ended)
                if self._rounds.is_over:
                    return  # type: ignore[unreachable] # a candidate's callback may end it
        if self._running or any(climb.bracket.next_job() for climb in self._climbs):
            self._rounds.stop()

    def _is_whole(self, started: _Started, *, is_needed: bool) -> bool:
        """Return whether all networks of a candidate were trained in time."""
        budget = self._session.time
        started.trainings = budget.in_time(started.trainings, is_needed=is_needed)
        networks = (t for t in started.trainings if t.request.fit is not None)
        return all(t.trained is not None for t in networks)

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
                self._rounds.stop()
                return
            with self._session.timed("preparing"):
                self._prepare(group)
                self._ask(stream, group, None, n_pieces)
            started = (*self._running.values(), *self._ready)
            granted = (each.columns["n_resources"] for each in started)
            self._session.time.leave(n_epochs=max(granted, default=0))

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
                starts = (c.start_next(self._rounds.numbered) for c in self._climbs)
                started = next(filter(None, starts), None)
            if started is None:
                break
            started.is_needed = self._is_needed(started)
            group.append(started)
            if not self._session.time.times.n_calls:
                # The time of a candidate is still unknown.
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
                budget.shorten()
                climb.bracket.shrink(to_best=job.rung > 0)

    def _has_time(self, climb: Climb, job: RungJob, n_workers: int) -> bool:
        """Return whether the best of each bracket can still get all epochs after a job."""
        budget, top = self._session.time, climb.bracket.top
        if 0 <= top < job.rung:
            return True
        started = [c for c in self._climbs if c.bracket.top >= 0 or c is climb]
        ends = [self._seconds_of(c.n_epochs_to_end()) * c.slowness for c in started]
        seconds_left = budget.left_before_refit(self._top) / SLOWER
        new = self._seconds_of(climb.n_epochs(job.rung))
        if max(*ends, (sum(ends) + new) / n_workers) <= seconds_left:
            return True
        # If no candidate has time for all epochs, part of the time is used to find the
        # best.
        return job.rung == 0 == top and max(ends) > seconds_left and budget.is_early

    def _is_needed(self, started: _Started) -> bool:
        """Return whether a candidate gets the rest of the time, and counts even if cut."""
        is_best = started.job.rung > 0 and not self._running and not self._ready
        is_short = self._session.time.is_shortened
        return is_best and is_short and not self._rounds.n_full(self._top)

    def _prepare(self, group: Sequence[_Started]) -> None:
        resource = self._session.options.resource
        tasks_of = [self._rounds.tasks(started.params(resource)) for started in group]
        with self._trainer.maker.sharing_folds():
            for started, every in zip(group, tasks_of, strict=True):
                tasks = every[: started.columns.get("n_folds", len(every))]
                self._trainer.maker.begin_candidate(tasks[0])
                number, _ = started.candidate
                requests = [self._trainer.request(task, number) for task in tasks]
                started.steps = self._trainer.steps(requests)

    def _ask(
        self,
        stream: FitStream,
        group: Sequence[_Started],
        results: Results | None,
        n_pieces: int = 1,
    ) -> None:
        """Request the fits of candidates that follow `results` from the workers."""
        asking: list[tuple[_Started, list[Fit]]] = []
        for started in group:
            if fits := started.next_fits(results):
                asking.append((started, fits))
            else:
                self._ready.append(started)
        if not asking:
            return
        is_first = not self._session.has_complete_candidate
        needed = [started.n_epochs_before for started in group if started.is_needed]
        limit = self._session.time.limit(
            is_needed=is_first or bool(needed), n_epochs_before=max(needed, default=0)
        )
        with self._trainer.interruptible(), self._trainer.outside():
            numbers = stream.ask([fits for _, fits in asking], n_pieces, limit)
            startings = (started for started, _ in asking)
            self._running |= dict(zip(numbers, startings, strict=True))

    def _wait(self, stream: FitStream) -> None:
        """Wait until a candidate is trained, the time is up or Ctrl-C is pressed."""
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
            self._ask(stream, [self._running.pop(request)], trained)

    def _take(self, ended: Sequence[_Started]) -> None:
        """Evaluate trained candidates and report their scores to the brackets."""
        session, resource = self._session, self._session.options.resource
        more = {n: [started.columns[n] for started in ended] for n in ended[0].columns}
        candidates = [(each.candidate[0], each.params(resource)) for each in ended]
        n_tasks = len(ended) * self._search.n_splits_
        needed = [started.n_epochs_before for started in ended if started.is_needed]
        with (
            self._rounds.task(
                self._context, "candidates", n_tasks, is_sequential=False
            ) as context,
            session.time.finishing(max(needed, default=None)),
        ):
            trainings = [started.trainings for started in ended]
            scores = self._rounds.add(candidates, trainings, more, context)
        outcomes = session.outcomes[-len(ended) :]
        for started, folds in zip(ended, outcomes, strict=True):
            seconds = sum(outcome.seconds for outcome in folds)
            mean = self._seconds_of(started.n_epochs)
            started.climb.note(started.job, seconds, mean)
            session.time.times.note(started.n_epochs, seconds / self._n_workers, [folds])
        for started, score in zip(ended, scores, strict=True):
            started.climb.bracket.end(started.job, score)
            with session.timed("sampling"):
                self._tell(started.candidate[1], score, started.columns["n_resources"])
        # Running candidates may have to train again to their best epoch.
        training = (started.candidate for started in self._running.values())
        waiting = (c.candidates[i] for c in self._climbs for i in c.bracket.waiting())
        self._trainer.keep_only({number for number, _ in (*waiting, *training)})

    def _seconds(self, group: Sequence[_Started]) -> float:
        """Return the expected seconds of a group on all folds in one worker."""
        return self._seconds_of(sum(started.n_epochs for started in group))

    def _seconds_of(self, n_epochs: float) -> float:
        """Return the expected seconds of epochs on all folds in one worker."""
        times = self._session.time.times
        return self._n_workers * times.seconds(1, n_epochs) if times.n_calls else 0.0
