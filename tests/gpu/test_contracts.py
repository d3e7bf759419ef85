"""Contracts 1 to 5 on a device: what is trained there is what a processor trains.

In float64 numbers agree to 1e-9, because a device sums in another order; in float32 to the
bounds that the test says.  ``SK_TUNE_GPU_DEVICE=cpu`` runs the same tests on a processor.
"""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from parity.modules import Layers
from parity.test_parity import BASE, CASES, _assert_trained, _expected, _fits, data
from scipy.stats import loguniform, uniform
from sklearn.base import clone
from torch import nn

from sk_tune import (
    BaggingClassifier,
    CNNClassifier,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    NetClassifier,
    RNNClassifier,
)
from sk_tune._engine import Fit, _shard, fitted_estimator, train
from sk_tune._fleets import _loop
from sk_tune._training import arrays_of_state

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning"),
]
__all__ = ["data"]
TOLERANCE = 1e-9


class Skipping(nn.Module):
    """A user's module that is not a chain of layers, and draws no random numbers."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.hidden, self.norm = nn.Linear(n_features, 8), nn.BatchNorm1d(8)
        self.output = nn.Linear(8, n_outputs)

    def forward(self, x):
        h = self.hidden(x)
        return self.output(h + torch.tanh(self.norm(h)))


MLP = {**BASE, "hidden_layer_sizes": (12, 8)}
CNN = {**BASE, "n_channels": 2, "width": 6, "input_shape": (8, 8)}
# SGD, because the others blow up the rounding of biases before a batch norm.
ESTIMATORS = {
    "mlp": MLPClassifier(**MLP, dropout=0.2),
    "stopping": MLPClassifier(**MLP, early_stopping=True, validation_fraction=0.2),
    "batch norm": MLPClassifier(**MLP, normalization="batch", optimizer="sgd"),
    "members": MLPClassifier(**MLP, members=3, dropout=0.1),
    "regressor": MLPRegressor(**MLP, loss="huber"),
    "cnn": CNNClassifier(**CNN, dropout=0.2, optimizer="sgd"),
    "augmented": CNNClassifier(**CNN, augmentation=["flip", "cutmix"], optimizer="sgd"),
    "rnn": RNNClassifier(
        **BASE, hidden_size=5, input_shape=(8, 8), dropout=0.2, bidirectional=True
    ),
    "module": NetClassifier(Skipping, **BASE, optimizer="sgd"),
}
# Torch draws the masks of nn.Dropout by the device's generator.
WITH_MASKS_OF_TORCH = [case for case in CASES if case.startswith("net")]
CONVOLUTIONS_BY_TF32 = 2e-2


def _with(estimator, **params):
    return clone(estimator).set_params(**params)


def _folds(estimator, digits, n_fits=3, **changes):
    """Return fits with different samples, seeds and learning rates."""
    return [
        Fit(**{
            "estimator": _with(estimator, learning_rate=0.005 * (1 - 0.2 * i)),
            "X": digits.X,
            "y": digits.y,
            "rows": np.arange(150)[i * 7 :],
            "monitor": np.arange(150, 200),
            "seed": i,
            **changes,
        })
        for i in range(n_fits)
    ]


def _assert_same(trained, expected, atol=TOLERANCE):
    for ours, theirs in zip(trained, expected, strict=True):
        assert ours.message == theirs.message == ""
        np.testing.assert_allclose(ours.predictions, theirs.predictions, rtol=0, atol=atol)
        np.testing.assert_allclose(ours.train_loss, theirs.train_loss, rtol=0, atol=atol)
        np.testing.assert_allclose(
            ours.monitor_loss, theirs.monitor_loss, rtol=0, atol=atol
        )
        arrays = arrays_of_state(ours.state)
        for name, array in arrays_of_state(theirs.state).items():
            np.testing.assert_allclose(arrays[name], array, rtol=0, atol=atol, err_msg=name)


@pytest.fixture(params=ESTIMATORS)
def estimator(request, device):
    """Each of the networks, on the device."""
    return _with(ESTIMATORS[request.param], device=device)


# --- Contract 1: a network of a fleet is what it would be alone, and by a plain loop


@pytest.mark.parametrize(
    "case", [case for case in CASES if case not in WITH_MASKS_OF_TORCH]
)
def test_a_network_matches_a_plain_loop(case, data, device):
    """Curves, predictions, weights and moments agree with a loop on the processor."""
    name, params, source, weight = CASES[case]
    fits = _fits((name, {**params, "device": device}, source, weight), data)

    trained = train(fits)

    assert {network.engine for network in trained} == {"fleet"}
    for network, fit in zip(trained, fits, strict=True):
        made = fitted_estimator(fit, network)
        _assert_trained(network, _expected(fit, getattr(made, "bin_edges_", ())), fit)


def test_a_fleet_equals_its_networks_alone(estimator, digits):
    """By its net's loop on the same device, and on the processor."""
    fits = _folds(estimator, digits)

    trained = train(fits)

    assert {t.engine for t in trained} == {"fleet"}
    _assert_same(trained, train(fits, engine="alone"))
    there = [replace(fit, estimator=_with(fit.estimator, device="cpu")) for fit in fits]
    _assert_same(trained, train(there))


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("mlp", 1e-4),
        ("members", 1e-4),
        ("rnn", 1e-4),
        # cuDNN rounds the factors of a convolution to ten bits, if torch is left as it is.
        ("cnn", CONVOLUTIONS_BY_TF32),
    ],
)
def test_float32_networks_agree_within_rounding(name, bound, digits, device):
    """Predictions of the default type differ by less than the bound."""
    fits = _folds(
        _with(ESTIMATORS[name], dtype="float32", learning_rate=1e-3, device=device), digits
    )
    there = [replace(fit, estimator=_with(fit.estimator, device="cpu")) for fit in fits]

    for ours, theirs in zip(train(fits), train(there), strict=True):
        assert ours.predictions.dtype == np.float32
        np.testing.assert_allclose(ours.predictions, theirs.predictions, atol=bound)


