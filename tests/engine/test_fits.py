"""Requests, results, and how progress is told."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.datasets import load_iris

from sk_tune import MLPClassifier
from sk_tune.engine import Fit, Trained, callback_progress, train
from sk_tune.engine._fits import ProgressReporter
from sk_tune.training import TrainingState

HISTORY = (
    {"epoch": 1, "train_loss": 0.5, "monitor_loss": 0.75, "monitor_score": 0.25},
    {"epoch": 2, "train_loss": 0.25},
)


def _trained(**changes):
    own = {
        "status": "trained",
        "state": TrainingState(seed=3, weights={}, moments={}, history=HISTORY),
        "predictions": np.arange(3.0),
        "message": "",
        "seconds": 1.5,
        "engine": "fleet",
    }
    return Trained(**{**own, **changes})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_loss", [0.5, 0.25]),
        ("monitor_loss", [0.75, np.nan]),
        ("monitor_score", [0.25, np.nan]),
    ],
)
def test_curves_have_one_value_for_each_epoch(name, expected):
    """They come from the history, with NaN where an epoch has no such value."""
    curve = getattr(_trained(), name)

    assert curve.dtype == np.float64
    np.testing.assert_array_equal(curve, expected)


@pytest.mark.parametrize("name", ["train_loss", "monitor_loss", "monitor_score"])
def test_the_curves_of_a_failed_fit_are_empty(name):
    """There is no epoch to tell of."""
    failed = _trained(status="failed", state=None, predictions=None, message="why")

    assert getattr(failed, name).shape == (0,)


def _trained_progress(*scores):
    state = None
    if scores:
        history = tuple({"monitor_score": score} for score in scores)
        state = TrainingState(seed=0, weights={}, moments={}, history=history)
    return Trained(
        status="trained" if scores else "failed",
        state=state,
        predictions=None,
        message="",
        seconds=0.0,
        engine="fleet",
    )


def test_the_time_left_is_in_proportion_to_the_epochs_left(monkeypatch):
    """A quarter of the epochs in six seconds leaves eighteen."""
    clock = iter([100.0, 106.0, 108.0])
    monkeypatch.setattr("sk_tune.engine._fits.time.perf_counter", lambda: next(clock))
    seen = []
    reporter = ProgressReporter(seen.append, {0: 1, 1: 3})

    reporter.epoch_done(1)
    reporter.fits_done({0: _trained_progress(), 1: _trained_progress()})

    assert [(p.seconds, p.seconds_left) for p in seen] == [(6.0, 18.0), (8.0, 0.0)]


@pytest.mark.parametrize("n_more", [1, 100])
def test_epochs_trained_again_are_not_counted_beyond_the_end(n_more):
    """A fleet that was started over, smaller, does not bring more than all epochs."""
    seen = []
    reporter = ProgressReporter(seen.append, {0: 2})

    for _ in range(2 + n_more):
        reporter.epoch_done(1)

    assert [p.n_epochs_done for p in seen][-1] == 2


N_FITS = 3


class _Recorder:
    def setup(self, estimator, context):
        self.seen = []

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **kwargs):
        self.seen.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, **kwargs):
        self.seen.append(("end", context.task_name, context.task_id))


class _Caller(CallbackSupportMixin, BaseEstimator):
    def __init__(self, sequential=True):
        self.sequential = sequential

    @with_callbacks
    def fit(self, X, y):
        context = self._init_callback_context(
            max_subtasks=N_FITS, sequential_subtasks=self.sequential
        )
        context.call_on_fit_task_begin(estimator=self)
        fits = [
            Fit(estimator=MLPClassifier(max_epochs=1, width=4), X=X, y=y, seed=seed)
            for seed in range(N_FITS)
        ]
        train(fits, progress=callback_progress(context, self))
        context.call_on_fit_task_end(estimator=self)
        return self


def _tasks(*, sequential):
    recorder = _Recorder()
    _Caller(sequential).set_callbacks(recorder).fit(*load_iris(return_X_y=True))
    return recorder.seen


def test_every_fit_is_a_task_between_begin_and_end_of_the_caller():
    """Each begins and ends once, in order."""
    networks = [(kind, "network", i) for i in range(N_FITS) for kind in ("begin", "end")]

    assert _tasks(sequential=True) == [("begin", "fit", 0), *networks, ("end", "fit", 0)]
