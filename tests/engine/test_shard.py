"""Shards of one process, and their results."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from torch import nn

from sk_tune import MLPClassifier, NetClassifier, RNNClassifier
from sk_tune._engine import Fit, _shard, train
from sk_tune._engine._shard import Shard, train_alone, train_shard
from sk_tune._estimators import FitPreparer
from sk_tune._fleets import train_fleet

ROWS, MONITOR = np.arange(150), np.arange(150, 200)
BASE = {"max_epochs": 2, "batch_size": 32}
GIBIBYTE = 2**30


class Users(nn.Sequential):
    """A user's module of any width."""

    def __init__(self, n_features, n_outputs, width=4):
        first, last = nn.Linear(n_features, width), nn.Linear(width, n_outputs)
        super().__init__(first, nn.Tanh(), last)


def _mlp(**params):
    return MLPClassifier(**{**BASE, "hidden_layer_sizes": (8,), **params})


def _fit(data, estimator=None, **changes):
    own = {"X": data.X, "y": data.y, "rows": ROWS, "monitor": MONITOR, "seed": 0}
    return Fit(estimator=estimator or _mlp(), **{**own, **changes})


def _train(fits, *, as_fleet=True, epoch_done=None):
    shard = Shard(fits=dict(fits), as_fleet=as_fleet, memory_limit=GIBIBYTE)
    return train_shard(shard, epoch_done)


@pytest.fixture
def fleets(monkeypatch):
    """Record the number of networks that each fleet trains at once."""
    sizes = []

    def recording(rows, recipe, n_rows, progress, **more):
        sizes.append(n_rows)
        return train_fleet(rows, recipe, n_rows, progress, **more)

    monkeypatch.setattr(_shard, "train_fleet", recording)
    return sizes


def test_modules_of_unequal_structure_become_several_fleets(digits, fleets):
    """Fits that differ in a module argument are separated here."""
    widths = [4, 6, 4, 6, 6]
    fits = {
        i: _fit(digits, NetClassifier(Users, module__width=width, **BASE), seed=i)
        for i, width in enumerate(widths)
    }

    trained = _train(fits)

    assert len(fleets) == 2
    assert not any(result.alone_reason for result in trained.values())
    for i, width in enumerate(widths):
        assert trained[i].engine == "fleet"
        assert trained[i].state.seed == i
        assert len(trained[i].state.weights["0.bias"]) == width


def test_sequences_of_unequal_length_become_several_fleets(digits, fleets):
    """Though networks of both have weights of the same shapes."""
    X, net = digits.X.reshape(-1, 8, 8), RNNClassifier(hidden_size=4, **BASE)
    trained = _train({n: _fit(digits, net, X=X[:, :n]) for n in (8, 5)})

    assert len(fleets) == 2
    assert not any(result.alone_reason for result in trained.values())


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("as_fleet", [True, False], ids=["fleet", "alone"])
def test_torch_computes_in_one_thread_and_has_its_threads_back(
    as_fleet, digits, monkeypatch
):
    """Also if the training is interrupted."""
    seen = []

    class Watching(Users):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            if len(seen) > 3:
                raise KeyboardInterrupt
            return super().forward(x)

    with pytest.raises(KeyboardInterrupt):
        _train({0: _fit(digits, NetClassifier(Watching, **BASE))}, as_fleet=as_fleet)

    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


# --- Memory that does not suffice


def _failing_above(limit, sizes):
    """Return a fleet that is out of memory, after its first row, with more than some."""

    def train(rows, recipe, n_rows, progress, **_):
        sizes.append(n_rows)
        for n_done, result in enumerate(train_fleet(rows, recipe, n_rows, progress)):
            if n_rows > limit and n_done == 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            yield result

    return train


def test_a_fleet_that_is_out_of_memory_is_made_smaller(digits, monkeypatch):
    """Finished networks remain; the rest equal a run with more memory."""
    sizes = []
    monkeypatch.setattr(_shard, "networks_at_a_time", lambda *_: 8)
    fits = {i: _fit(digits, _mlp(max_epochs=1 + i % 2), seed=i) for i in range(6)}
    expected = _train(fits)
    monkeypatch.setattr(_shard, "train_fleet", _failing_above(2, sizes))

    trained = _train(fits)

    assert sizes == [8, 4, 2]
    assert not any(result.alone_reason for result in trained.values())
    for index, reference in expected.items():
        assert trained[index].status == "trained"
        np.testing.assert_allclose(
            trained[index].predictions, reference.predictions, atol=1e-6
        )


