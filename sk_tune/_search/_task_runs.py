# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the tasks of a search, with trained networks or in joblib's workers.

The engine returns predictions of the scored samples with each trained network.  A task that
only scores these predictions needs no network: building it, validating the samples and
predicting them again would take several times as long as the metric.  A stand-in estimator
with these predictions replaces the network.
"""

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import TimeoutError as NothingYetError
from typing import Any

import joblib
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.pipeline import Pipeline

from sk_tune._adoption import adoption
from sk_tune._backend import Job
from sk_tune._compat import (
    FoldTask,
    callbacks_of,
    callbacks_see_fits,
    fold_task,
    method_params,
    run_fitted_by,
    scorers_in,
    with_metrics,
)
from sk_tune._engine import Fit, Trained, have_to_start, start_meanwhile
from sk_tune._estimators import NetworkEstimator, predicts_unchanged, take_rows
from sk_tune._nesting import restored_target
from sk_tune._scores import quick_metric, scorer_metric
from sk_tune._search._fold_fits import FoldCache, FoldRequest, network_of
from sk_tune._search._network_training import FoldTraining, Trainer
from sk_tune._search._outcomes import FoldOutcome, HeldOut, SearchOptions, hold, positions
from sk_tune._search._stand_ins import (
    PredictedClassifier,
    PredictedRegressor,
    prediction_positions,
)
from sk_tune._search._time_budget import TimeBudget
from sk_tune._text import error_line, error_text
from sk_tune._training import TimeIsUpError, TrainingState, is_small, one_thread
from sk_tune._types import Array
from sk_tune._warnings import Messages, collected_warnings, issue
from sk_tune.exceptions import TrainingFailedError

# An outcome, and the fitted estimator or a function that returns it; None if not kept.
Scored = tuple[FoldOutcome, Any]

_OTHER_ROWS = "its transformers were fitted again and returned different samples"


class TaskRunner:
    """Runs tasks of trained networks, and tasks without a network."""

    def __init__(self, trainer: Trainer, options: SearchOptions, time: TimeBudget) -> None:
        self._trainer = trainer
        self._maker = trainer.maker
        self._options = options
        # Name of the deciding metric, if `refit` is a name.
        refit = options.search.refit
        self._metric = refit if isinstance(refit, str) else ""
        self._time = time
        # Classes by the id of a fold's samples. The samples are kept, so that their id is
        # not reused.
        self._classes: dict[int, tuple[Any, Any]] = {}

    def run_trained(self, job: Job, training: FoldTraining, trained: Trained) -> Scored:
        """Run the task of a trained network; the network adopts its training if needed."""
        task = training.request.task
        keeps_model = self._options.n_models_kept != 0
        # A kept pipeline is fitted: if its transformers were dropped from the cache, they
        # may return other samples.
        needs_fit = keeps_model and isinstance(task.estimator, Pipeline)
        stand_in = None if needs_fit else self._stand_in(training)
        handover = _Handover(training)
        if stand_in is None:
            state = training.state
            with (
                self._lent_memory(task),
                adoption(handover),
                one_thread(wanted=state is not None and is_small(state, task.X)),
            ):
                job.end(result=job.task())
        else:
            # A stand-in needs positions only, which saves the time of slicing a fold.
            X = task.X if callbacks_of(task) else prediction_positions(task)
            scorer = with_metrics(task.scorer, quick_metric)
            job.end(result=run_fitted_by(job.task, stand_in, X, scorer))
        result, model = job.result[0], task.estimator
        if stand_in is not None:
            model = partial(self._fitted, training) if keeps_model else None
        if handover.is_declined:
            predicts = self._options.n_predictions_kept != 0
            outcome = _alone_outcome(
                task, result, _OTHER_ROWS, self._metric, predicts=predicts
            )
            return replace(outcome, seconds=trained.seconds), model
        if "fit_time" in result:
            result["fit_time"] += trained.seconds
        estimator = stand_in or task.estimator
        cause = _cause_of_no_score(task, estimator, result, self._metric)
        classes = getattr(estimator, "classes_", None)
        error = result["fit_error"]
        return _trained_outcome(training, trained, error, classes, cause), model

    def _fitted(self, training: FoldTraining) -> Any:
        """Return the fitted network of a task that a stand-in scored."""
        task = training.request.task
        parameters = clone(dict(task.parameters), safe=False)
        X, y = task.samples(task.train)
        params = method_params(task.X, params=task.fit_params, indices=task.train)
        with adoption(_Handover(training)):
            return task.estimator.set_params(**parameters).fit(X, y, **params)

    def _stand_in(
        self, training: FoldTraining
    ) -> PredictedClassifier | PredictedRegressor | None:
        """Return a stand-in with the predictions of a task's trained network.

        None if the task has to fit its network: a scorer may need more than predictions,
        the network's class may predict differently from the engine, or its transformers may
        return other samples each time.
        """
        task, network = training.request.task, network_of(training.request.task.estimator)
        predictions = self._predictions(training)
        if training.state is None or not training.request.is_exact:
            return None
        if not isinstance(network, NetworkEstimator) or not predicts_unchanged(network):
            return None
        is_plain = task.estimator is network or type(task.estimator) is Pipeline
        if not is_plain or callbacks_see_fits(task) or predictions is None:
            return None
        if not np.isfinite(predictions).all() or not _needs_stand_in_only(network, task):
            # The scorer will raise or warn about such predictions.
            return None
        if not is_classifier(network):
            return PredictedRegressor(predictions, takes_positions=task.scores_train)
        fold = id(task.train)
        if fold not in self._classes:
            self._classes[fold] = (_classes_of_fold(task), task.train)
        classes = self._classes[fold][0]
        if classes is None or predictions.shape[1:] != classes.shape:
            return None
        return PredictedClassifier(predictions, classes, takes_positions=task.scores_train)

    @staticmethod
    def _predictions(training: FoldTraining) -> Array | None:
        """Return predictions of the scored samples, training samples first, or None."""
        task, trained = training.request.task, training.trained
        held_out = None if trained is None else trained.predictions
        if held_out is None or len(held_out) != len(task.test):
            return None
        if not task.scores_train:
            return held_out
        # Callbacks need the samples, which then do not show their positions.
        of_train = None if trained is None else trained.train_predictions
        if of_train is None or len(of_train) != len(task.train) or callbacks_of(task):
            return None
        return np.concatenate([of_train, held_out])

    @contextmanager
    def _lent_memory(self, task: FoldTask) -> Iterator[None]:
        """Lend a pipeline without a memory the memory of the search while its task runs."""
        estimator = task.estimator
        if not isinstance(estimator, Pipeline) or estimator.memory is not None:
            yield
            return
        estimator.memory = self._maker.memory(task)
        try:
            yield
        finally:
            estimator.memory = None

    def run_others(
        self, jobs: Sequence[tuple[Job, FoldRequest]], *, is_first: bool, stays_here: bool
    ) -> Iterator[Scored]:
        """Run tasks without a network in order; ``TimeIsUpError`` if the time is up."""
        options, n_jobs = self._options, self._options.search.n_jobs
        with self._trainer.outside():
            stays_here = stays_here or joblib.effective_n_jobs(n_jobs) == 1
            if not stays_here and self._time.is_limited:
                # Workers start slowly on a busy machine, so do not wait for them.
                stays_here = have_to_start(n_jobs)
                if not is_first:
                    start_meanwhile(n_jobs, self._time.left)
        predicts = options.n_predictions_kept != 0
        run = partial(_run_task, metric=self._metric, predicts=predicts)
        if stays_here:
            for job, request in jobs:
                with (
                    self._time.task("training", is_needed=is_first),
                    self._lent_memory(request.task),
                    adoption(None),
                ):
                    done = run(job.task, request.alone_reason, keeps_model=True)
                yield _end(job, *done)
            return
        limit = None if is_first else self._time.limit()
        delayed = joblib.delayed(partial(run, keeps_model=options.n_models_kept != 0))
        dispatch = {"n_jobs": n_jobs, "pre_dispatch": options.search.pre_dispatch}
        with self._trainer.outside():
            try:
                # If the backend can return results one by one, an interruption keeps the
                # finished ones.
                parallel = joblib.Parallel(return_as="generator", **dispatch)
            except ValueError:
                parallel = joblib.Parallel(**dispatch)
            tasks = (delayed(job.task, request.alone_reason) for job, request in jobs)
            results = iter(parallel(tasks))
            for job, _ in jobs:
                if limit is not None:
                    parallel.timeout = max(0.0, limit.seconds_left)
                try:
                    yield _end(job, *next(results))
                except NothingYetError:
                    raise TimeIsUpError from None
            # joblib ends a call when a result after the last is requested.
            next(results, None)


class _Handover:
    """Gives a task's network its training, once; other networks of its pipeline train."""

    def __init__(self, training: FoldTraining) -> None:
        self._training = training
        self._is_used = False
        # Whether the network got other samples, and so trained alone.
        self.is_declined = False

    def __call__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any
    ) -> TrainingState | None:
        request, trained = self._training.request, self._training.trained
        is_of_task = estimator is network_of(request.task.estimator)
        if self._is_used or trained is None or not is_of_task:
            return None
        self._is_used = True
        is_behind = estimator is not request.task.estimator
        if is_behind and not _are_samples_of(request.fit, X, y):
            # A transformer dropped from the cache was fitted again, with another result.
            self.is_declined = True
            return None
        if self._training.state is None:
            raise TrainingFailedError(trained.message)
        return self._training.state


