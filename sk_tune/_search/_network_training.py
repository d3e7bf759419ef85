# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The training steps of a search's networks.

Each step is a list of fits.  The caller trains them before it requests the next step, all
at once in a round or one by one in a stream.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import joblib
import numpy as np

from sk_tune._adoption import adoption
from sk_tune._backend import Job
from sk_tune._compat import FoldTask
from sk_tune._engine import Fit, Trained, checkpoint_before, params_fingerprint, train
from sk_tune._estimators import NetworkEstimator
from sk_tune._search._fold_fits import FitMaker
from sk_tune._search._outcomes import (
    SearchOptions,
    Work,
    best_epoch,
    fit_name,
)
from sk_tune._space import Candidate
from sk_tune._training import TimeLimit, TrainingState
from sk_tune.exceptions import TrainedAloneWarning

Checkpoints = tuple[TrainingState, ...]
# Tasks, each with its next fit.
Step = Sequence[tuple[Work, Fit]]


class Trainer:
    """Trains networks together and remembers the states that later rungs resume.

    `ambient` is joblib's backend and number of workers outside of the search. `maker`
    extracts the fits of tasks; `best_epochs` are by result row, with select_epoch="best";
    `is_interrupted` says that training has to stop.
    """

    def __init__(self, ambient: tuple[Any, Any], options: SearchOptions) -> None:
        self._ambient = ambient
        self._options = options
        self.maker = FitMaker()
        self.best_epochs: dict[int, int] = {}
        self.is_interrupted = False
        # By candidate and fold: the latest state with its epochs, and the states at the
        # ends of the rungs.
        self._states: dict[tuple[Any, Any], tuple[TrainingState, int]] = {}
        self._ends: dict[Any, Checkpoints] = {}
        # Keys are identities of the folds' test samples, which `maker` keeps alive.
        self._is_monitor_bad: dict[int, bool] = {}

    def keep_only(self, candidates: Iterable[Candidate]) -> None:
        """Drop all networks except candidates that later rungs may resume."""
        resource = self._options.resource
        if resource is None:
            return
        fingerprints = {params_fingerprint(c, without=resource) for c in candidates}
        self._states = {k: v for k, v in self._states.items() if k[0] in fingerprints}
        self._ends = {k: v for k, v in self._ends.items() if k[0] in fingerprints}

    def interruptible(self) -> "_Interruptible":
        """Let the first Ctrl-C in a block end the search, which keeps its results."""
        return _Interruptible(self)

    def prepare(self, work: Work) -> None:
        """Extract the fit of a task's network, if it has a network."""
        name = fit_name(work.candidate, work.task.fold)
        fit, work.is_exact, work.solo_reason = self.maker.make(work.task, name)
        if fit is None:
            return
        if work.task.fold == 0:
            work.inputs = self.maker.scale_of(fit)
        try:
            work.n_epochs = int(fit.estimator.max_epochs)
        except (TypeError, ValueError, OverflowError):
            # The task itself will raise this error.
            return
        work.fit = fit
        resource = self._options.resource
        if resource is None or resource not in work.task.parameters:
            return
        # The learning-rate schedule spans a full training.
        fit.estimator.set_params(max_epochs=self._options.max_resources)
        fingerprint = params_fingerprint(work.task.parameters, without=resource)
        work.key = fingerprint, id(work.task.train)
        state, work.n_epochs_before = self._states.get(work.key, (None, 0))
        if work.n_epochs_before >= work.n_epochs:
            state, work.n_epochs_before = None, 0
        # Plain skorch nets cannot resume a state; they start from scratch.
        goes_on = state is not None and isinstance(fit.estimator, NetworkEstimator)
        work.fit = replace(
            fit,
            state=state if goes_on else None,
            n_epochs=work.n_epochs - (work.n_epochs_before if goes_on else 0),
        )

    def evaluated(self, work: Work, job: Job, task: FoldTask, row: int) -> Work:
        """Return a task that was trained in advance, with the job that evaluates it."""
        best = self.best_epochs.pop(work.row, None)
        if best is not None:
            self.best_epochs[row] = best
        return replace(work, job=job, task=task, row=row)

    def train(self, works: Sequence[Work], limit: Callable[[], TimeLimit | None]) -> None:
        """Train the networks of tasks; Ctrl-C keeps finished trainings."""
        for step in self.steps(works):
            done: dict[int, Trained] = {}
            with self.interruptible(), self.outside():
                train(
                    [fit for _, fit in step],
                    n_jobs=self._options.n_jobs,
                    progress=self._options.progress,
                    trained=done.update,
                    store=self._options.store,
                    limit=limit(),
                )
            for position, (work, _) in enumerate(step):
                work.trained = done.get(position)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Call the engine as outside of a search."""
        backend, n_jobs = self._ambient
        with (
            adoption(None),
            joblib.parallel_config(backend=backend, n_jobs=n_jobs),
            warnings.catch_warnings(),
        ):
            # One warning at the end of the search names networks trained alone.
            warnings.simplefilter("ignore", TrainedAloneWarning)
            yield

    def steps(self, works: Sequence[Work]) -> Iterator[Step]:
        """Yield pairs of work and fit to train, until the tasks need no more training.

        When the next step is requested, the works of the last step have their `trained`,
        or None after Ctrl-C; in the end they have states.
        """
        if not works:
            return
        wants_best = self._options.select_epoch == "best"
        requests = [(work, work.fit) for work in works if work.fit is not None]
        if wants_best:
            requests = [
                (work, replace(fit, keeps_checkpoints=True)) for work, fit in requests
            ]
        yield requests
        yield from self._without_monitor(works)
        for work in works:
            work.state = None if work.trained is None else work.trained.state
            if work.key is None:
                continue
            if work.n_epochs >= self._options.max_resources:
                # The last rung leaves no state to resume.
                self._states.pop(work.key, None)
            elif work.state is not None:
                self._states[work.key] = (work.state, work.n_epochs)
                # Plain skorch nets start each rung from scratch, and so do callbacks: their
                # checkpoints differ from an uninterrupted training's.
                estimator = None if work.fit is None else work.fit.estimator
                is_of_one_go = (
                    isinstance(estimator, NetworkEstimator) and not estimator.callbacks
                )
                if wants_best and is_of_one_go:
                    ends = self._ends.get(work.key, ())
                    self._ends[work.key] = (*ends, work.state)
        if wants_best and not self.is_interrupted:
            yield from self._back_to_best(works)

    def _without_monitor(self, works: Sequence[Work]) -> Iterator[Step]:
        """Train fits again that failed only because the network cannot predict the monitor.

        One fit per fold tests this, for the whole search.
        """
        failed: dict[int, list[Work]] = {}
        for work in works:
            if work.fit is None or work.fit.monitor is None or work.trained is None:
                continue
            # A fit that killed its worker could kill this process.
            if work.trained.status == "failed" and not work.trained.is_lost:
                failed.setdefault(id(work.task.test), []).append(work)
        for fold, failed_works in failed.items():
            if self.is_interrupted:
                return
            first, *remaining = failed_works
            if fold not in self._is_monitor_bad:
                yield _blind([first])
                trained = first.trained
                self._is_monitor_bad[fold] = bool(trained and trained.state is not None)
            else:
                remaining = failed_works
            if remaining and self._is_monitor_bad[fold]:
                yield _blind(remaining)

    def _back_to_best(self, works: Sequence[Work]) -> Iterator[Step]:
        """Train the networks of each candidate to the best epoch of its mean curve."""
        again = self._to_best(works)
        if not again:
            return
        full = [work.trained for work, _ in again]
        yield again
        for (work, fit), long in zip(again, full, strict=True):
            short = work.trained
            work.state = None if short is None else short.state
            if short is None or long is None or short.state is None:
                continue
            if not short.is_loaded:
                n_before = 0 if fit.checkpoint is None else len(fit.checkpoint.history)
                work.n_epochs_again = len(short.train_loss) - n_before
            # Curves cover the whole training, predictions come from its best epoch.
            seconds = long.seconds + short.seconds
            work.trained = replace(long, predictions=short.predictions, seconds=seconds)

    def _to_best(self, works: Sequence[Work]) -> list[tuple[Work, Fit]]:
        """Return fits to the best epochs, and determine these for new candidates."""
        checkpoints: dict[int, Checkpoints] = {}
        by_row: dict[int, list[tuple[Work, TrainingState]]] = {}
        for work in works:
            if work.trained is not None:
                ends = self._ends.get(work.key, ())
                checkpoints[id(work)] = (*ends, *work.trained.checkpoints)
                work.trained = replace(work.trained, checkpoints=())
            if work.state is not None:
                by_row.setdefault(work.row, []).append((work, work.state))
        # The curve that decides, with a sign that makes greater better.
        sign, name = 1, "monitor_score"
        if self._options.prefers_loss:
            sign, name = -1, "monitor_loss"
        again: list[tuple[Work, Fit]] = []
        for row, pairs in by_row.items():
            curves = [sign * state.curve(name) for _, state in pairs]
            # Curves of unequal length are lines of one array, padded with NaN.
            rows = np.full((len(curves), max(map(len, curves))), np.nan)
            for line, curve in zip(rows, curves, strict=True):
                line[: len(curve)] = curve
            n_epochs = best_epoch(rows)
            if n_epochs is None:
                # Without scores of held-out samples there is no best epoch.
                continue
            self.best_epochs[row] = n_epochs
            for (work, state), curve in zip(pairs, curves, strict=True):
                if work.fit is None or len(curve) <= n_epochs:
                    continue
                # A rung that started from scratch may have drawn another seed.
                saved = checkpoints.get(id(work), ())
                saved = tuple(each for each in saved if each.seed == state.seed)
                fit = replace(
                    work.fit,
                    # The initial state, so that the store's key ignores checkpoints.
                    state=None,
                    seed=state.seed,
                    n_epochs=n_epochs,
                    checkpoint=checkpoint_before(saved, n_epochs),
                )
                again.append((work, fit))
        return again


class _Interruptible:
    # A generator-based context manager would raise if Ctrl-C came before its block.
    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> bool:
        is_interrupt = isinstance(error, KeyboardInterrupt)
        is_first = is_interrupt and not self._trainer.is_interrupted
        self._trainer.is_interrupted |= is_first
        return is_first


def _blind(works: Sequence[Work]) -> list[tuple[Work, Fit]]:
    fits = [(work, work.fit) for work in works if work.fit is not None]
    return [(work, replace(fit, monitor=None)) for work, fit in fits]
