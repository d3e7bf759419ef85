"""Contract 3: every fit has a result, and a failed one disturbs no other."""

import os
import re
import threading
import time
from dataclasses import replace
from multiprocessing import parent_process

import numpy as np
import pytest
from modules import OneLayer
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from sk_tune import MLPClassifier, NetClassifier, RNNClassifier
from sk_tune._engine import Fit, train
from sk_tune.exceptions import SkTuneWarning

ROWS, MONITOR = np.arange(150), np.arange(150, 200)
BASE = {"batch_size": 32, "learning_rate": 0.005, "max_epochs": 3}
NAME = "candidate 3, fold 1"

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning"
)


class Fragile(OneLayer):
    """A module that raises an error when it trains on a batch of 22 samples."""

    error = RuntimeError

    def forward(self, x):
        if self.training and x.shape[0] == 22:
            raise Fragile.error("a batch of 22 samples")
        return self.output(x)


class NeedsTwo(OneLayer):
    """A module that refuses a single sample."""

    def forward(self, x):
        if len(x) == 1:
            raise ValueError("one sample is too few")
        return self.output(x)


class RaisesAtOnce(OneLayer):
    """A module that cannot compute anything."""

    def forward(self, x):
        raise RuntimeError("no forward today")


class TooLarge(nn.Module):
    """A module that does not fit into memory."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        raise MemoryError("no room for the weights")


def _mlp(**params):
    return MLPClassifier(**{
        **BASE,
        "hidden_layer_sizes": (8,),
        "optimizer": "sgd",
        **params,
    })


def _net(module, **params):
    return NetClassifier(**{**BASE, "module": module, **params})


def _fit(data, estimator=None, **changes):
    own = {"X": data.X, "y": data.y, "rows": ROWS, "monitor": MONITOR, "seed": 0}
    return Fit(estimator=estimator or _mlp(), **{**own, "name": NAME, **changes})


def _good(data):
    return [_fit(data, _mlp(learning_rate=0.01 * (i + 1)), seed=i) for i in range(3)]


def _with_nan(X):
    X = X.copy()
    X[3, 5] = np.nan
    return X


def _other_state(data):
    (trained,) = train([_fit(data, _mlp(hidden_layer_sizes=(5,)))])
    return trained.state


# What fails, and what the message says beside the fit's name.
FAILURES = {
    "diverging": (lambda d: _fit(d, _mlp(learning_rate=1e6)), "loss became (nan|inf) at"),
    "dropout": (lambda d: _fit(d, _mlp(dropout=2.0)), "'dropout' parameter"),
    "learning rate": (lambda d: _fit(d, _mlp(learning_rate=-1.0)), "'learning_rate'"),
    "optimizer": (lambda d: _fit(d, _mlp(optimizer="adagrad")), "'optimizer' parameter"),
    "layers": (lambda d: _fit(d, _mlp(hidden_layer_sizes=(8, 0.5))), "hidden_layer_sizes"),
    "max_epochs=0": (lambda d: _fit(d, _mlp(max_epochs=0)), "'max_epochs' parameter"),
    "device": (lambda d: _fit(d, _mlp(device="tpu")), "'device' parameter"),
    "NaN in X": (lambda d: _fit(d, X=_with_nan(d.X)), "NaN"),
    "NaN to monitor": (
        lambda d: _fit(d, X=_with_nan(d.X), rows=ROWS[9:], monitor=ROWS),
        "NaN",
    ),
    "NaN in y": (lambda d: _fit(d, y=np.where(d.y == 3, np.nan, d.y)), "NaN"),
    "lengths": (lambda d: _fit(d, y=d.y[:100]), "out of bounds|inconsistent"),
    "rows": (lambda d: _fit(d, rows=np.arange(900)), "out of bounds"),
    "no rows": (lambda d: _fit(d, rows=np.arange(0)), "0 sample"),
    "weights": (lambda d: _fit(d, sample_weight=-np.ones(200)), "weight"),
    "one class": (lambda d: _fit(d, rows=ROWS[:1]), "only one class"),
    "one row and batch norm": (
        lambda d: _fit(d, _mlp(normalization="batch", batch_size=1)),
        "at least 2 rows",
    ),
    "foreign state": (lambda d: _fit(d, state=_other_state(d)), "size mismatch"),
    "module's argument": (
        lambda d: _fit(d, _net(Fragile, module__width=3)),
        "no argument 'width'",
    ),
    "forward": (lambda d: _fit(d, _net(RaisesAtOnce)), "RuntimeError: no forward today"),
    "memory": (lambda d: _fit(d, _net(TooLarge)), "MemoryError: no room for the weights"),
    "cell": (
        lambda d: _fit(d, RNNClassifier(cell="rnn", activation="gelu", input_shape=(8, 8))),
        "'activation' parameter",
    ),
}
ABORTING = {
    "max_epochs is text": (lambda d: _fit(d, _mlp(max_epochs="many")), "'max_epochs'"),
    "max_epochs is None": (lambda d: _fit(d, _mlp(max_epochs=None)), "'max_epochs'"),
    "random_state is text": (
        lambda d: _fit(d, _mlp(random_state="x"), seed=None),
        "'random_state'",
    ),
    "callbacks is a number": (lambda d: _fit(d, _mlp(callbacks=3)), "'callbacks'"),
}


@pytest.fixture(scope="module")
def undisturbed(digits):
    """Return the results of three good fits without a failing fit."""
    return train(_good(digits))


def _alone_if(way, fit):
    """Return the fit, with a callback, which no fleet has, if it is to be trained alone."""
    if way == "fleet" or not isinstance(fit.estimator, MLPClassifier):
        return fit
    estimator = clone(fit.estimator)
    if estimator.callbacks is None:
        estimator.set_params(callbacks=[Callback()])
    return replace(fit, estimator=estimator)


def _assert_equal(ours, reference):
    for a, b in zip(ours, reference, strict=True):
        assert (a.status, b.status) == ("trained", "trained")
        np.testing.assert_array_equal(a.predictions, b.predictions)
        np.testing.assert_array_equal(a.monitor_score, b.monitor_score)
        # The mean over an epoch is summed over networks side by side, in float32.
        np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=1e-6)
        np.testing.assert_allclose(a.monitor_loss, b.monitor_loss, rtol=1e-6)
        for name, array in b.state.weights.items():
            np.testing.assert_array_equal(a.state.weights[name], array)


def _assert_failed(trained):
    assert trained.status == "failed"
    assert trained.state is None
    assert trained.predictions is None
    assert trained.message.startswith(f"{NAME}: ")
    assert len(trained.train_loss) == len(trained.monitor_score) == 0
    assert trained.seconds >= 0


@pytest.mark.parametrize("way", ["fleet", "alone"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        *(pytest.param(*FAILURES[case], id=case) for case in FAILURES),
        *(pytest.param(*ABORTING[case], id=case) for case in ABORTING),
    ],
)
def test_a_failed_fit_says_why_and_disturbs_no_other(
    make, message, way, digits, undisturbed
):
    """It names candidate, fold and reason; its neighbours have the same weights."""
    good = _good(digits)

    trained = train([good[0], _alone_if(way, make(digits)), *good[1:]])

    _assert_failed(trained[1])
    assert re.search(message, trained[1].message)
    _assert_equal([trained[0], *trained[2:]], undisturbed)


def test_a_divergence_has_the_same_reason_in_a_fleet_and_alone(digits):
    """Epoch, loss and advice are the same, wherever the network was trained."""
    fits = [
        _fit(digits, _mlp(learning_rate=rate, max_epochs=9), seed=seed)
        for seed, rate in enumerate((1e3, 1e5, 1e8, 1e20))
    ]

    networks = train(fits)
    twins = train([_alone_if("alone", fit) for fit in fits])

    assert [n.message for n in networks] == [twin.message for twin in twins]
    assert all("Lower learning_rate" in network.message for network in networks)


@pytest.mark.parametrize(
    "make",
    [
        lambda **params: RNNClassifier(**BASE | {"input_shape": (8, 8)} | params),
        lambda **params: _net(nn.Linear, module__in_features=64, **params),
    ],
    ids=["rnn", "net"],
)
def test_a_diverging_network_of_any_kind_disturbs_no_other(make, digits):
    """Infinite weights of one network stay in it also where autograd computes the fleet."""
    make = _with_outputs(make)
    wild = {"optimizer": "sgd", "learning_rate": 1e30, "gradient_clip": None}
    calm = {"optimizer": "sgd", "gradient_clip": 0.5}
    good = [_fit(digits, make(**calm), seed=seed) for seed in range(3)]

    trained = train([good[0], _fit(digits, make(**wild)), *good[1:]])

    _assert_failed(trained[1])
    _assert_equal([trained[0], *trained[2:]], train(good))


def _with_outputs(make):
    """Name the number of outputs where the module calls it otherwise."""

    def make_with_outputs(**params):
        estimator = make(**params)
        if isinstance(estimator, NetClassifier):
            estimator.set_params(module__out_features=10)
        return estimator

    return make_with_outputs


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyError])
def test_an_error_in_the_middle_of_a_fleet_costs_one_network(error, digits, monkeypatch):
    """The faulty network fails; the remaining networks train alone, with a warning."""
    monkeypatch.setattr(Fragile, "error", error)
    good = [_fit(digits, _net(Fragile), rows=np.arange(n), seed=n) for n in (128, 140)]
    bad = _fit(digits, _net(Fragile))
    expected = [train([fit])[0] for fit in good]

    with pytest.warns(SkTuneWarning, match="a batch of 22 samples"):
        trained = train([good[0], bad, good[1]])

    _assert_failed(trained[1])
    assert "a batch of 22 samples" in trained[1].message
    assert error.__name__ in trained[1].message
    for ours, reference in zip(trained[::2], expected, strict=True):
        assert ours.status == "trained"
        np.testing.assert_allclose(ours.predictions, reference.predictions, atol=1e-5)


def test_an_interrupt_ends_the_call(digits, monkeypatch):
    """Ctrl-C is not a failed fit; it is raised."""
    monkeypatch.setattr(Fragile, "error", KeyboardInterrupt)

    with pytest.raises(KeyboardInterrupt):
        train([_fit(digits, _net(Fragile))])


@pytest.mark.parametrize("way", ["fleet", "alone"])
def test_a_monitor_may_hold_classes_that_training_lacks(way, digits):
    """Losses are of the known classes, probabilities too; the neighbours are the same."""
    y = digits.y.copy()
    y[MONITOR[:20]] = 77
    other = _alone_if(way, _fit(digits, y=y))

    trained = train([*_good(digits), other])

    known = _alone_if(way, _fit(digits, monitor=MONITOR[20:]))
    (reference,) = train([known])
    assert trained[-1].predictions.shape == (50, 10)
    np.testing.assert_allclose(trained[-1].monitor_loss, reference.monitor_loss, rtol=1e-5)
    _assert_equal(trained[:-1], train(_good(digits)))


def test_a_module_that_refuses_a_lone_sample_is_trained(digits):
    """No training batch has a single sample, so it trains as it does alone."""
    trained = train([_fit(digits, _net(NeedsTwo)), _fit(digits)])

    assert [t.status for t in trained] == ["trained", "trained"]


@pytest.mark.usefixtures("workers_for_little")
def test_a_fit_that_cannot_be_pickled_costs_only_itself(digits):
    """A callback that cannot be pickled fails its fit, or trains in this process."""
    callback = Callback()
    callback.lock = threading.Lock()

    trained = train([_fit(digits, _mlp(callbacks=[callback])), _fit(digits)], n_jobs=2)

    assert trained[1].status == "trained"


# --- Workers that die


def _deadly_module(marker, *, always, after=None):
    """Return a module that ends a worker process, the first time or whenever it is made.

    It is defined in a function so that it travels to the workers by value.  It waits, not
    for ever, until another one has begun, if `after` names its marker.  The process that
    plans the training makes it, too, and survives.
    """

    class Deadly(OneLayer):
        def __init__(self, n_features, n_outputs):
            super().__init__(n_features, n_outputs)
            if parent_process() is None:
                return
            for _ in range(0 if after is None else 200):
                if after.exists():
                    break
                time.sleep(0.1)
            if always or not marker.exists():
                marker.touch()
                os._exit(1)

    return Deadly


@pytest.mark.slow
@pytest.mark.usefixtures("workers_for_little")
def test_a_worker_that_dies_costs_at_most_its_shard(digits, tmp_path):
    """Lost fits are retried once; fits lost twice are reported as failed."""
    once = _deadly_module(tmp_path / "once", always=False)
    # The one that dies once does so in the first round, and not when it is tried again.
    always = _deadly_module(tmp_path / "always", always=True, after=tmp_path / "once")
    good = _good(digits)
    fits = [
        good[0],
        _fit(digits, _net(always, max_epochs=1)),
        good[1],
        _fit(digits, _net(once, max_epochs=20)),
        good[2],
    ]

    trained = train(fits, n_jobs=2)

    assert (tmp_path / "once").exists()
    assert (tmp_path / "always").exists()
    assert (trained[3].status, trained[3].message) == ("trained", "")
    _assert_failed(trained[1])
    assert "its worker process died" in trained[1].message
    for ours, reference in zip(trained[::2], train(good), strict=True):
        assert ours.status == "trained"
        np.testing.assert_allclose(ours.predictions, reference.predictions, atol=1e-5)