def _are_samples_of(fit: Fit | None, X: Any, y: Any) -> bool:
    """Return whether samples and targets equal those that a fit trains on."""
    if fit is None:
        return True
    # Behind transformers the training samples come first, then the held-out samples.
    n_rows = len(fit.y) if fit.rows is None else len(fit.rows)
    return _are_first(X, fit.X, n_rows) and _are_first(y, fit.y, n_rows)


def _are_first(X: Any, all_: Any, n_rows: int) -> bool:
    """Return whether X equals the first rows of other data, as far as this is known."""
    if X is all_:
        return True
    if sparse.issparse(X) and sparse.issparse(all_):
        expected = all_[:n_rows]
        return bool(expected.shape == X.shape and (expected != X).nnz == 0)
    if isinstance(X, pd.DataFrame) and isinstance(all_, pd.DataFrame):
        if len(X) != n_rows or list(X.columns) != list(all_.columns):
            return False
        # Concatenated held-out samples may have changed the types of columns.
        expected = all_.iloc[:n_rows].set_axis(X.index, axis=0).astype(X.dtypes)
        return bool(expected.equals(X))
    if not (isinstance(X, np.ndarray) and isinstance(all_, np.ndarray)):
        return True
    if X.dtype.hasobject or all_.dtype.hasobject:
        return True
    expected = all_[:n_rows]
    # Most arrays have no NaN, and searching for it takes longer than comparing.
    return np.array_equal(expected, X) or (
        X.dtype.kind == "f" and np.array_equal(expected, X, equal_nan=True)
    )