def test_masks_that_torch_draws_on_a_device_keep_a_network_alone(digits, device):
    """They come from the device's generator, and a warning says so."""
    if device == "cpu":
        pytest.skip("fleets draw the masks that a processor draws")
    net = NetClassifier(Layers, **BASE, device=device)

    trained = train(_folds(net, digits))

    assert {t.engine for t in trained} == {"alone"}
    assert all("masks of its dropout on the device" in t.alone_reason for t in trained)


def test_a_search_has_the_same_scores_on_a_device_and_a_processor(digits, device):
    """Rungs, warm starts and the refit included."""
    space = {"learning_rate": loguniform(1e-3, 1e-2), "dropout": uniform(0, 0.4)}
    found = []
    for place in (device, "cpu"):
        net = MLPClassifier(**{**MLP, "device": place, "random_state": 0})
        search = HyperbandSearchCV(net, space, max_resources=9, cv=3, random_state=0)
        found.append(search.fit(*digits))

    ours, theirs = (search.cv_results_["mean_test_score"] for search in found)
    # A sample on the edge may fall to either side.
    np.testing.assert_allclose(ours, theirs, atol=1.01 / 200)
    weights = [search.best_estimator_.net_.module_ for search in found]
    assert {p.device.type for p in weights[0].parameters()} == {torch.device(device).type}


def test_an_ensemble_predicts_the_same_on_a_device(digits, device):
    """All members in one call."""
    ours, theirs = (
        BaggingClassifier(MLPClassifier(**MLP, device=place), 5, random_state=0)
        .fit(*digits)
        .predict_proba(digits.X)
        for place in (device, "cpu")
    )

    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


# --- Contract 2: a network does not depend on its fleet


def test_a_network_does_not_depend_on_its_fleet(estimator, digits):
    """Not on its neighbours, their order or their number."""
    fits = _folds(estimator, digits, 5)

    trained = train(fits)

    _assert_same(trained, train(fits[::-1])[::-1])
    _assert_same(trained[:1], train(fits[:1]))
    with mock.patch.object(_shard, "networks_at_a_time", return_value=2):
        _assert_same(trained, train(fits))


