# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tasks of a search, run: with the trainings of their networks, or in joblib's workers.

The engine has the predictions of the held-out samples when a network is trained.  A task
that only wants a score of them needs no network: to make one, check the samples and compute
them again takes several times as long as the metric.  Then an estimator that knows these
predictions stands in for the network.
"""

import copy
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import TimeoutError as NothingYetError
from typing import Any, Self

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.pipeline import Pipeline

from sk_tune._compat import (
    FoldTask,
    callbacks_of,
    callbacks_see_fits,
    fitted_by,
    fold_task,
    method_params,
    num_samples,
    scorers_in,
)
from sk_tune._metric import scorer_metric
from sk_tune._text import error_line
from sk_tune.adoption import adoption
from sk_tune.engine import Fit, have_to_start, start_meanwhile
from sk_tune.estimators import NetworkEstimator, predicts_unchanged, take_rows
from sk_tune.exceptions import TrainingFailedError, telling_later, warn_user
from sk_tune.search._fold_fits import FoldCache, network_of
from sk_tune.search._network_training import Trainer
from sk_tune.search._outcomes import (
    FoldOutcome,
    HeldOut,
    SearchOptions,
    Work,
    hold,
    positions,
    trained_outcome,
)
from sk_tune.search._time_budget import TimeBudget
from sk_tune.training import TimeIsUpError, TrainingState, is_small, one_thread

Array = npt.NDArray[Any]

_OTHER_ROWS = "its transformers were fitted anew, and gave it other rows"


class TaskRunner:
    """Runs tasks of a search whose networks were trained, and those that train none."""

    def __init__(self, trainer: Trainer, options: SearchOptions, time: TimeBudget) -> None:
        self._trainer = trainer
        self._maker = trainer.maker
        self._options = options
        # The metric that decides, if there are several and it is named.
        self._metric = options.refit if isinstance(options.refit, str) else ""
        self._time = time
        # Classes by the id of a fold's samples. The samples are kept, so that no others get
        # the id.
        self._classes: dict[int, tuple[Any, Any]] = {}

    def run_trained(self, work: Work) -> None:
        """Run the task of a trained network, which adopts its training if it is needed."""
        task, trained = work.task, work.trained
        if trained is None:
            return
        known = None if self._options.n_models_kept != 0 else self._known(work)
        if known is not None:
            # An estimator that looks at no samples spares the time to cut out a fold.
            n_rows = num_samples(task.X)
            X = task.X if callbacks_of(task) else np.arange(n_rows)[:, np.newaxis]
            with fitted_by(work.job.task, known, X):
                work.job.end(result=work.job.task())
        elif not self._run_adopting(work):
            return
        result = work.job.result[0]
        if "fit_time" in result:
            result["fit_time"] += trained.seconds
        model = known or task.estimator
        classes = getattr(model, "classes_", None)
        cause = _cause_of_no_score(task, model, result, self._metric)
        work.outcome = trained_outcome(work, trained, result["fit_error"], classes, cause)

    def _known(self, work: Work) -> "PredictedClassifier | PredictedRegressor | None":
        """Return what a task can be scored by instead of its trained network.

        None if the task has to fit its network: if a scorer may look at more than the
        predictions of the held-out samples, the network's class predicts otherwise than the
        engine does, or transformers in front of it may give other samples each time.
        """
        task, network = work.task, network_of(work.task.estimator)
        predictions = None if work.trained is None else work.trained.predictions
        if work.state is None or not work.is_exact:
            return None
        if not isinstance(network, NetworkEstimator) or not predicts_unchanged(network):
            return None
        is_plain = task.estimator is network or type(task.estimator) is Pipeline
        if not is_plain or task.scores_train or callbacks_see_fits(task):
            return None
        if predictions is None or len(predictions) != len(task.test):
            return None
        if not np.isfinite(predictions).all() or not _asks_predicted(network, task):
            # The scorer says what it thinks of such predictions.
            return None
        if not is_classifier(network):
            return PredictedRegressor(predictions)
        fold = id(task.train)
        if fold not in self._classes:
            self._classes[fold] = (_classes_of_fold(task), task.train)
        classes = self._classes[fold][0]
        if classes is None or predictions.shape[1:] != classes.shape:
            return None
        return PredictedClassifier(predictions, classes)

    def _run_adopting(self, work: Work) -> bool:
        """Run a task; return whether its network took the training that there is."""
        task, job = work.task, work.job
        answer = _Answer(work)
        with (
            self._lent_memory(task),
            adoption(answer),
            one_thread(wanted=work.state is not None and is_small(work.state, task.X)),
        ):
            job.end(result=job.task())
        work.model = task.estimator
        if answer.is_declined:
            error = job.result[0]["fit_error"]
            predicts = self._options.n_predictions_kept != 0
            work.outcome = FoldOutcome(
                held=_held_out(task, predicts) if error is None else None,
                seconds=0.0 if work.trained is None else work.trained.seconds,
                solo_reason=_OTHER_ROWS,
                reason="" if error is None else str(error),
            )
        return not answer.is_declined

    @contextmanager
    def _lent_memory(self, task: FoldTask) -> Iterator[None]:
        """Let a pipeline without a memory use that of the search while its task runs."""
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
        self, works: Sequence[Work], *, is_first: bool, stays_here: bool
    ) -> None:
        """Run tasks without a network.

        Raises ``TimeIsUpError`` if the time is up before the last.
        """
        options, n_jobs = self._options, self._options.n_jobs
        with self._trainer.outside():
            stays_here = stays_here or joblib.effective_n_jobs(n_jobs) == 1
            if not stays_here and self._time.is_limited:
                # Nobody waits for workers: they take long on a machine that others use.
                stays_here = have_to_start(n_jobs)
                if not is_first:
                    start_meanwhile(n_jobs, self._time.left)
        predicts = options.n_predictions_kept != 0
        if stays_here:
            for work in works:
                with (
                    self._time.task("training", is_needed=is_first),
                    self._lent_memory(work.task),
                    adoption(None),
                ):
                    done = _run_task(work.job.task, True, predicts, self._metric)
                _end(work, *done)
            return
        limit = None if is_first else self._time.limit()
        own = options.n_models_kept != 0, predicts, self._metric
        settings = {"n_jobs": n_jobs, "pre_dispatch": options.pre_dispatch}
        with self._trainer.outside():
            try:
                # Results come one by one if the backend can do so: who is interrupted then
                # has those that are there.
                parallel = joblib.Parallel(return_as="generator", **settings)
            except ValueError:
                parallel = joblib.Parallel(**settings)
            run = joblib.delayed(_run_task)
            results = iter(parallel(run(w.job.task, *own) for w in works))
            for work in works:
                if limit is not None:
                    parallel.timeout = max(0.0, limit.seconds_left)
                try:
                    _end(work, *next(results))
                except NothingYetError:
                    raise TimeIsUpError from None
            # joblib ends a call when it is asked for what comes after the last result.
            next(results, None)


class _Answer:
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


def _end(
    work: Work,
    results: Any,
    held: HeldOut | None,
    model: Any,
    unscored: str,
    told: Mapping[str, str],
) -> None:
    """Note the outcome of a task that the engine trained no network for, and warn of it."""
    work.job.end(result=results)
    _tell(told)
    error = results[0]["fit_error"]
    work.outcome = FoldOutcome(
        held=held,
        reason="" if error is None else str(error),
        unscored=unscored,
        # What ended the preparation is reported once, where the task itself raises it.
        solo_reason=work.solo_reason if error is None else "",
    )
    work.model = model


def _cause_of_no_score(task: FoldTask, estimator: Any, result: Any, metric: str) -> str:
    """Return why a fitted estimator's predictions lack the score that decides, if so."""
    score = _deciding(result["test_scores"], metric)
    if result["fit_error"] is not None or not math.isnan(score):
        return ""
    with warnings.catch_warnings(record=True, action="always") as told:
        try:
            X, y = task.samples(task.test, estimator)
            # scikit-learn hands a scorer no targets if there are none.
            targets = () if y is None else (y,)
            given = method_params(task.X, params=task.score_params, indices=task.test)
            # Scoring once more must not change a scorer that has a state.
            scorer = copy.deepcopy(task.scorer)
            found = _deciding(scorer(estimator, X, *targets, **given), metric)
        except Exception as error:  # noqa: BLE001 - it is what is asked for
            return _first_line(str(error))
    if isinstance(found, str):
        # Where there are several metrics, it is the text of the error of this one.
        return error_line(found).partition(": ")[2]
    causes = [w.message for w in told if issubclass(w.category, UndefinedMetricWarning)]
    if causes:
        return _first_line(str(causes[-1]))
    return "the scorer returned nan" if math.isnan(found) else ""


