"""Baselines on the folds of a search."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV
from sk_tune.report import baseline_models
from sk_tune.report._search_checks import search_baselines


def test_scores_are_of_the_folds_and_the_scorer_of_the_search(
    grid, iris, regression, diabetes
):
    """As scikit-learn's cross_val_score has them; negative errors stay negative."""
    dummies = DummyClassifier(), DummyRegressor()
    models = LogisticRegression(max_iter=1000), Ridge()
    cases = zip((grid, regression), (iris, diabetes), dummies, models, strict=True)
    for search, data, dummy, model in cases:
        found, notes = search_baselines(search, *data)

        assert [own.name for own in found] == ["dummy", "linear"]
        assert notes == []
        scaled = make_pipeline(StandardScaler(), model)
        for own, one in zip(found, (dummy, scaled), strict=True):
            scores = cross_val_score(one, *data, cv=search.cv, scoring=search.scoring)
            assert own.mean == pytest.approx(scores.mean())
            assert own.std == pytest.approx(scores.std())


def test_the_metric_that_decides_scores_the_baselines(linear, iris):
    """Of several, that of the refit; a scorer that fails is no error."""
    (dummy, _), _ = search_baselines(linear, *iris)
    broken = clone(linear).set_params(param_grid={"C": [1.0]}).fit(*iris)
    broken.scorer_ = {"loss": lambda *_: 1 / 0}

    # The dummy gives each of three equal classes its share of the training rows.
    assert dummy.mean == pytest.approx(-np.log(3), abs=0.01)
    assert np.isnan(search_baselines(broken, *iris)[0][0].mean)


def test_what_is_missing_is_said(grid, iris):
    """Without features there is a dummy; folds that are drawn anew are told."""
    (dummy,), notes = search_baselines(grid, None, None)
    model = LogisticRegression(max_iter=1000)
    anew = GridSearchCV(model, {"C": [1.0]}, cv=ShuffleSplit(2)).fit(*iris)

    assert dummy.mean == pytest.approx(1 / 3, abs=0.02)
    assert "give X and y" in notes[0]
    assert "other folds than the candidates" in search_baselines(anew, *iris)[1][0]


# Steps behind the end of a sequence.
RAGGED = np.arange(3)[:, np.newaxis] > np.arange(24)[:, np.newaxis, np.newaxis] % 3


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"a": [1.0, np.nan, 3.0, 4.0] * 6, "b": list("xyxy") * 6}),
        np.array([[1.0, np.nan], [2.0, 3.0]] * 12),
        np.random.default_rng(0).normal(size=(24, 2, 3)),
        np.array([[1, "a"], [2, "b"]] * 12, dtype=object),
        np.where(RAGGED, np.nan, np.random.default_rng(0).normal(size=(24, 3, 2))),
        ["a b", "b c"] * 12,
    ],
    ids=["table", "missing", "sequences", "texts", "padded", "documents"],
)
def test_linear_models_take_what_networks_take(linear, X):
    """Tables, missing values, sequences and texts."""
    y = np.arange(24) % 2
    search = clone(linear).set_params(cv=2, scoring=None, refit=True)
    search = search.fit(np.zeros((24, 1)), y)

    (_, own), notes = search_baselines(search, X, y)

    assert not np.isnan(own.mean)
    assert notes == []


def test_scores_of_a_function_are_that_which_decides(linear, iris):
    """A scoring callable may return several."""

    def several(model, X, y):
        return {"acc": model.score(X, y), "zero": 0.0}

    search = clone(linear).set_params(scoring=several, refit="acc").fit(*iris)

    (dummy, own), _ = search_baselines(search, *iris)

    assert own.mean > 0.9 > dummy.mean > 0


def test_several_labels_have_a_linear_model():
    """One for each label."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = (X[:, :2] > 0).astype(int)

    _, model = baseline_models(X, is_classification=True, n_targets=2)

    assert model.fit(X, y).score(X, y) > 0.9
