# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rungs that nobody waits for: each result that comes says what a free worker trains next.

Who is promoted is decided by :mod:`sk_tune.schedule`; here candidates are handed out and
their scores taken back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sk_tune._compat import knows_fold_tasks
from sk_tune.schedule import AsynchronousBracket, RungJob
from sk_tune.search._fold_fits import network_of
from sk_tune.search._network_training import TrainingAhead
from sk_tune.search._outcomes import Work
from sk_tune.search._rounds import Rounds, is_epochs
from sk_tune.space import Candidate

__all__ = ["AsynchronousRungs", "Climb", "climbs_asynchronously"]

# A worker is given at once what takes at least so long, if there is enough to do.
_SECONDS_PER_GROUP = 1.0


def climbs_asynchronously(search: Any, resource: str) -> bool:
    """Return whether a search is to climb its rungs without waiting, and can.

    It cannot where scikit-learn's tasks have a form that is not known. `resource` is what
    the rungs grant more of; ValueError is raised unless that is the epochs of a network,
    and if a race is to stop candidates.
    """
    if not search.asynchronous:
        return False
    name = type(search).__name__
    if not is_epochs(resource) or network_of(search.estimator) is None:
        raise ValueError(
            f"asynchronous=True of {name} needs a network, and its epochs as the "
            f"resource, such as resource='max_epochs'. Got resource={resource!r} of "
            f"{type(search.estimator).__name__} instead. Use asynchronous=False."
        )
    if search.race:
        raise ValueError(
            f"asynchronous=True of {name} trains all folds of a candidate before it has a "
            "score, and so cannot race. Got race=True. Set one of them to False."
        )
    return knows_fold_tasks()


