"""Checks of a search for leaks, and baselines on its folds."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV
from sk_tune._report import baseline_models
from sk_tune._report._quality import folds_of, leak_checks, search_baselines

X, Y = np.zeros((12, 1)), np.arange(12) % 2
PREPARATION = "Preparation inside the folds"
EPOCH = "Choice of the epoch"
BEST = "Choice of the best candidate"


def _search(held, **params):
    rows = [[None if r is None else np.array(r) for r in folds] for folds in held]
    return SimpleNamespace(
        **{"estimator": LogisticRegression(), "cv": None, **params}, held_out_rows_=rows
    )


def _by_name(search, **options):
    defaults = {"has_curves": True, "has_corrected": True}
    return {c.name: c for c in leak_checks(search, **{**defaults, **options})}


def test_a_search_passes_what_it_can_check(grid, linear):
    """Steps inside the folds, and curves."""
    checks = _by_name(grid)

    assert checks[EPOCH].outcome == "passed"
    assert "only: scale." in checks[PREPARATION].message
    without = _by_name(linear, has_curves=False)
    assert set(checks) - set(without) == {EPOCH, "No early stopping on held-out rows"}


@pytest.mark.parametrize(
    ("params", "name", "outcome", "words"),
    [
        # The user's choices are named: best epochs, no pipeline.
        ({"select_epoch": "best"}, EPOCH, "by design", "chosen on the held-out rows"),
        ({}, PREPARATION, "not applicable", "not a pipeline"),
    ],
)
def test_possible_leaks_are_reported(params, name, outcome, words):
    """Each check has its evidence, or the reason why it is not applicable."""
    check = _by_name(_search([], **params))[name]

    assert check.outcome == outcome
    assert words in check.message


def test_steps_inside_a_transformed_target_are_steps_of_a_pipeline():
    """They are fitted within the folds, too."""
    inner = make_pipeline(StandardScaler(), Ridge())

    check = _by_name(_search([], estimator=TransformedTargetRegressor(inner)))[PREPARATION]

    assert check.outcome == "by design"
    assert "only: standardscaler." in check.message


def test_a_score_that_was_not_corrected_is_an_issue():
    """The best of many scores is optimistic."""
    assert _by_name(_search([]), has_corrected=False)[BEST].outcome == "issue"
    assert _by_name(_search([]))[BEST].outcome == "passed"


def _assert_same(folds, expected):
    for own, other in zip(folds, expected, strict=True):
        for rows, theirs in zip(own, other, strict=True):
            np.testing.assert_array_equal(rows, theirs)


@pytest.mark.parametrize(
    ("cv", "drawn_by", "has_data"),
    [
        # A splitter without a seed cannot draw them again, but the search knows.
        (KFold(3, shuffle=True), KFold(3, shuffle=True, random_state=5), False),
        # Folds that leave rows out are drawn again and checked against the search.
        (TimeSeriesSplit(3), TimeSeriesSplit(3), True),
        (ShuffleSplit(3, random_state=0), ShuffleSplit(3, random_state=0), True),
    ],
)
def test_folds_are_recorded_or_drawn_again(cv, drawn_by, has_data):
    """They are certain if every row was held out once, or if they match the record."""
    drawn = list(drawn_by.split(X))
    search = _search([[None] * 3, [test for _, test in drawn]], cv=cv)

    folds, are_same = folds_of(search, X if has_data else None, Y, 12)

    assert are_same
    _assert_same(folds, drawn)


def test_folds_that_cannot_be_drawn_again_are_reported():
    """A random splitter draws new folds each time."""
    cv = ShuffleSplit(3)
    search = _search([[test for _, test in cv.split(X)]], cv=cv)

    assert folds_of(search, None, Y, 12) == (None, False)
    assert folds_of(search, X, Y, 12)[1] is False
    assert folds_of(_search([], cv=cv), X, Y, 12)[1] is False
    assert folds_of(_search([], cv=TimeSeriesSplit(3)), X, Y, 12)[1] is True


def test_baselines_use_folds_and_scorer_of_the_search(grid, iris, regression, diabetes):
    """As in scikit-learn's cross_val_score; negated errors stay negative."""
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


def test_the_deciding_metric_scores_the_baselines(linear, iris):
    """Of several metrics the refit's; a failing scorer is not an error."""
    (dummy, _), _ = search_baselines(linear, *iris)
    broken = clone(linear).set_params(param_grid={"C": [1.0]}).fit(*iris)
    broken.scorer_ = {"loss": lambda *_: 1 / 0}

    # The dummy gives each of three equal classes its share of the training rows.
    assert dummy.mean == pytest.approx(-np.log(3), abs=0.01)
    assert np.isnan(search_baselines(broken, *iris)[0][0].mean)


def test_the_dummy_of_a_regression_is_the_better_of_mean_and_median(regression, diabetes):
    """A constant that the metric punishes would be easy to beat."""
    X, y = diabetes[0], np.exp(diabetes[1] / 30)
    cv = KFold(3)
    for scoring, strategy in (
        ("neg_mean_absolute_error", "median"),
        ("neg_mean_squared_error", "mean"),
    ):
        search = GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=cv, scoring=scoring).fit(X, y)
        own = search_baselines(search, X, y)[0][0]

        constant = DummyRegressor(strategy=strategy)
        expected = cross_val_score(constant, X, y, cv=cv, scoring=scoring)
        assert own.mean == pytest.approx(expected.mean())


def test_missing_baselines_are_explained(grid, iris):
    """Without features there is a dummy; new folds are mentioned."""
    (dummy,), notes = search_baselines(grid, None, None)
    model = LogisticRegression(max_iter=1000)
    anew = GridSearchCV(model, {"C": [1.0]}, cv=ShuffleSplit(2)).fit(*iris)

    assert dummy.mean == pytest.approx(1 / 3, abs=0.02)
    assert "pass X and y" in notes[0]
    assert "scored on different folds" in search_baselines(anew, *iris)[1][0]


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
        [np.full((1 + i % 3, 2), float(i)) for i in range(24)],
        ["a b", "b c"] * 12,
    ],
    ids=["table", "missing", "sequences", "texts", "padded", "unequal", "documents"],
)
def test_linear_models_take_what_networks_take(linear, X):
    """Tables, missing values, sequences and texts."""
    y = np.arange(24) % 2
    search = clone(linear).set_params(cv=2, scoring=None, refit=True)
    search = search.fit(np.zeros((24, 1)), y)

    (_, own), notes = search_baselines(search, X, y)

    assert not np.isnan(own.mean)
    assert notes == []


def test_a_scoring_function_may_return_several_scores(linear, iris):
    """The deciding score is used."""

    def several(model, X, y):
        return {"acc": model.score(X, y), "zero": 0.0}

    search = clone(linear).set_params(scoring=several, refit="acc").fit(*iris)

    (dummy, own), _ = search_baselines(search, *iris)

    assert own.mean > 0.9 > dummy.mean > 0


def test_several_labels_have_a_linear_model():
    """Each label has a model."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = (X[:, :2] > 0).astype(int)

    _, model = baseline_models(X, is_classification=True, n_targets=2)

    assert model.fit(X, y).score(X, y) > 0.9
