# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks of a search: the trainings that their tasks need, one step after the other.

Each step is a list of fits; who asks for the next step has trained those of the last.  So
it does not matter to the steps how they are trained: all at once in a round, or in a stream
while others are trained.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import joblib
import numpy as np

from sk_tune._compat import FoldTask
from sk_tune.adoption import adoption
from sk_tune.backend import Job
from sk_tune.engine import Fit, Trained, checkpoint_before, train
from sk_tune.estimators import NetworkEstimator
from sk_tune.exceptions import SkTuneWarning
from sk_tune.search._fold_fits import FitMaker
from sk_tune.search._outcomes import (
    SearchOptions,
    Work,
    best_epoch,
    candidate_fingerprint,
    fit_name,
)
from sk_tune.space import Candidate
from sk_tune.training import TimeLimit, TrainingState

Checkpoints = tuple[TrainingState, ...]
# Tasks with what to train for each of them now.
Step = Sequence[tuple[Work, Fit]]


class Trainer:
    """Trains what can be trained together and remembers what may be resumed.

    `ambient` is joblib's backend and number of workers outside of the search. `maker` finds
    the fits that tasks ask for; `best_epochs` are by result row, with epochs="best";
    `is_interrupted` says that nothing more is to be trained.
    """

    def __init__(self, ambient: tuple[Any, Any], options: SearchOptions) -> None:
        self._ambient = ambient
        self._options = options
        self.maker = FitMaker()
        self.best_epochs: dict[int, int] = {}
        self.is_interrupted = False
        # Where the fit of a candidate and fold stands, after how many epochs; and where it
        # stood at the ends of its rungs.
        self._states: dict[tuple[Any, Any], tuple[TrainingState, int]] = {}
        self._ends: dict[Any, Checkpoints] = {}
        # Keys are identities of the fold's test samples, which `maker` keeps alive.
        self._is_monitor_bad: dict[int, bool] = {}

    def keep_only(self, candidates: Iterable[Candidate]) -> None:
        """Drop the networks of all candidates but those that later rungs may resume."""
        resource = self._options.resource
        if resource is None:
            return
        kept = {candidate_fingerprint(c, without=resource) for c in candidates}
        self._states = {k: v for k, v in self._states.items() if k[0] in kept}
        self._ends = {k: v for k, v in self._ends.items() if k[0] in kept}

    def interruptible(self) -> "_Interruptible":
        """Let the first Ctrl-C in a block end the search, which keeps what is done."""
        return _Interruptible(self)

    def prepare(self, work: Work) -> None:
        """Find the fit that a task's network asks for, unless it trains no network."""
        name = fit_name(work.row, work.task.fold)
        fit, work.is_exact, work.solo_reason = self.maker.make(work.task, name)
        if fit is None:
            return
        if work.task.fold == 0:
            work.inputs = self.maker.scale_of(fit)
        try:
            work.n_epochs = int(fit.estimator.max_epochs)
        except (TypeError, ValueError, OverflowError):
            # The task itself will raise what is wrong with it.
            return
        work.fit = fit
        resource = self._options.resource
        if resource is None or resource not in work.task.parameters:
            return
        # The schedule of the learning rate is that of a full training.
        fit.estimator.set_params(max_epochs=self._options.max_resources)
        fingerprint = candidate_fingerprint(work.task.parameters, without=resource)
        work.key = fingerprint, id(work.task.train)
        state, work.n_epochs_before = self._states.get(work.key, (None, 0))
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
        """Return a task that was trained ahead, now that a job evaluates it."""
        best = self.best_epochs.pop(work.row, None)
        if best is not None:
            self.best_epochs[row] = best
        trained = work.trained
        if trained is not None and trained.message:
            old, new = (fit_name(number, task.fold) for number in (work.row, row))
            message = trained.message.replace(old, new, 1)
            trained = replace(trained, message=message)
        return replace(work, job=job, task=task, row=row, trained=trained)

    def train(self, works: Sequence[Work], limit: Callable[[], TimeLimit | None]) -> None:
        """Train networks of tasks, which get what was trained before Ctrl-C came."""
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

    def steps(self, works: Sequence[Work]) -> Iterator[Step]:
        """Yield pairs of work and fit to train, until the tasks have all they need.

        At the next step those of the last have what was trained, or None where Ctrl-C came
        before; in the end they have states.
        """
        if not works:
            return
        wants_best = self._options.epochs == "best"
        asked = [(work, work.fit) for work in works if work.fit is not None]
        if wants_best:
            asked = [(work, replace(fit, keeps_checkpoints=True)) for work, fit in asked]
        yield asked
        yield from self._without_monitor(works)
        for work in works:
            work.state = None if work.trained is None else work.trained.state
            if work.key is None:
                continue
            if work.n_epochs >= self._options.max_resources:
                # After the last rung nothing goes on.
                self._states.pop(work.key, None)
            elif work.state is not None:
                self._states[work.key] = (work.state, work.n_epochs)
                # Plain skorch nets begin each rung anew, and so do callbacks: theirs is not
                # what one training of all epochs would be.
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
        """Train again what failed only because its held-out samples cannot be predicted.

        Whether a fold's samples can is found out with one fit for the whole search.
        """
        failed: dict[int, list[Work]] = {}
        for work in works:
            if work.fit is None or work.fit.monitor is None or work.trained is None:
                continue
            if work.trained.status == "failed":
                failed.setdefault(id(work.task.test), []).append(work)
        for fold, failed_works in failed.items():
            if self.is_interrupted:
                return
            first, *rest = failed_works
            if fold not in self._is_monitor_bad:
                yield _blind([first])
                trained = first.trained
                self._is_monitor_bad[fold] = bool(trained and trained.state is not None)
            else:
                rest = failed_works
            if rest and self._is_monitor_bad[fold]:
                yield _blind(rest)

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
                before = 0 if fit.checkpoint is None else len(fit.checkpoint.history)
                work.n_epochs_again = len(short.train_loss) - before
            # Curves are those of the whole training, predictions those of its best epoch.
            seconds = long.seconds + short.seconds
            work.trained = replace(long, predictions=short.predictions, seconds=seconds)

    def _to_best(self, works: Sequence[Work]) -> list[tuple[Work, Fit]]:
        """Return fits to the best epochs; find these for candidates that have none yet."""
        checkpoints: dict[int, Checkpoints] = {}
        by_row: dict[int, list[tuple[Work, TrainingState]]] = {}
        for work in works:
            if work.trained is not None:
                ends = self._ends.get(work.key, ())
                checkpoints[id(work)] = (*ends, *work.trained.checkpoints)
                work.trained = replace(work.trained, checkpoints=())
            if work.state is not None:
                by_row.setdefault(work.row, []).append((work, work.state))
        # What decides of each epoch; greater is better.
        sign, name = 1, "monitor_score"
        if self._options.prefers_loss:
            sign, name = -1, "monitor_loss"
        again: list[tuple[Work, Fit]] = []
        for row, pairs in by_row.items():
            curves = [sign * state.curve(name) for _, state in pairs]
            # Curves of unequal length are lines of one array, with NaN behind their end.
            rows = np.full((len(curves), max(map(len, curves))), np.nan)
            for line, curve in zip(rows, curves, strict=True):
                line[: len(curve)] = curve
            # Folds that a race adds go by those that chose: none chooses for itself.
            n_epochs = self.best_epochs.get(row) or best_epoch(rows)
            if n_epochs is None:
                # Held-out samples that the network cannot take tell of no epoch.
                continue
            self.best_epochs[row] = n_epochs
            for (work, state), curve in zip(pairs, curves, strict=True):
                if work.fit is None or len(curve) <= n_epochs:
                    continue
                # A rung that began anew may have drawn another seed.
                kept = checkpoints.get(id(work), ())
                kept = tuple(each for each in kept if each.seed == state.seed)
                fit = replace(
                    work.fit,
                    # That of the beginning, so that a store knows it whatever was kept.
                    state=None,
                    seed=state.seed,
                    n_epochs=n_epochs,
                    checkpoint=checkpoint_before(kept, n_epochs),
                )
                again.append((work, fit))
        return again


class _Interruptible:
    # A generator that Ctrl-C ends before its block begins would be an error of its own.
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