def _end(
    job: Job, results: Any, outcome: FoldOutcome, model: Any, messages: Messages
) -> Scored:
    """End a task that ran without the engine, and pass on its warnings."""
    job.end(result=results)
    issue(messages)
    return outcome, model


def _trained_outcome(
    training: FoldTraining, trained: Trained, error: str | None, classes: Any, unscored: str
) -> FoldOutcome:
    """Return the outcome of a task that was trained by the engine.

    `error` is the error of its fit, `unscored` the reason why its predictions have no
    score; `classes` are the classes of its columns of probabilities.
    """
    request, held_out = training.request, None
    values = trained.predictions
    if values is not None and error is None:
        has_columns = isinstance(classes, np.ndarray) and values.shape[1:] == classes.shape
        held_out = HeldOut(
            rows=positions(request.task.test),
            values=restored_target(request.task.estimator, values),
            classes=classes if has_columns else None,
            is_of_predict=not is_classifier(request.task.estimator),
        )
    state = None if request.fit is None else request.fit.state
    n_before = 0 if state is None else len(state.history)
    final, train_loss = training.state, trained.train_loss
    n_epochs = max(0, len(train_loss) - n_before)
    return FoldOutcome(
        train_loss=train_loss,
        valid_loss=trained.monitor_loss,
        valid_score=trained.monitor_score,
        held=held_out,
        n_epochs=0 if trained.is_loaded else n_epochs,
        n_resumed=n_before,
        n_loaded=n_epochs if trained.is_loaded else 0,
        n_again=training.n_epochs_again,
        best_epoch=training.best_epoch,
        n_granted=training.n_epochs,
        n_granted_before=request.n_epochs_before,
        seconds=trained.seconds,
        engine=trained.engine,
        alone_reason=trained.alone_reason,
        reason="" if error is None else trained.message or str(error),
        unscored=unscored,
        # A missing score has its own reason.
        remark="" if error is not None or unscored else request.remark,
        inputs=request.inputs,
        n_weights=sum(w.size for w in final.weights.values()) if final else 0,
    )


