"""Contract 2: a network does not depend on its fleet.

Not on the networks beside it, their order, how many train at a time, or a pause: what
``tests/parity/test_fuzz.py`` draws at random.  Here are workers, networks that fail, a best
epoch before a pause, and padding.  Numbers agree to 1e-12 in float64.
"""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from parity.modules import Layers

from sk_tune import CNNClassifier, MLPClassifier, NetClassifier, RNNClassifier
from sk_tune._augment import CutMix, Flip
from sk_tune._engine import Fit, _shard, train
from sk_tune._training import arrays_of_state

MONITOR = np.arange(150, 200)
BASE = {"batch_size": 32, "dtype": "float64", "learning_rate": 0.005, "max_epochs": 3}


def _mlp(**params):
    return MLPClassifier(**{**BASE, "hidden_layer_sizes": (12, 8), **params})


ESTIMATORS = {
    "mlp": _mlp(),
    "net": NetClassifier(Layers, **BASE),
    "images": CNNClassifier(
        **BASE, n_channels=2, width=6, input_shape=(8, 8), augmentation=[Flip(), CutMix()]
    ),
}


def _fits(estimator, data, n_fits=3):
    """Return fits with different seeds and samples."""
    return [
        Fit(
            estimator=estimator,
            X=data.X,
            y=data.y,
            rows=np.arange(150)[i * 7 :],
            monitor=MONITOR,
            seed=i,
        )
        for i in range(n_fits)
    ]


def _assert_all_same(trained, expected):
    for ours, reference in zip(trained, expected, strict=True):
        assert (ours.message, ours.engine) == ("", "fleet")
        np.testing.assert_allclose(ours.predictions, reference.predictions, atol=1e-12)
        arrays = arrays_of_state(ours.state)
        for name, array in arrays_of_state(reference.state).items():
            np.testing.assert_allclose(arrays[name], array, atol=1e-12, err_msg=name)


def _alone(fits):
    return [train([fit])[0] for fit in fits]


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_network_does_not_depend_on_the_number_of_workers(kind, digits):
    """Two processes give the same result as one process."""
    fits = _fits(ESTIMATORS[kind], digits, n_fits=6)

    _assert_all_same(train(fits, n_jobs=2), train(fits, n_jobs=1))


def test_a_network_does_not_depend_on_networks_that_diverge(digits):
    """Diverged networks leave the fleet; the rest continue as if alone."""
    good = _fits(_mlp(optimizer="sgd"), digits)
    wild = replace(good[0], estimator=_mlp(optimizer="sgd", learning_rate=1e6))

    trained = train([wild, good[0], wild, *good[1:], wild])

    assert [trained[i].status for i in (0, 2, 5)] == ["failed"] * 3
    _assert_all_same(trained[1:2] + trained[3:5], _alone(good))


def test_a_paused_network_brings_its_best_weights_into_a_fleet_without_any(digits):
    """A network with an earlier best epoch joins networks without a best epoch."""
    # Labels that mean nothing, so that the loss on other samples soon rises.
    noise = np.random.default_rng(0).permutation(np.arange(200) % 4)
    fit = replace(_fits(_mlp(), digits)[0], y=noise)
    layer = {"hidden_layer_sizes": (8,)}
    options = {"early_stopping": True, "n_iter_no_change": 9, "max_epochs": 9}
    worsening = replace(fit, estimator=_mlp(**layer, **options, learning_rate=0.1))
    (paused,) = train([replace(worsening, n_epochs=6)])
    assert paused.state.stopping.best_epoch < 6
    resumed = replace(worsening, n_epochs=1, state=paused.state)
    short, long = (replace(fit, estimator=_mlp(**layer, max_epochs=n)) for n in (1, 5))

    with mock.patch.object(_shard, "networks_at_a_time", return_value=2):
        trained = train([short, long, resumed])

    _assert_all_same(trained[2:], train([resumed]))


def test_padding_in_one_network_leaves_the_others_alone(digits):
    """Full sequences give the same result next to a network with padded sequences."""
    X = digits.X.reshape(-1, 8, 8).copy()
    X[::3, 5:] = np.nan
    full = np.flatnonzero(np.arange(150) % 3)
    net = RNNClassifier(**BASE, hidden_size=5, normalization="batch", optimizer="sgd")
    fits = [
        Fit(estimator=net, X=X, y=digits.y, rows=rows, monitor=rows[:9], seed=i)
        for i, rows in enumerate((full, np.arange(150), full[5:]))
    ]

    _assert_all_same(train(fits), _alone(fits))
