"""Requests, results, and how progress is told."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def test_a_result_travels_by_pickle():
    """Workers send it back as it is."""
    copy = pickle.loads(pickle.dumps(_trained()))

    np.testing.assert_array_equal(copy.predictions, np.arange(3.0))
    np.testing.assert_array_equal(copy.train_loss, [0.5, 0.25])
    assert (copy.status, copy.engine, copy.seconds) == ("trained", "fleet", 1.5)
    assert copy.state.history == HISTORY


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


def test_epochs_in_training_and_of_fits_that_ended_are_added():
    """Two fits of four epochs: half of the first, all of it, and the second at once."""
    seen = []
    reporter = ProgressReporter(seen.append, {0: 4, 1: 4})

    reporter.epoch_done(1)
    reporter.epoch_done(1)
    reporter.fits_done({0: _trained_progress(0.5, 0.75)})
    reporter.fits_done({1: _trained_progress(0.25)})

    assert [p.n_epochs_done for p in seen] == [1, 2, 4, 8]
    assert [p.n_fits_done for p in seen] == [0, 0, 1, 2]
    assert {(p.n_fits, p.n_epochs) for p in seen} == {(2, 8)}


def test_the_best_score_is_that_of_the_last_epoch_of_a_fit():
    """Not of an epoch on the way; fits without a score do not count."""
    seen = []
    reporter = ProgressReporter(seen.append, dict.fromkeys(range(4), 2))

    reporter.fits_done({0: _trained_progress()})
    reporter.fits_done({1: _trained_progress(0.9, 0.5), 2: _trained_progress(math.nan)})
    reporter.fits_done({3: _trained_progress(-2.0)})

    np.testing.assert_array_equal([p.best_score for p in seen], [np.nan, 0.5, 0.5])


def test_the_time_left_is_in_proportion_to_the_epochs_left(monkeypatch):
    """A quarter of the epochs in six seconds leaves eighteen."""
    clock = iter([100.0, 106.0, 108.0])
    monkeypatch.setattr("sk_tune.engine._fits.time.perf_counter", lambda: next(clock))
    seen = []
    reporter = ProgressReporter(seen.append, {0: 1, 1: 3})

    reporter.epoch_done(1)
    reporter.fits_done({0: _trained_progress(), 1: _trained_progress()})

    assert [(p.seconds, p.seconds_left) for p in seen] == [(6.0, 18.0), (8.0, 0.0)]


def test_the_time_left_is_unknown_before_the_first_epoch():
    """It is NaN, not infinite."""
    seen = []

    ProgressReporter(seen.append, {0: 5}).fits_done({})

    assert math.isnan(seen[0].seconds_left)


def test_nobody_needs_to_listen():
    """Without a callable the counting goes on in silence."""
    reporter = ProgressReporter(None, {0: 1})

    assert reporter.epoch_done(1) is None
    assert reporter.fits_done({0: _trained_progress(0.5)}) is None


@given(
    n_epochs=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    data=st.data(),
)
def test_progress_never_goes_back(n_epochs, data):
    """Whatever fleets the fits are cut into, and wherever their rows end."""
    seen = []
    reporter = ProgressReporter(seen.append, dict(enumerate(n_epochs)))
    waiting = list(range(len(n_epochs)))

    while waiting:
        size = data.draw(st.integers(1, len(waiting)))
        fleet, waiting = waiting[:size], waiting[size:]
        ends = [data.draw(st.integers(1, n_epochs[i])) for i in fleet]
        for epoch in range(max(ends)):
            reporter.epoch_done(sum(end > epoch for end in ends))
        reporter.fits_done({i: _trained_progress(0.5) for i in fleet})

    done = [p.n_epochs_done for p in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].n_epochs == sum(n_epochs)
    assert all(p.seconds_left >= 0 for p in seen)


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


def test_tasks_without_order_are_numbered_too():
    """A context whose subtasks may run side by side needs their numbers."""
    assert len(set(_tasks(sequential=False))) == 2 * (N_FITS + 1)
