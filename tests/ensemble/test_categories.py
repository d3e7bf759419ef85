"""Members that are given arrays know the category columns of a frame."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import BaggingRegressor, BoostingRegressor, MLPClassifier, MLPRegressor
from sk_tune.ensemble._categories import asks_for_types, with_categories
from sk_tune.exceptions import SkTuneWarning


@pytest.mark.parametrize(
    ("estimator", "asks"),
    [
        (MLPClassifier(), True),
        (MLPClassifier(categorical_features=[1]), False),
        (MLPClassifier(categorical_features=None), False),
        (make_pipeline(StandardScaler(), MLPClassifier()), False),
        (Ridge(), False),
    ],
)
def test_only_who_would_look_at_types_is_told(estimator, asks):
    """The estimator that a user gave is left as it is."""
    before = str(estimator.get_params())

    told = with_categories(estimator, [0, 2])

    assert asks_for_types(estimator) is asks
    assert (told is not estimator) is asks
    assert not asks or told.categorical_features == [0, 2]
    assert str(estimator.get_params()) == before
    assert with_categories(estimator, []) is estimator


@pytest.mark.parametrize("kind", ["bagging", "boosting"])
def test_categories_of_a_frame_are_categories_to_members(kind):
    """Members get arrays, and are told which columns hold codes."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(80) % 8)
    X = pd.DataFrame({"a": rng.normal(size=80), "town": pd.Categorical(codes)})
    net = MLPRegressor(n_layers=1, width=8, max_epochs=3, random_state=0)
    cls = {"bagging": BaggingRegressor, "boosting": BoostingRegressor}[kind]

    model = cls(net, n_estimators=2, random_state=0).fit(X, codes % 2.0)

    for member in model.estimators_:
        assert member.is_categorical_.tolist() == [False, True]
    assert model.estimator is net
    assert net.categorical_features == "from_dtype"
    assert np.isfinite(model.predict(X)).all()


def test_bags_of_some_columns_warn_of_categories():
    """Each member sees others, of which positions say nothing."""
    X = pd.DataFrame({"a": np.arange(40.0), "town": pd.Categorical(np.arange(40) % 4)})
    net = MLPRegressor(n_layers=1, width=8, max_epochs=2)

    with pytest.warns(SkTuneWarning, match=r"\['town'\] are numbers to them"):
        BaggingRegressor(net, 2, max_features=1, random_state=0).fit(X, X["a"])
