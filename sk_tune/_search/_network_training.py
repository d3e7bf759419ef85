# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The training steps of a search's networks.

Each step is a list of fits.  The caller trains them before it requests the next step, all
at once in a round or one by one in a stream.
"""

import warnings
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np

from sk_tune._adoption import adoption
from sk_tune._compat import FoldTask
from sk_tune._engine import Fit, Trained, checkpoint_before, train
from sk_tune._estimators import NetworkEstimator
from sk_tune._search._fold_fits import FitMaker, FoldRequest
from sk_tune._search._outcomes import SearchOptions, best_epoch, scores_by_curve
from sk_tune._training import TimeLimit, TrainingState
from sk_tune.exceptions import TrainedAloneWarning

# Most training samples that the engine predicts for training scores. With more samples,
# predicting in the task is a small share of the time.
_MOST_TO_PREDICT = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class FoldTraining:
    """The training of a request.

    `trained` is None before the training, without a network, and after an interruption. The
    network adopts `state`. With select_epoch="best", that is the state after `best_epoch`,
    for which `n_epochs_again` epochs were repeated.
    """

    request: FoldRequest
    trained: Trained | None = None
    state: TrainingState | None = None
    best_epoch: int | None = None
    n_epochs_again: int = 0

    @property
    def n_epochs(self) -> int:
        """Total epochs of the network, fewer than requested if the time was up."""
        if self.trained is not None and self.trained.is_cut and self.state is not None:
            return len(self.state.history)
        return self.request.n_epochs


# Results of the fits of one step; None for fits that Ctrl-C prevented.
Results = Sequence[Trained | None]
Steps = Generator[list[Fit], Results, list[FoldTraining]]


class Trainer:
    """Trains networks together and remembers the states that later rungs resume.

    `ambient` is joblib's backend and number of workers outside of the search. `maker`
    extracts the fits of tasks; `is_interrupted` says that training has to stop.
    """

    def __init__(self, ambient: tuple[Any, Any], options: SearchOptions) -> None:
        self._ambient = ambient
        self._options = options
        self.maker = FitMaker()
        self.is_interrupted = False
        # By candidate and fold: the latest state with its epochs, and the states at the
        # ends of the rungs.
        self._states: dict[tuple[int, int], tuple[TrainingState, int]] = {}
        self._ends: dict[tuple[int, int], tuple[TrainingState, ...]] = {}
        # Keys are identities of the folds' test samples, which `maker` keeps alive.
        self._is_monitor_bad: dict[int, bool] = {}

    def keep_only(self, candidates: Collection[int]) -> None:
        """Drop the states of all networks except those of `candidates`."""
        self._states = {k: v for k, v in self._states.items() if k[0] in candidates}
        self._ends = {k: v for k, v in self._ends.items() if k[0] in candidates}

    def interruptible(self) -> "_Interruptible":
        """Let the first Ctrl-C in a block end the search, which keeps its results."""
        return _Interruptible(self)

    def request(self, task: FoldTask, candidate: int) -> FoldRequest:
        """Return the request of a task, with the fit of its network, if it has one."""
        request = self.maker.make(task, candidate)
        fit = request.fit
        if fit is None:
            return request
        try:
            n_epochs, n_before = fit.epochs, 0
        except (TypeError, ValueError, OverflowError):
            # The task itself will raise this error.
            return replace(request, fit=None)
        resource = self._options.resource
        if resource is not None and resource in task.parameters:
            # The learning-rate schedule spans a full training.
            fit.estimator.set_params(max_epochs=self._options.max_resources)
            state, n_before = self._states.get(request.key, (None, 0))
            if n_before >= n_epochs:
                state, n_before = None, 0
            if state is not None and state.restart_reason:
                remark = f"trained from the first epoch, because {state.restart_reason}"
                request = replace(request, remark=remark)
                state = None
            # Plain skorch nets cannot resume a state; they start from scratch.
            if not isinstance(fit.estimator, NetworkEstimator):
                state = None
            n_new = n_epochs - (0 if state is None else n_before)
            fit = replace(fit, state=state, n_epochs=n_new)
        if task.scores_train and len(task.train) <= _MOST_TO_PREDICT:
            fit = replace(fit, predicts_train=True)
        inputs = self.maker.scale_of(fit) if task.fold == 0 else None
        return replace(
            request, fit=fit, n_epochs=n_epochs, n_epochs_before=n_before, inputs=inputs
        )

    def train(
        self, requests: Sequence[FoldRequest], limit: Callable[[], TimeLimit | None]
    ) -> list[FoldTraining]:
        """Train the networks of requests; Ctrl-C keeps finished trainings."""
        steps, results = self.steps(requests), None
        while True:
            try:
                # A generator takes None first.
                fits = steps.send(results)  # type: ignore[arg-type]
            except StopIteration as end:
                trainings: list[FoldTraining] = end.value
                return trainings
            done: dict[int, Trained] = {}
            with self.interruptible(), self.outside():
                train(
                    fits,
                    n_jobs=self._options.search.n_jobs,
                    progress=self._options.progress,
                    trained=done.update,
                    store=self._options.search.store,
                    limit=limit(),
                )
            results = [done.get(position) for position in range(len(fits))]

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Run a block with the joblib settings from outside of the search."""
        backend, n_jobs = self._ambient
        with (
            adoption(None),
            joblib.parallel_config(backend=backend, n_jobs=n_jobs),
            warnings.catch_warnings(),
        ):
            # One warning at the end of the search names networks trained alone.
            warnings.simplefilter("ignore", TrainedAloneWarning)
            yield

    def steps(self, requests: Sequence[FoldRequest]) -> Steps:
        """Yield the fits of each step, receive their results, and return the trainings."""
        networks = [request for request in requests if request.fit is not None]
        fits = [request.fit for request in networks if request.fit is not None]
        if not fits:
            return [FoldTraining(request) for request in requests]
        wants_best = self._options.search.select_epoch == "best"
        if wants_best:
            fits = [replace(fit, keeps_checkpoints=True) for fit in fits]
        results = yield fits
        results = yield from self._without_monitor(networks, results)
        trainings = [
            FoldTraining(request, trained, None if trained is None else trained.state)
            for request, trained in zip(networks, results, strict=True)
        ]
        for training in trainings:
            self._remember(training)
        if wants_best and not self.is_interrupted:
            trainings = yield from self._back_to_best(trainings)
        by_network = iter(trainings)
        return [
            FoldTraining(request) if request.fit is None else next(by_network)
            for request in requests
        ]

    def _remember(self, training: FoldTraining) -> None:
        """Keep the state of a network that a later rung may resume."""
        request, state, options = training.request, training.state, self._options
        if options.resource not in request.task.parameters:
            return
        if request.n_epochs >= options.max_resources:
            # The last rung leaves no state to resume.
            self._states.pop(request.key, None)
        elif state is not None and request.fit is not None:
            self._states[request.key] = (state, request.n_epochs)
            # Plain skorch nets and callbacks start from scratch in each rung, so their
            # checkpoints differ from those of an uninterrupted training.
            network = request.fit.estimator
            if isinstance(network, NetworkEstimator) and not network.callbacks:
                self._ends[request.key] = (*self._ends.get(request.key, ()), state)

    def _without_monitor(
        self, networks: Sequence[FoldRequest], results: Results
    ) -> Generator[list[Fit], Results, Results]:
        """Repeat failed fits without a monitor, which the network may be unable to predict.

        One fit per fold tests this for the whole search.
        """
        results = list(results)
        failed: dict[int, list[int]] = {}
        for n, (request, trained) in enumerate(zip(networks, results, strict=True)):
            if trained is None or request.fit is None or request.fit.monitor is None:
                continue
            # A fit that killed its worker could kill this process.
            if trained.status == "failed" and not trained.is_lost:
                failed.setdefault(id(request.task.test), []).append(n)
        for fold, positions in failed.items():
            is_known = fold in self._is_monitor_bad
            for part in [positions] if is_known else [positions[:1], positions[1:]]:
                if self.is_interrupted or not part:
                    break
                if not self._is_monitor_bad.get(fold, True):
                    break
                fits = [fit for n in part if (fit := networks[n].fit) is not None]
                again = yield [replace(fit, monitor=None) for fit in fits]
                for n, trained in zip(part, again, strict=True):
                    results[n] = trained
                first = again[0]
                is_bad = first is not None and first.state is not None
                self._is_monitor_bad.setdefault(fold, is_bad)
        return results

    def _back_to_best(self, trainings: Sequence[FoldTraining]) -> Steps:
        """Train the networks of each candidate to the best epoch of its mean curve."""
        best_epochs = self._best_epochs(trainings)
        at_best: list[FoldTraining] = []
        again: dict[int, Fit] = {}
        for position, training in enumerate(trainings):
            request, trained, state = training.request, training.trained, training.state
            if trained is None:
                at_best.append(training)
                continue
            n_epochs = best_epochs.get(request.candidate)
            saved = (*self._ends.get(request.key, ()), *trained.checkpoints)
            trained = replace(trained, checkpoints=())
            at_best.append(replace(training, trained=trained, best_epoch=n_epochs))
            if request.fit is None or state is None or n_epochs is None:
                continue
            if len(state.history) > n_epochs:
                # A rung that started from scratch may have drawn another seed.
                saved = tuple(each for each in saved if each.seed == state.seed)
                again[position] = replace(
                    request.fit,
                    # Without a state, the store's key does not depend on checkpoints.
                    state=None,
                    seed=state.seed,
                    n_epochs=n_epochs,
                    checkpoint=checkpoint_before(saved, n_epochs),
                )
        if again:
            results = yield list(again.values())
            for (position, fit), short in zip(again.items(), results, strict=True):
                at_best[position] = _at_best_epoch(at_best[position], fit, short)
        return at_best

    def _best_epochs(self, trainings: Sequence[FoldTraining]) -> dict[int, int]:
        """Return the best epoch of each candidate with scores of held-out samples."""
        # The curve that decides, with a sign that makes greater better.
        sign, name = -1, "monitor_loss"
        if scores_by_curve(self._options.search):
            sign, name = 1, "monitor_score"
        curves: dict[int, list[Any]] = {}
        for training in trainings:
            if training.state is not None:
                curve = sign * training.state.curve(name)
                curves.setdefault(training.request.candidate, []).append(curve)
        best_epochs = {}
        for candidate, of_folds in curves.items():
            # Curves of unequal length are lines of one array, padded with NaN.
            rows = np.full((len(of_folds), max(map(len, of_folds))), np.nan)
            for line, curve in zip(rows, of_folds, strict=True):
                line[: len(curve)] = curve
            n_epochs = best_epoch(rows)
            if n_epochs is not None:
                best_epochs[candidate] = n_epochs
        return best_epochs


class _Interruptible:
    # A generator-based context manager would raise if Ctrl-C came before its block.
    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> bool:
        is_first = isinstance(error, KeyboardInterrupt) and not self._trainer.is_interrupted
        if is_first:
            self._trainer.is_interrupted = True
        return is_first


def _at_best_epoch(training: FoldTraining, fit: Fit, short: Trained | None) -> FoldTraining:
    """Return a training with state and predictions of its best epoch, and all curves."""
    long = training.trained
    if long is None or short is None or short.state is None:
        return replace(training, trained=short, state=None)
    n_before = 0 if fit.checkpoint is None else len(fit.checkpoint.history)
    n_again = 0 if short.is_loaded else len(short.train_loss) - n_before
    trained = replace(
        long,
        predictions=short.predictions,
        train_predictions=short.train_predictions,
        seconds=long.seconds + short.seconds,
    )
    return replace(training, trained=trained, state=short.state, n_epochs_again=n_again)
