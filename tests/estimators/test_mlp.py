"""Multi-layer perceptrons: their shapes, and what they learn."""

import numpy as np
import pytest
from torch import nn

from sk_tune import MLPClassifier, MLPRegressor


def _units(estimator):
    layers = [m for m in estimator.net_.module_.modules() if isinstance(m, nn.Linear)]
    return [layer.out_features for layer in layers]


@pytest.mark.parametrize(
    ("params", "units"),
    [
        ({"n_layers": 0}, [3]),
        ({"n_layers": 1, "width": 7}, [7, 3]),
        ({"n_layers": 3, "width": 4}, [4, 4, 4, 3]),
        ({"hidden_layer_sizes": 5}, [5, 3]),
        ({"hidden_layer_sizes": (5, 2)}, [5, 2, 3]),
        ({"hidden_layer_sizes": [6]}, [6, 3]),
        ({"hidden_layer_sizes": np.array([5, 2])}, [5, 2, 3]),
        ({"hidden_layer_sizes": ()}, [3]),
    ],
    ids=str,
)
def test_hidden_layers_have_the_sizes_asked_for(params, units, iris):
    """n_layers and width, or hidden_layer_sizes, give the units layer by layer."""
    net = MLPClassifier(**params, max_epochs=1, random_state=0).fit(*iris)

    assert _units(net) == units


def test_a_linear_model_finds_the_least_squares_line():
    """Without hidden layers, long training ends at the closed form of least squares."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3))
    y = X @ [1.0, -2.0, 0.5] + 3 + rng.normal(size=50)
    net = MLPRegressor(
        n_layers=0,
        optimizer="sgd",
        learning_rate=0.1,
        lr_schedule="constant",
        weight_decay=0.0,
        batch_size=-1,
        max_epochs=200,
        dtype="float64",
        dropout=0.0,
        random_state=0,
    )

    predicted = net.fit(X, y).predict(X)

    design = np.column_stack([X, np.ones(50)])
    expected = design @ np.linalg.lstsq(design, y)[0]
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "gelu", "selu"])
def test_a_hidden_layer_learns_what_no_line_can(activation):
    """Exclusive or, of which a linear model gets half right at most by three quarters."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(200, 2))
    y = (X[:, 0] > 0) ^ (X[:, 1] > 0)
    net = MLPClassifier(
        n_layers=1,
        width=16,
        activation=activation,
        learning_rate=0.03,
        max_epochs=100,
        random_state=0,
        dropout=0.0,
    )

    assert net.fit(X, y).score(X, y) > 0.9


def test_an_identity_activation_leaves_the_network_linear(diabetes):
    """Predictions of a network of identities lie on a plane."""
    X, y = diabetes
    net = MLPRegressor(
        activation="identity",
        normalization=None,
        max_epochs=2,
        dtype="float64",
        random_state=0,
    ).fit(X, y)

    middle = net.predict((X[:100] + X[100:]) / 2)

    ends = (net.predict(X[:100]) + net.predict(X[100:])) / 2
    np.testing.assert_allclose(middle, ends)
