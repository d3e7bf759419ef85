"""Linear models and trees as modules."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from sk_tune._compat import boosted_trees
from sk_tune.automl._onnx_blend import Encoded, Forest, LinearPredictor, TreesOutput


@pytest.fixture(scope="module")
def table():
    """Return numbers and categories, some missing, and three classes that follow."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=600), "b": rng.normal(size=600)})
    codes = rng.integers(0, 12, 600)
    codes[codes == 5] = 6
    X.insert(1, "c", pd.Categorical.from_codes(codes, categories=range(12)))
    y = (X["a"] + np.isin(codes, [1, 4, 9]) > 0).astype(int) + (X["b"] > 1)
    X.loc[::8, "a"] = np.nan
    return X, y.to_numpy()


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=20),
        HistGradientBoostingRegressor(max_iter=20),
        HistGradientBoostingRegressor(max_iter=20, loss="poisson"),
    ],
    ids=["classes", "numbers", "logarithms"],
)
def test_trees_decide_as_those_of_scikit_learn(table, model):
    """By numbers, categories, and categories that no training row has."""
    X, y = table
    model.fit(X, y)
    trees = boosted_trees(model)
    new = X.astype(float)
    new.loc[::5, "c"] = 5.0
    coded = new.assign(c=pd.Categorical(new["c"].astype(int), categories=range(12)))

    features = Encoded(trees)(torch.from_numpy(new.to_numpy()))
    # Of two members, the trees of the second follow those of the first.
    leaves = Forest([trees, trees])(torch.cat([features, features], dim=1))
    found = TreesOutput(trees, model)(leaves[:, len(trees.trees) :]).numpy()

    is_classifier = hasattr(model, "predict_proba")
    expected = (
        model.predict_proba(coded) if is_classifier else model.predict(coded)[:, None]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_linear_models_are_those_of_scikit_learn(table, n_classes):
    """Of two classes or more, and of numbers."""
    X, y = table
    numbers = np.array(X[["b"]])
    model = LogisticRegression() if n_classes else Ridge()
    model.fit(numbers, np.minimum(y, n_classes - 1) if n_classes else 0.5 * y)

    found = LinearPredictor(model)(torch.from_numpy(numbers)).numpy()

    expected = (
        model.predict_proba(numbers) if n_classes else model.predict(numbers)[:, None]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
