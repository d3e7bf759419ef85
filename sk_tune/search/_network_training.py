# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks of a search, trained by the engine in a round, or ahead of their turn."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.pipeline import Pipeline

from sk_tune._compat import FoldTask
from sk_tune.adoption import adoption
from sk_tune.backend import Job
from sk_tune.engine import Fit, FitStream, Trained, train
from sk_tune.estimators import NetworkEstimator
from sk_tune.exceptions import SkTuneWarning, TrainingFailedError
from sk_tune.search._fold_fits import FitMaker, network_of
from sk_tune.search._outcomes import (
    SearchOptions,
    Work,
    candidate_fingerprint,
    fit_name,
)
from sk_tune.search._predicted_estimators import (
    PredictedClassifier,
    PredictedRegressor,
    classes_of_fold,
    predicted_by,
)
from sk_tune.search._training_steps import Step, TrainingSteps
from sk_tune.space import Candidate
from sk_tune.training import TimeLimit, TrainingState

__all__ = ["Answer", "Trainer", "TrainingAhead"]


class Trainer:
    """Trains what can be trained together and remembers what may be resumed.

    `maker` finds the fits that tasks ask for, `steps` says what to train next; `ambient` is
    joblib's backend and number of workers outside of the search.
    """

    def __init__(self, ambient: tuple[Any, Any]) -> None:
        self._ambient = ambient
        self.maker = FitMaker()
        self.steps = TrainingSteps()
        # Classes by the id of a fold's samples. The samples are kept, so that no others get
        # the id.
        self._classes: dict[int, tuple[Any, Any]] = {}

    def keep_only(self, candidates: Iterable[Candidate], options: SearchOptions) -> None:
        """Drop trainings that no later rung resumes."""
        if options.resource is not None:
            self.steps.keep_only({
                candidate_fingerprint(candidate, without=options.resource)
                for candidate in candidates
            })

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Let what is prepared in a block share the samples of its folds."""
        try:
            yield
        finally:
            self.maker.forget_folds()

    @contextmanager
    def lent_memory(self, work: Work) -> Iterator[None]:
        """Let a pipeline without a memory use that of the search while its task runs."""
        estimator = work.task.estimator
        if not isinstance(estimator, Pipeline) or estimator.memory is not None:
            yield
            return
        estimator.memory = self.maker.memory(work.task)
        try:
            yield
        finally:
            estimator.memory = None

    def scorer(self, work: Work) -> Any:
        """Return a scorer of a task's network that gives what the search's scorer gives."""
        return self.maker.held_out.scorer(work.task.scorer, work.task.test)

    def known(self, work: Work) -> PredictedClassifier | PredictedRegressor | None:
        """Return what a task can be scored by instead of its trained network.

        None if the task has to fit its network.
        """
        trained, task = work.trained, work.task
        if trained is None or work.state is None or work.fit is None:
            return None
        if not self.maker.predicts_as_fitted(task):
            return None
        fold = id(task.train)
        if fold not in self._classes:
            self._classes[fold] = (classes_of_fold(task), task.train)
        return predicted_by(task, trained.predictions, self._classes[fold][0])

    def prepare(self, work: Work, options: SearchOptions) -> None:
        """Find the fit that a task's network asks for, unless it trains no network."""
        fit = self.maker.make(work.task, fit_name(work.row, work.task.fold))
        if fit is None:
            return
        try:
            work.n_epochs = int(fit.estimator.max_epochs)
        except (TypeError, ValueError, OverflowError):
            # The task itself will raise what is wrong with it.
            return
        work.fit = fit
        resource = options.resource
        if resource is None or resource not in work.task.parameters:
            return
        # The schedule of the learning rate is that of a full training.
        fit.estimator.set_params(max_epochs=options.max_resources)
        fingerprint = candidate_fingerprint(work.task.parameters, without=resource)
        work.key = fingerprint, id(work.task.train)
        state, work.n_epochs_before = self.steps.state(work.key)
        if work.n_epochs_before >= work.n_epochs:
            state, work.n_epochs_before = None, 0
        # Plain skorch nets cannot go on from a state; they begin anew.
        goes_on = state is not None and isinstance(fit.estimator, NetworkEstimator)
        work.fit = replace(
            fit,
            state=state if goes_on else None,
            n_epochs=work.n_epochs - (work.n_epochs_before if goes_on else 0),
        )

    def evaluated(self, work: Work, job: Job, task: FoldTask, row: int) -> Work:
        """Return a task that was trained ahead, now that a job evaluates it.

        Messages and the best epoch come under its result row.
        """
        best = self.steps.best_epochs.pop(work.row, None)
        if best is not None:
            self.steps.best_epochs[row] = best
        trained = work.trained
        if trained is not None and trained.message:
            old, new = (fit_name(number, task.fold) for number in (work.row, row))
            message = trained.message.replace(old, new, 1)
            trained = replace(trained, message=message)
        return replace(work, job=job, task=task, row=row, trained=trained)

    def train(
        self,
        works: Sequence[Work],
        options: SearchOptions,
        limit: Callable[[], TimeLimit | None],
    ) -> None:
        """Train the networks of some tasks.

        With fits; they get what was trained, unless Ctrl-C came before.  Each step is asked
        anew when it has to end.
        """
        for step in self.steps.of(works, options):
            self._train(step, options, limit())

    def _train(self, step: Step, options: SearchOptions, limit: TimeLimit | None) -> None:
        done: dict[int, Trained] = {}
        try:
            with self.outside():
                train(
                    [fit for _, fit in step],
                    n_jobs=options.n_jobs,
                    progress=options.progress,
                    trained=done.update,
                    store=options.store,
                    limit=limit,
                )
        except KeyboardInterrupt:
            self.steps.is_interrupted = True
        for position, (work, _) in enumerate(step):
            work.trained = done.get(position)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Call the engine as if there were no search around."""
        backend, n_jobs = self._ambient
        with (
            adoption(None),
            joblib.parallel_config(backend=backend, n_jobs=n_jobs),
            warnings.catch_warnings(),
        ):
            # Networks that train alone are named once, when the search ends.
            warnings.filterwarnings(
                "ignore", ".* networks? (was|were) trained alone", SkTuneWarning
            )
            yield


class Answer:
    """Gives the network of a task its training, once; others in its pipeline train."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._is_used = False
        # Whether the network was asked for other samples, and so trained by itself.
        self.is_declined = False

    def __call__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any
    ) -> TrainingState | None:
        work = self._work
        is_own = estimator is network_of(work.task.estimator)
        if self._is_used or work.trained is None or not is_own:
            return None
        self._is_used = True
        if estimator is not work.task.estimator and not _are_rows_of(work.fit, X):
            # A transformer that was let go has been fitted anew, and came out otherwise.
            self.is_declined = True
            return None
        if work.state is None:
            raise TrainingFailedError(work.trained.message)
        return work.state


