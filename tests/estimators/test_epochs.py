"""Epochs and early stopping that are left to the data."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from skorch.callbacks import EpochScoring

from sk_tune import (
    CNNClassifier,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    RNNClassifier,
)
from sk_tune._epochs import epochs_of, stops_early
from sk_tune.engine import Fit, train

FEW, MANY = 149, 150


def _data(n_rows):
    return make_classification(n_rows, 5, random_state=0)


@pytest.mark.parametrize(
    ("network", "n_rows", "batch_size", "expected"),
    [
        (MLPClassifier, 10, 64, 50),
        (MLPClassifier, 64, 64, 50),
        (MLPClassifier, FEW, 64, 50),
        (MLPClassifier, MANY, 64, 200),
        (MLPClassifier, 3000, 64, 64),
        (MLPClassifier, 10**5, 64, 20),
        (MLPClassifier, 3000, -1, 200),
        (MLPRegressor, 64, 64, 100),
        (MLPRegressor, 200, 64, 100),
        (MLPRegressor, 299, 64, 80),
        (MLPRegressor, 300, 64, 200),
    ],
)
def test_automatic_epochs_grant_steps(network, n_rows, batch_size, expected):
    """By hand: 3000 steps of many rows, 400 of few; 20 to 200, 100 or 50 epochs."""
    assert epochs_of(network(batch_size=batch_size), n_rows) == expected


def test_networks_with_automatic_epochs_stop_early_on_enough_rows():
    """The network holds a tenth of the rows out and keeps its best epoch."""
    X, y = _data(MANY)
    net = MLPClassifier(random_state=0).fit(X, y)

    expected = clone(net).set_params(max_epochs=200, early_stopping=True).fit(X, y)

    assert len(net.net_.history) < 200
    np.testing.assert_array_equal(net.predict_proba(X), expected.predict_proba(X))


def test_partial_fit_trains_on_all_rows_of_a_chunk(tmp_path):
    """Automatic early stopping neither holds rows out nor ends a stream, also in a file."""
    X, y = _data(MANY)
    net = MLPClassifier(random_state=0, lr_schedule="constant").partial_fit(X, y)
    plain = MLPClassifier(random_state=0, lr_schedule="constant", early_stopping=False)

    np.testing.assert_array_equal(
        net.predict_proba(X), plain.partial_fit(X, y).predict_proba(X)
    )
    net.save(tmp_path / "net")
    assert MLPClassifier.load(tmp_path / "net").net_.options.patience is None
    assert net.fit(X, y).net_.options.patience == 10


def test_networks_on_few_rows_train_on_all_of_them():
    """Rows without a weight do not count."""
    X, y = _data(MANY)
    weight = np.ones(MANY)
    weight[0] = 0
    net = MLPClassifier(random_state=0).fit(X, y, weight)

    expected = clone(net).set_params(max_epochs=50).fit(X, y, weight)

    assert len(net.net_.history) == 50
    np.testing.assert_array_equal(net.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize(
    "network",
    [
        MLPClassifier(max_epochs=7),
        MLPClassifier(early_stopping=False),
        MLPClassifier(callbacks=[EpochScoring("accuracy")]),
        CNNClassifier(),
    ],
    ids=["epochs", "early_stopping", "callbacks", "other"],
)
def test_explicit_parameters_turn_automatic_early_stopping_off(network):
    """A number of epochs, callbacks, or False."""
    assert not stops_early(network, 10**6)


def test_recurrent_networks_stop_early_by_default():
    """Like MLPs."""
    assert stops_early(RNNClassifier(), MANY)


def test_fits_count_the_rows_of_their_fold():
    """A fold below the limit trains on all of its rows, in a fleet."""
    X, y = _data(2 * MANY)
    net = MLPClassifier(width=4, random_state=0)
    folds = [np.arange(FEW), np.arange(MANY)]

    small, large = train([Fit(estimator=net, X=X, y=y, rows=rows) for rows in folds])

    for trained, rows in ((small, folds[0]), (large, folds[1])):
        alone = clone(net).fit(X[rows], y[rows])
        assert len(trained.state.history) == len(alone.net_.history)


def test_hyperband_grants_the_epochs_of_a_training_to_the_end():
    """Its candidates have explicit epochs, so that they do not stop early."""
    X, y = _data(300)
    search = HyperbandSearchCV(MLPClassifier(width=2), {"learning_rate": [0.01]}, cv=2)

    plan = search.plan(X, y)

    assert plan.rounds[-1].n_resources == 80
