"""A pipeline from a table to a network."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import cross_val_score

from sk_tune import (
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    PiecewiseLinear,
    table_pipeline,
    table_space,
)


def _table(n=200):
    """Return a table of numbers, categories and gaps, with the classes to predict."""
    rng = np.random.default_rng(0)
    town, age = rng.integers(20, size=n), rng.normal(size=n)
    y = np.where((town % 2 == 0) ^ (age > 1), "yes", "no")
    X = pd.DataFrame({"age": age, "town": [f"town {i}" for i in town]})
    return X.mask(rng.random(X.shape) < 0.05), y


@pytest.mark.parametrize(
    ("kind", "network", "is_kind"),
    [
        ("classifier", MLPClassifier, is_classifier),
        ("regressor", MLPRegressor, is_regressor),
    ],
)
def test_the_network_has_members_and_embedded_numbers(kind, network, is_kind):
    """The steps are named so that parameters are short to write."""
    pipe = table_pipeline(kind, random_state=7)

    assert is_kind(pipe)
    assert [*pipe.named_steps] == ["prepare", "net"]
    assert isinstance(pipe["net"], network)
    params = clone(pipe).get_params()
    assert params["net__members"] == 8
    assert params["net__numerical_embedding"] == PiecewiseLinear()
    assert params["net__random_state"] == 7


def test_an_estimator_of_the_user_is_the_last_step():
    """It keeps its parameters."""
    net = MLPRegressor(width=5, random_state=1)

    assert table_pipeline(net, random_state=7)["net"] is net


def test_networks_of_different_calls_share_no_parameters():
    """Setting a nested parameter changes one pipeline only."""
    table_pipeline("regressor").set_params(net__numerical_embedding__n_bins=3)

    assert table_pipeline("regressor")["net"].numerical_embedding.n_bins == "auto"


def test_a_table_of_all_kinds_can_be_learnt():
    """Categories are learnt as embeddings, and missing values are filled."""
    X, y = _table()
    pipe = table_pipeline("classifier", random_state=0).set_params(net__learning_rate=0.01)

    assert pipe.fit(X, y)["net"].is_categorical_.sum() == 1
    assert cross_val_score(pipe, X, y, cv=3).mean() > 0.7


def test_hyperband_searches_the_pipeline():
    """A table becomes a tuned network in two lines."""
    X, y = _table(100)
    pipe = table_pipeline("classifier", random_state=0)

    search = HyperbandSearchCV(
        pipe, table_space(pipe), max_resources=3, cv=2, random_state=0
    ).fit(X, y)

    assert search.predict(X).shape == y.shape


def test_an_unknown_kind_is_refused():
    """The message lists the kinds."""
    with pytest.raises(
        ValueError, match="'classifier', 'regressor' or an estimator. Got 'trees'"
    ):
        table_pipeline("trees")
    with pytest.raises(ValueError, match=r"Got None instead\.$"):
        table_pipeline(None)
    with pytest.raises(ValueError, match=r"Create the estimator: MLPClassifier\(\)\.$"):
        table_pipeline(MLPClassifier)
