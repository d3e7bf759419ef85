"""A stage is fitted as its own fit would, by the engine."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune.ensemble._stage import fit_stage
from sk_tune.exceptions import TrainingDivergedError

WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, 200)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("behind", [False, True], ids=["alone", "pipeline"])
def test_a_network_is_what_its_own_fit_makes(diabetes, make_estimator, weight, behind):
    """The engine's network equals the estimator's, alone or behind a scaler."""

    def make():
        net = make_estimator("MLPRegressor", dtype="float64")
        return make_pipeline(StandardScaler(), net) if behind else net

    X, y = diabetes
    params = {}
    if weight is not None:
        params = {"mlpregressor__sample_weight" if behind else "sample_weight": weight}

    stage = fit_stage(make(), X, y[:, np.newaxis], weight)

    np.testing.assert_allclose(
        stage.predict(X), make().fit(X, y, **params).predict(X), rtol=1e-9
    )


def test_several_columns_are_several_outputs(diabetes):
    """A single column is passed as a vector, which every regressor takes."""
    X, y = diabetes

    assert fit_stage(LinearRegression(), X, y[:, np.newaxis]).predict(X).shape == (200,)
    two = fit_stage(LinearRegression(), X, np.column_stack([y, y]))
    assert two.predict(X).shape == (200, 2)


def test_a_network_that_diverges_raises_its_own_error(diabetes, make_estimator):
    """What fails in the engine fails as in fit."""
    net = make_estimator("MLPRegressor", learning_rate=1e30, optimizer="sgd", max_epochs=5)

    with pytest.raises(TrainingDivergedError):
        fit_stage(net, diabetes.X, diabetes.y[:, np.newaxis])


def test_weights_are_refused_where_nobody_heeds_them(diabetes):
    """The message names the estimator."""
    with pytest.raises(ValueError, match="KNeighborsRegressor does not"):
        fit_stage(KNeighborsRegressor(), diabetes.X, diabetes.y[:, np.newaxis], WEIGHTS)