def _deciding(scores: Any, metric: str) -> Any:
    """Return which of several scores decides: that of a metric, or else the first."""
    if not isinstance(scores, dict):
        return scores
    return scores[metric] if metric in scores else next(iter(scores.values()))


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _tell(told: Mapping[str, str]) -> None:
    for about, message in told.items():
        warn_user(message, about=about)


def _run_task(
    task: Any,
    keeps_model: bool,  # noqa: FBT001
    predicts: bool,  # noqa: FBT001
    metric: str,
) -> tuple[Any, HeldOut | None, Any, str, dict[str, str]]:
    """Run a task in a worker.

    Return its results, held-out predictions, the model, why it lacks the score of the
    metric that decides, and what the user is to be told.
    """
    try:
        with telling_later() as told:
            results = task()
    except BaseException:
        _tell(told)
        raise
    fold = fold_task(task)
    if fold is None:
        return results, None, None, "", told
    model = fold.estimator if keeps_model else None
    cause = _cause_of_no_score(fold, fold.estimator, results[0], metric)
    return results, _held_out(fold, predicts), model, cause, told


def _held_out(task: FoldTask, predicts: bool) -> HeldOut | None:  # noqa: FBT001
    """Return a fitted task's predictions, or only for which samples they would be."""
    if not predicts:
        return HeldOut(rows=positions(task.test), values=None, classes=None)
    estimator, (X, _) = task.estimator, task.samples(task.test)
    memory = estimator.memory if type(estimator) is Pipeline else None
    if isinstance(memory, FoldCache) and memory.was_known:
        transformed, is_fixed = memory.store.held_out(estimator, task.test, X)
        if is_fixed:
            estimator, X = estimator.steps[-1][1], transformed
    return hold(estimator, X, task.test)