def test_finished_networks_survive_an_out_of_memory_error(digits, monkeypatch):
    """One at a time, only the network that is too large fails, at any position."""
    monkeypatch.setattr(_shard, "networks_at_a_time", lambda *_: 1)
    told = []
    monkeypatch.setattr(_shard, "train_fleet", _failing_above(0, []))
    fits = {
        0: _fit(digits),
        1: _fit(digits, _mlp(hidden_layer_sizes=(9,))),
        2: _fit(digits, seed=2),
    }
    shard = Shard(fits=fits, as_fleet=True, memory_limit=2**30)

    trained = train_shard(shard, fits_done=told.extend)

    assert [trained[i].status for i in range(3)] == ["trained", "trained", "failed"]
    assert sorted(told) == [0, 1, 2]


def test_networks_without_enough_memory_are_trained_later(digits, monkeypatch):
    """A smaller fleet may leave enough memory; a network that is too large alone fails."""
    monkeypatch.setattr(_shard, "networks_at_a_time", lambda *_: 4)
    prepare, beside = _shard.prepare, []

    def prepared(fit, preparer):
        beside.append(fit.seed)
        if fit.seed == 3 or (fit.seed == 2 and beside.count(2) < 2):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return prepare(fit, preparer)

    monkeypatch.setattr(_shard, "prepare", prepared)

    trained = _train({i: _fit(digits, seed=i) for i in range(5)})

    assert [trained[i].status for i in range(5)] == [*["trained"] * 3, "failed", "trained"]


def test_a_network_that_is_too_large_alone_fails(digits, monkeypatch):
    """The other networks train, one at a time."""
    sizes = []
    monkeypatch.setattr(_shard, "networks_at_a_time", lambda *_: 2)

    def train(rows, recipe, n_rows, progress, **_):
        sizes.append(n_rows)
        first = next(iter(rows))
        if first.state.seed == 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return train_fleet([first, *rows], recipe, n_rows, progress)

    monkeypatch.setattr(_shard, "train_fleet", train)

    trained = _train({0: _fit(digits, name="fold 0"), 1: _fit(digits, seed=1)})

    assert sizes == [2, 1, 2]
    assert trained[0].status == "failed"
    assert trained[0].message == "fold 0: OutOfMemoryError: CUDA out of memory"
    assert trained[1].status == "trained"


def test_the_monitor_is_scored_after_each_epoch(digits):
    """Its last score equals the fitted estimator's, its loss is the mean over its rows."""
    estimator = _mlp(max_epochs=3, random_state=4, dropout=0.2, normalization="batch")
    fit = _fit(digits, clone(estimator), seed=4, n_epochs=3)
    estimator.fit(digits.X[ROWS], digits.y[ROWS])

    trained = train_alone(fit, FitPreparer())

    assert trained.monitor_score.shape == trained.monitor_loss.shape == (3,)
    score = estimator.score(digits.X[MONITOR], digits.y[MONITOR])
    assert trained.monitor_score[-1] == pytest.approx(score)
    proba = estimator.predict_proba(digits.X[MONITOR])
    loss = -np.log(proba[np.arange(50), digits.y[MONITOR]]).mean()
    assert trained.monitor_loss[-1] == pytest.approx(loss, rel=1e-5)


class _Trained(MLPClassifier):
    """Trains otherwise than its class."""

    def fit(self, X, y, sample_weight=None):
        """Call the base class."""
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("between", [MLPClassifier(width=4), LogisticRegression()])
@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.SkTuneWarning")
def test_reasons_are_not_carried_over_to_the_next_kind(iris, between):
    """Even if other fits are between two fits of the same estimator."""
    own = _Trained(width=4, max_epochs=2)

    trained = train([
        Fit(estimator=net, X=iris.X, y=iris.y, n_epochs=2, seed=0)
        for net in (own, between, own)
    ])

    reasons = [result.alone_reason for result in trained]
    assert reasons[0] == reasons[2] != ""
    assert reasons[1] != reasons[0]