@dataclass(slots=True, eq=False)
class Climb:
    """A bracket, and the candidates that were started in it.

    `ask` returns a new candidate, or None if there are no more; `columns` is what
    ``cv_results_`` says of the candidates, beside rung and resources.
    """

    bracket: AsynchronousBracket
    ask: Callable[[], Candidate | None]
    columns: Mapping[str, int] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)

    def start_next(self) -> RungJob | None:
        """Return the next job, a candidate and its rung, as started.

        None if there is none.
        """
        job = self.bracket.next_job()
        if job is not None and job.rung == 0:
            candidate = self.ask()
            if candidate is None:
                self.bracket = self.bracket.without_more()
                job = self.bracket.next_job()
            else:
                self.candidates.append(candidate)
        if job is not None:
            self.bracket = self.bracket.with_started(job)
        return job

    @property
    def n_new(self) -> int:
        """Candidates that are still to be started."""
        return self.bracket.rungs[0].n_candidates - self.bracket.n_started

    def peek(self) -> int | None:
        """Return the epochs of the next job, which is not started.

        None if there is none.
        """
        job = self.bracket.next_job()
        return None if job is None else _Job(self, job).n_epochs


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A candidate of a bracket, and the rung that it is trained for."""

    climb: Climb
    job: RungJob

    @property
    def n_resources(self) -> int:
        """Epochs that it has behind it afterwards."""
        return self.climb.bracket.rungs[self.job.rung].n_resources

    @property
    def n_epochs(self) -> int:
        """Epochs that it trains for that."""
        rungs = self.climb.bracket.rungs
        before = rungs[self.job.rung - 1].n_resources if self.job.rung else 0
        return self.n_resources - before


# Told of a candidate, its score and what it had been given.
Tell = Callable[[Candidate, float, int], object]


def _tell_nobody(candidate: Candidate, score: float, n_resources: int) -> None:
    """Do nothing."""


class AsynchronousRungs:
    """Climbs brackets with as many candidates at once as there are workers.

    The first of `climbs` are served first; `tell` is told of each score.
    """

    def __init__(
        self,
        search: Any,
        rounds: Rounds,
        climbs: Sequence[Climb],
        *,
        resource: str,
        context: Any,
        tell: Tell = _tell_nobody,
    ) -> None:
        self._search = search
        self._session = search._session
        self._rounds = rounds
        self._climbs = climbs
        self._resource = resource
        self._context = context
        self._tell = tell
        self._running: dict[int, _Job] = {}
        # Epochs of all fits that were trained, and their time.
        self._n_epochs, self._seconds_of_epochs = 0, 0.0

    def climb(self) -> None:
        """Train and evaluate until nothing is left, or the time is up."""
        with self._session.training_ahead(self._expected()) as ahead:
            while not self._is_late():
                self._hand_out(ahead)
                if not ahead.n_candidates or self._rounds.is_over:
                    return
                with self._session.timed("training"):
                    ended = ahead.next(self._seconds_to_wait())
                ended = self._in_time(ended)
                if not ended:
                    self._rounds.stop()
                    return
                self._take(ended)
                if self._rounds.is_over:
                    return
        self._rounds.stop()

    def _expected(self) -> list[int]:
        """Return the epochs of the fits that the plan has."""
        epochs: list[int] = []
        for rungs in (climb.bracket.rungs for climb in self._climbs):
            before = 0
            for rung in rungs:
                n_fits = rung.n_candidates * self._search.n_splits_
                epochs += [rung.n_resources - before] * n_fits
                before = rung.n_resources
        return epochs

    def _hand_out(self, ahead: TrainingAhead) -> None:
        """Give each free worker something to do, if there is."""
        n_wanted, n_workers = ahead.n_wanted, ahead.n_workers
        groups: list[list[_Job]] = []
        while len(groups) < n_wanted and (group := self._next_group(n_workers)):
            groups.append(group)
        # Workers that are left over help with the folds.
        n_pieces = max(1, ahead.n_idle // max(1, len(groups)))
        for group in groups:
            if n_workers == 1 and self._is_too_long(group):
                self._rounds.stop()
                return
            with self._session.timed("preparing"):
                tasks = [self._rounds.recorded(self._candidate(job)) for job in group]
                limit = self._session.time.limit(
                    is_first=not self._has_result, n_steps=self._session.options.n_steps
                )
                numbers = ahead.begin(tasks, n_pieces, limit)
            self._running |= dict(zip(numbers, group, strict=True))
            n_epochs = (job.n_resources for job in self._running.values())
            self._session.time.n_epochs_ahead = max(n_epochs)

    def _next_group(self, n_workers: int) -> list["_Job"]:
        """Start what a free worker is to train: one candidate, or several that are short.

        A fleet of many networks takes little longer than one of few.  Towards the end of
        the new candidates groups become small, so that there is something for each worker;
        one worker has candidates one by one, for results that do not depend on the time.
        """
        n_new = sum(climb.n_new for climb in self._climbs)
        limit = 1 if n_workers == 1 else max(1, n_new // (2 * n_workers))
        group: list[_Job] = []
        seconds = 0.0
        while len(group) < limit and seconds < _SECONDS_PER_GROUP:
            upcoming = next(filter(None, (climb.peek() for climb in self._climbs)), None)
            if group and upcoming != group[0].n_epochs:
                break
            job = self._start_next()
            if job is None:
                break
            group.append(job)
            seconds += self._seconds(job)
            if not self._n_epochs:
                # How long that takes is not known yet.
                break
        return group

    def _start_next(self) -> "_Job | None":
        for climb in self._climbs:
            with self._rounds.sampling():
                job = climb.start_next()
            if job is not None:
                return _Job(climb, job)
        return None

    def _candidate(self, own: "_Job") -> Candidate:
        candidate = own.climb.candidates[own.job.candidate]
        return {**candidate, self._resource: own.n_resources}

    def _in_time(
        self, ended: Sequence[tuple[int, Sequence[Work]]]
    ) -> list[tuple[int, Sequence[Work]]]:
        """Return candidates that were trained to their ends; the first one in any case."""
        kept: list[tuple[int, Sequence[Work]]] = []
        for number, works in ended:
            if self._session.time.takes(works, is_first=not kept and not self._has_result):
                kept.append((number, works))
            else:
                del self._running[number]
        return kept

    @property
    def _has_result(self) -> bool:
        return bool(self._session.has_complete_candidate)

    def _take(self, ended: Sequence[tuple[int, Sequence[Work]]]) -> None:
        """Evaluate candidates that are trained, and let their brackets know."""
        jobs = [self._running.pop(number) for number, _ in ended]
        works = [candidate_works for _, candidate_works in ended]
        self._note_time(works)
        context = self._context.subcontext(
            task_name="candidates",
            max_subtasks=len(jobs) * self._search.n_splits_,
            sequential_subtasks=False,
        ).call_on_fit_task_begin(estimator=self._search)
        columns = [
            {**job.climb.columns, "iter": job.job.rung, "n_resources": job.n_resources}
            for job in jobs
        ]
        more = {name: [row[name] for row in columns] for name in columns[0]}
        candidates = [self._candidate(job) for job in jobs]
        scores = self._rounds.add(candidates, works, more, context)
        if context.call_on_fit_task_end(estimator=self._search):
            self._rounds.stop()
        for job, score in zip(jobs, scores, strict=True):
            job.climb.bracket = job.climb.bracket.with_score(job.job, score)
            with self._rounds.sampling():
                candidate = job.climb.candidates[job.job.candidate]
                self._tell(candidate, score, job.n_resources)
        # A candidate in training may still have to be trained to its best epoch.
        training = (
            job.climb.candidates[job.job.candidate] for job in self._running.values()
        )
        waiting = (
            climb.candidates[i] for climb in self._climbs for i in climb.bracket.waiting()
        )
        self._session.keep_only([*waiting, *training])

    def _note_time(self, candidates: Sequence[Sequence[Work]]) -> None:
        for work in (work for works in candidates for work in works):
            if work.fit is None or work.trained is None or work.trained.is_loaded:
                continue
            self._n_epochs += work.fit.n_epochs or 1
            self._seconds_of_epochs += work.trained.seconds

    def _seconds(self, own: "_Job") -> float:
        """Return about how long a candidate takes on all folds in one worker."""
        return own.n_epochs * int(self._search.n_splits_) * self._seconds_per_epoch

    @property
    def _seconds_per_epoch(self) -> float:
        return self._seconds_of_epochs / max(1, self._n_epochs)

    def _seconds_to_wait(self) -> float | None:
        """Return how long to wait for a result, if there is one already."""
        budget = self._session.time
        if not self._has_result or not budget.is_limited:
            return None
        return float(max(0.0, budget.left))

    def _is_late(self) -> bool:
        """Return whether the time is up, and there is a result."""
        return self._has_result and self._session.time.left <= 0

    def _is_too_long(self, group: Sequence["_Job"]) -> bool:
        """Return whether the time is too short for candidates in this process."""
        if not self._has_result:
            return False
        seconds = sum(self._seconds(job) for job in group)
        return bool(self._session.time.left <= seconds)