def _cause_of_no_score(task: FoldTask, estimator: Any, result: Any, metric: str) -> str:
    """Return why a fitted estimator's predictions lack the deciding score, else ""."""
    score = _deciding(result["test_scores"], metric)
    if result["fit_error"] is not None or not math.isnan(score):
        return ""
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            X, y = task.samples(task.test, estimator)
            # scikit-learn passes no targets to a scorer if there are none.
            targets = () if y is None else (y,)
            params = method_params(task.X, params=task.score_params, indices=task.test)
            # Repeated scoring must not change a scorer with a state.
            scorer = copy.deepcopy(task.scorer)
            repeated = _deciding(scorer(estimator, X, *targets, **params), metric)
        except Exception as error:  # noqa: BLE001 - the error is the result
            return _first_line(str(error))
    if isinstance(repeated, str):
        # With several metrics, this is the text of the metric's error.
        return error_line(repeated).partition(": ")[2]
    causes = [w.message for w in caught if issubclass(w.category, UndefinedMetricWarning)]
    if causes:
        return _first_line(str(causes[-1]))
    return "the scorer returned nan" if math.isnan(repeated) else ""


def _deciding(scores: Any, metric: str) -> Any:
    """Return the deciding score: the given metric, or else the first."""
    if not isinstance(scores, dict):
        return scores
    return scores[metric] if metric in scores else next(iter(scores.values()))


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _run_task(
    task: Any, alone_reason: str, *, metric: str, predicts: bool, keeps_model: bool
) -> tuple[Any, FoldOutcome, Any, Messages]:
    """Run a task in a worker; return results, outcome, model and warnings for the user."""
    try:
        with collected_warnings() as messages:
            results = task()
    except BaseException:
        issue(messages)
        raise
    fold = fold_task(task)
    if fold is None:
        return results, FoldOutcome(alone_reason=alone_reason), None, messages
    outcome = _alone_outcome(fold, results[0], alone_reason, metric, predicts=predicts)
    return results, outcome, fold.estimator if keeps_model else None, messages


def _alone_outcome(
    task: FoldTask, result: Any, alone_reason: str, metric: str, *, predicts: bool
) -> FoldOutcome:
    """Return the outcome of a task that fitted its estimator."""
    error = result["fit_error"]
    if error is not None:
        # An error in preparation is reported once, by the task that raises it.
        return FoldOutcome(reason=str(error))
    cause = _cause_of_no_score(task, task.estimator, result, metric)
    held_out, remark = None, ""
    try:
        held_out = _held_out(task, predicts=predicts)
    except Exception as error:  # noqa: BLE001 - its predictions are optional
        # A missing score has its own reason.
        if hasattr(task.estimator, "predict") and not cause:
            why = f"because they failed ({error_text(error)})"
            remark = f"without held-out predictions, {why}"
    return FoldOutcome(
        held=held_out, unscored=cause, alone_reason=alone_reason, remark=remark
    )


def _held_out(task: FoldTask, *, predicts: bool) -> HeldOut:
    """Return a fitted task's predictions, or only the positions of its samples."""
    if not predicts:
        return HeldOut(rows=positions(task.test), values=None, classes=None)
    estimator, (X, _) = task.estimator, task.samples(task.test)
    memory = estimator.memory if type(estimator) is Pipeline else None
    if isinstance(memory, FoldCache) and memory.found_all:
        transformed, is_fixed = memory.store.held_out(estimator, task.test, X)
        if is_fixed:
            estimator, X = estimator.steps[-1][1], transformed
    return hold(estimator, X, task.test)


def _classes_of_fold(task: FoldTask) -> Array | None:
    """Return the labels of a fold; None unless each sample has one label."""
    try:
        y = np.asarray(take_rows(task.y, task.train))
        return np.unique(y) if y.ndim == 1 else None
    except Exception:  # noqa: BLE001 - the task itself will raise
        return None


def _needs_stand_in_only(network: NetworkEstimator, task: FoldTask) -> bool:
    """Return whether the scorers of a task need only methods of the stand-in."""
    scorers = scorers_in(task.scorer)
    if scorers is None:
        return False
    known_methods = {"predict", "predict_proba"} if is_classifier(network) else {"predict"}
    for metric in (scorer_metric(scorer, task.estimator) for scorer in scorers):
        methods = () if metric is None else metric.response_methods
        # scikit-learn takes the first available method.
        if next((m for m in methods if hasattr(network, m)), None) not in known_methods:
            return False
    return True