class _Predicted(BaseEstimator):  # type: ignore[misc]
    """Takes any parameters, learns nothing, and responds to the held-out samples only."""

    def set_params(self, **params: Any) -> Self:
        """Take the parameters of a candidate for what they are: those of its network."""
        return self

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class PredictedClassifier(ClassifierMixin, _Predicted):  # type: ignore[misc]
    """A classifier whose probabilities of the held-out samples, (n_test, C), are known."""

    def __init__(self, probabilities: Array, classes: Array) -> None:
        self.probabilities = probabilities
        self.classes = self.classes_ = classes

    def predict_proba(self, X: Any) -> Array:
        # A metric must not change what is kept.
        return self.probabilities.copy()

    def predict(self, X: Any) -> Array:
        labels: Array = self.classes[self.probabilities.argmax(axis=1)]
        return labels


class PredictedRegressor(RegressorMixin, _Predicted):  # type: ignore[misc]
    """A regressor whose predictions of the held-out samples are known."""

    def __init__(self, predictions: Array) -> None:
        self.predictions = predictions

    def predict(self, X: Any) -> Array:
        return self.predictions.copy()


def _classes_of_fold(task: FoldTask) -> Array | None:
    """Return the labels of a fold; None where samples have none or several."""
    try:
        y = np.asarray(take_rows(task.y, task.train))
        return np.unique(y) if y.ndim == 1 else None
    except Exception:  # noqa: BLE001 - the task says what is wrong with them
        return None


def _asks_predicted(network: NetworkEstimator, task: FoldTask) -> bool:
    """Return whether the scorers of a task ask its network for what is known."""
    scorers = scorers_in(task.scorer)
    if scorers is None:
        return False
    known = {"predict", "predict_proba"} if is_classifier(network) else {"predict"}
    for metric in (scorer_metric(scorer, task.estimator) for scorer in scorers):
        methods = () if metric is None else metric.response_methods
        # scikit-learn takes the first method that there is.
        if next((m for m in methods if hasattr(network, m)), None) not in known:
            return False
    return True