def _are_rows_of(fit: Fit | None, X: Any) -> bool:
    """Return whether samples are those that a network was trained on."""
    if fit is None or X is fit.X:
        return True
    # Behind transformers the samples to train on come first, then those held out.
    n_rows = len(fit.X) if fit.rows is None else len(fit.rows)
    if sparse.issparse(X) and sparse.issparse(fit.X):
        asked = fit.X[:n_rows]
        return bool(asked.shape == X.shape and (asked != X).nnz == 0)
    if isinstance(X, pd.DataFrame) and isinstance(fit.X, pd.DataFrame):
        if len(X) != n_rows or list(X.columns) != list(fit.X.columns):
            return False
        # Samples held out may have made other types of their columns.
        asked = fit.X.iloc[:n_rows].set_axis(X.index, axis=0).astype(X.dtypes)
        return bool(asked.equals(X))
    if not (isinstance(X, np.ndarray) and isinstance(fit.X, np.ndarray)):
        return True
    if X.dtype.hasobject or fit.X.dtype.hasobject:
        return True
    asked = fit.X[:n_rows]
    # Most arrays have no NaN, to look for which takes longer than to compare.
    return np.array_equal(asked, X) or (
        X.dtype.kind == "f" and np.array_equal(asked, X, equal_nan=True)
    )


def _nothing(*_: Any) -> None:
    """Do nothing."""


# joblib's job of a task is known when the task is evaluated.
_NO_JOB = Job(_nothing, _nothing)


@dataclass(slots=True, eq=False)
class _Candidate:
    """A candidate in training, and what it trains at present."""

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
        """Candidates in training."""
        return len(self._under_way) + len(self._ready)

    def begin(
        self,
        candidates: Sequence[Sequence[FoldTask]],
        n_pieces: int = 1,
        limit: TimeLimit | None = None,
    ) -> list[int]:
        """Begin with candidates, given by their tasks, and return their numbers.

        They train together until `limit`, and may be shared among `n_pieces` workers.
        """
        with self._trainer.preparing():
            begun = [self._prepared(tasks) for tasks in candidates]
        for candidate in begun:
            candidate.limit = limit
        self._go_on(begun, n_pieces)
        return [one_begun.number for one_begun in begun]

    def next(self, timeout: float | None = None) -> list[tuple[int, Sequence[Work]]]:
        """Wait for candidates whose networks are all trained: their numbers and folds.

        The result is empty if `timeout` seconds have passed, or Ctrl-C came.
        """
        while not self._trainer.steps.is_interrupted and (
            not self._ready or self._stream.n_ended
        ):
            try:
                with self._trainer.outside():
                    ended = self._stream.next(timeout)
            except KeyboardInterrupt:
                self._trainer.steps.is_interrupted = True
                break
            if ended is None:
                break
            request, trained = ended
            candidate = self._under_way.pop(request)
            for (work, _), result in zip(candidate.step, trained, strict=True):
                work.trained = result
            self._go_on([candidate], 1)
        ready, self._ready = self._ready, []
        return [(done.number, done.works) for done in ready]

    def _prepared(self, tasks: Sequence[FoldTask]) -> _Candidate:
        number, self._n_begun = self._n_begun, self._n_begun + 1
        # The candidate's result row is not known before it is evaluated; until then a
        # negative number, which no other candidate has, stands for it.
        works = [Work(job=_NO_JOB, task=task, row=-1 - number) for task in tasks]
        self._trainer.maker.begin_candidate(tasks[0])
        for work in works:
            self._trainer.prepare(work, self._options)
            work.is_ahead = True
        networks = [work for work in works if work.fit is not None]
        return _Candidate(number, works, self._trainer.steps.of(networks, self._options))

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
        requests = [[fit for _, fit in one_asking.step] for one_asking in asking]
        try:
            with self._trainer.outside():
                numbers = self._stream.ask(requests, n_pieces, asking[0].limit)
        except KeyboardInterrupt:
            self._trainer.steps.is_interrupted = True
        else:
            self._under_way |= dict(zip(numbers, asking, strict=True))
