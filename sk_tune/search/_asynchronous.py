# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rungs that nobody waits for: each result that comes says what a free worker trains next.

Who is promoted is decided by :mod:`sk_tune.schedule`; here candidates are handed out and
their scores taken back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sk_tune.schedule import AsynchronousBracket, RungJob
from sk_tune.search._ahead import TrainingAhead
from sk_tune.search._networks import network_of
from sk_tune.search._resource import is_epochs
from sk_tune.search._rounds import Rounds
from sk_tune.search._work import Work
from sk_tune.space import Candidate

__all__ = ["AsynchronousRungs", "Climb", "check_asynchronous"]


def check_asynchronous(search: Any, resource: str) -> None:
    """Refuse what a search cannot do asynchronously.

    Parameters
    ----------
    search : estimator
        A halving or Hyperband search.
    resource : str
        Name of what its rungs grant more of.

    Raises
    ------
    ValueError
        Unless the resource is the epochs of a network, and no race stops candidates.
    """
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


@dataclass(slots=True, eq=False)
class Climb:
    """A bracket, and the candidates that were started in it.

    Parameters
    ----------
    bracket : AsynchronousBracket
        As far as it has come.
    ask : callable
        Returns a new candidate, or None if there are no more.
    columns : dict of str to int
        What ``cv_results_`` says of its candidates, beside rung and resources.
    candidates : list of dict
        Those that were started.
    """

    bracket: AsynchronousBracket
    ask: Callable[[], Candidate | None]
    columns: Mapping[str, int] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)

    def start_next(self) -> RungJob | None:
        """Return the next job as started; None if there is none.

        Returns
        -------
        RungJob or None
            A candidate, and the rung that it is to be trained for.
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

    def n_resources(self, job: RungJob) -> int:
        """Return what a candidate has been given after a job.

        Parameters
        ----------
        job : RungJob
            Of the bracket.

        Returns
        -------
        int
            Epochs.
        """
        return self.bracket.rungs[job.rung].n_resources


# Told of a candidate, its score and what it had been given.
Tell = Callable[[Candidate, float, int], object]


def _tell_nobody(candidate: Candidate, score: float, n_resources: int) -> None:
    """Do nothing."""


class AsynchronousRungs:
    """Climbs brackets with as many candidates at once as there are workers.

    Parameters
    ----------
    search : estimator
        The search.
    rounds : Rounds
        Of the search.
    climbs : sequence of Climb
        Those that come first are served first.
    resource : str
        Name of the parameter that rungs grant more of.
    context : CallbackContext
        Of the search.
    tell : callable, default=None
        Told of each score.
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
        self._rounds = rounds
        self._climbs = climbs
        self._resource = resource
        self._context = context
        self._tell = tell
        self._running: dict[int, tuple[Climb, RungJob]] = {}
        # Of one epoch of one fit, the slowest so far; and the most epochs granted.
        self._seconds_per_epoch = 0.0
        self._most_epochs = 0

    def climb(self) -> None:
        """Train and evaluate until nothing is left, or the time is up."""
        with self._search._session.training_ahead(self._expected()) as ahead:
            while True:
                self._hand_out(ahead)
                if not ahead.n_candidates or self._rounds.is_over:
                    return
                with self._search._session.timed("training"):
                    ended = ahead.next(self._seconds_to_wait())
                if ended is None:
                    self._rounds.stop()
                    return
                self._take(*ended)
                if self._rounds.is_over:
                    return

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
        n_free = ahead.n_free
        started: list[tuple[Climb, RungJob]] = []
        while len(started) < n_free and (own := self._start_next()) is not None:
            started.append(own)
        # What is left of the workers helps with the folds.
        n_pieces = max(1, n_free // max(1, len(started)))
        for climb, job in started:
            if ahead.n_workers == 1 and self._is_too_long(climb, job):
                self._rounds.stop()
                return
            candidate = self._candidate(climb, job)
            with self._search._session.timed("preparing"):
                number = ahead.begin(self._rounds.recorded(candidate), n_pieces)
            if number is None:
                self._rounds.stop()
                return
            self._running[number] = (climb, job)

    def _start_next(self) -> tuple[Climb, RungJob] | None:
        for climb in self._climbs:
            with self._rounds.sampling():
                job = climb.start_next()
            if job is not None:
                return climb, job
        return None

    def _candidate(self, climb: Climb, job: RungJob) -> Candidate:
        n_resources = climb.n_resources(job)
        return {**climb.candidates[job.candidate], self._resource: n_resources}

    def _take(self, number: int, works: Sequence[Work]) -> None:
        """Evaluate a candidate that is trained, and let its bracket know."""
        climb, job = self._running.pop(number)
        n_resources = climb.n_resources(job)
        self._note_time(works, n_resources)
        context = self._context.subcontext(
            task_name="candidate",
            max_subtasks=self._search.n_splits_,
            sequential_subtasks=False,
        ).call_on_fit_task_begin(estimator=self._search)
        more = {**climb.columns, "iter": job.rung, "n_resources": n_resources}
        score = self._rounds.add(self._candidate(climb, job), works, more, context)
        if context.call_on_fit_task_end(estimator=self._search):
            self._rounds.stop()
        climb.bracket = climb.bracket.with_score(job, score)
        with self._rounds.sampling():
            self._tell(climb.candidates[job.candidate], score, n_resources)

    def _note_time(self, works: Sequence[Work], n_resources: int) -> None:
        self._most_epochs = max(self._most_epochs, n_resources)
        for work in works:
            if work.fit is None or work.trained is None or work.trained.is_loaded:
                continue
            seconds = work.trained.seconds / max(1, work.fit.n_epochs or 1)
            self._seconds_per_epoch = max(self._seconds_per_epoch, seconds)

    def _seconds_to_wait(self) -> float | None:
        """Return how long to wait for a result, if there is one already."""
        if not self._rounds.n_candidates or self._rounds.seconds_left() == np.inf:
            return None
        return max(0.0, self._seconds_left())

    def _is_too_long(self, climb: Climb, job: RungJob) -> bool:
        """Return whether the time is too short for a job in this process."""
        if not self._rounds.n_candidates:
            return False
        rungs = climb.bracket.rungs
        before = rungs[job.rung - 1].n_resources if job.rung else 0
        n_epochs = (climb.n_resources(job) - before) * int(self._search.n_splits_)
        return self._seconds_left() <= n_epochs * self._seconds_per_epoch

    def _seconds_left(self) -> float:
        """Return the time that is left until the refit."""
        left = self._rounds.seconds_left()
        if self._search.refit is False:
            return left
        # It has the rows of all folds, one more than a fit of the search.
        n_folds = int(self._search.n_splits_)
        share = n_folds / max(1, n_folds - 1)
        return left - share * self._seconds_per_epoch * self._most_epochs