# --- Contract 3: every fit has a result, and a failed one disturbs no other


@pytest.mark.parametrize("name", ["mlp", "cnn", "rnn"])
def test_a_network_that_diverges_disturbs_no_other(name, digits, device):
    """It says at which epoch; its neighbours have the weights that they have without it."""
    calm = _with(ESTIMATORS[name], device=device, optimizer="sgd")
    fits = _folds(calm, digits)
    # Clipping may hold back what diverges.
    wild = _with(calm, learning_rate=1e30, gradient_clip=None)

    trained = train([fits[0], replace(fits[0], estimator=wild), *fits[1:]])

    assert trained[1].status == "failed"
    assert "at epoch" in trained[1].message or "after epoch" in trained[1].message
    _assert_same([trained[0], *trained[2:]], train(fits))


def test_a_fit_that_cannot_begin_disturbs_no_other(digits, device):
    """It says which parameter is wrong."""
    fits = _folds(_with(ESTIMATORS["mlp"], device=device), digits)
    wrong = replace(fits[0], estimator=_with(fits[0].estimator, dropout=2.0))

    trained = train([fits[0], wrong, *fits[1:]])

    assert "'dropout' parameter" in trained[1].message
    _assert_same([trained[0], *trained[2:]], train(fits))


# --- Contract 4: no sample that a network is scored on has a part in its training


def test_monitor_samples_change_no_weight(estimator, digits):
    """Other features and targets of the monitor change only the scores."""
    X, y = digits.X.copy(), digits.y.copy()
    X[150:], y[150:] = X[150:][:, ::-1] * 50 - 3, y[150:][::-1]

    before, after = (
        train(_folds(estimator, digits)),
        train(_folds(estimator, digits, X=X, y=y)),
    )

    for ours, theirs in zip(after, before, strict=True):
        for name, array in theirs.state.weights.items():
            np.testing.assert_allclose(ours.state.weights[name], array, atol=1e-12)
        assert (ours.monitor_loss != theirs.monitor_loss).all()


# --- Contract 5: some epochs, and then more, equal all of them at once


@pytest.mark.parametrize("places", [("here", "here"), ("here", "cpu"), ("cpu", "here")])
def test_two_epochs_and_one_more_equal_three(places, estimator, digits, device):
    """On the device, and when a training moves to it or away from it."""
    expected = train(_folds(estimator, digits))
    first, second = (
        _with(estimator, device=device if place == "here" else place) for place in places
    )

    parts = train(_folds(first, digits, n_epochs=2))
    rest = [
        replace(fit, state=part.state, n_epochs=1)
        for fit, part in zip(_folds(second, digits), parts, strict=True)
    ]

    _assert_same(train(rest), expected)


# --- The loop


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_waits_for_the_device_inside_an_epoch(name, digits, device, monkeypatch):
    """CUDA itself raises an error where the processor would wait."""
    if device == "cpu":
        pytest.skip(
            "nobody waits for a processor; tests/fleets/test_device_loop.py looks here"
        )
    fits = _folds(_with(ESTIMATORS[name], device=device), digits)
    # Tables that are made once are sent to the device by whoever asks first.
    train(fits)
    batches = _loop.epoch_batches

    def strict(*args):
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from batches(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(_loop, "epoch_batches", strict)
    trained = train(fits)

    assert [(t.engine, t.message) for t in trained] == [("fleet", "")] * 3


def test_a_users_module_trains_by_vmap(digits, device):
    """A fleet of modules without dropout equals the fleet on the processor."""
    net = NetClassifier(nn.Linear, **BASE, device=device)
    net.set_params(module__in_features=64, module__out_features=10)
    fits = _folds(net, digits)
    there = [replace(fit, estimator=_with(fit.estimator, device="cpu")) for fit in fits]

    trained = train(fits)

    assert {t.engine for t in trained} == {"fleet"}
    _assert_same(trained, train(there))
