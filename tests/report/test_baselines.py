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
from sk_tune.report._baselines import search_baselines


def test_scores_are_of_the_folds_of_the_search(grid, iris):
    """As scikit-learn's cross_val_score has them for the same models and folds."""
    (dummy, linear), notes = search_baselines(grid, *iris)

    scaled = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for own, model in ((dummy, DummyClassifier()), (linear, scaled)):
        scores = cross_val_score(model, *iris, cv=grid.cv)
        assert own.mean == pytest.approx(scores.mean())
        assert own.std == pytest.approx(scores.std())
    assert (dummy.name, linear.name, notes) == ("dummy", "linear", [])


def test_scores_are_by_the_scorer_of_the_search(regression, diabetes):
    """Negative errors stay negative."""
    (dummy, linear), _ = search_baselines(regression, *diabetes)

    scaled = make_pipeline(StandardScaler(), Ridge())
    for own, model in ((dummy, DummyRegressor()), (linear, scaled)):
        scores = cross_val_score(
            model, *diabetes, cv=regression.cv, scoring="neg_mean_squared_error"
        )
        assert own.mean == pytest.approx(scores.mean())
        assert own.mean < 0


def test_the_metric_that_decides_scores_the_baselines(linear, iris):
    """Of several, that of the refit."""
    (dummy, _), _ = search_baselines(linear, *iris)

    # The dummy gives each of three equal classes its share of the training rows.
    assert dummy.mean == pytest.approx(-np.log(3), abs=0.01)


def test_without_data_there_is_a_dummy_and_a_note(grid):
    """The search keeps targets and folds, but no features."""
    (dummy,), notes = search_baselines(grid, None, None)

    assert dummy.mean == pytest.approx(1 / 3, abs=0.02)
    assert "give X and y" in notes[0]


def test_folds_that_are_drawn_anew_are_told(iris):
    """The baselines are then not on the rows of the candidates."""
    model = LogisticRegression(max_iter=1000)
    search = GridSearchCV(model, {"C": [1.0]}, cv=ShuffleSplit(2))

    _, notes = search_baselines(search.fit(*iris), *iris)

    assert "other folds than the candidates" in notes[0]


def test_a_scorer_that_fails_is_no_error(linear, iris):
    """The baseline has no score, and the report goes on."""
    search = clone(linear).fit(*iris)
    search.scorer_ = {"loss": lambda *_: 1 / 0}

    (dummy, _), _ = search_baselines(search, *iris)

    assert np.isnan(dummy.mean)


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
