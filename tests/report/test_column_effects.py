"""Importance and partial dependence of columns, compared with scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV as SkGridSearchCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import sk_tune
from sk_tune._report import (
    ColumnEffects,
    FoldModel,
    _column_effects,
    column_effects,
)
from sk_tune._report._column_effects import search_effects
from sk_tune._report._pictures import column_pictures

N = 600


@pytest.fixture(scope="module")
def table():
    """Return numbers, a category, and a target that depends on three columns."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(N, 3)), columns=["a", "b", "noise"])
    X["kind"] = rng.choice(["x", "y", "z"], N)
    y = 2 * X["a"] + X["b"] + 1.5 * (X["kind"] == "x") + 0.1 * rng.normal(size=N)
    return X, y.to_numpy()


@pytest.fixture(scope="module")
def models(table):
    """Return linear models of three folds with their held-out rows."""
    X, y = table
    encoder = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    return [
        (make_pipeline(encoder, LinearRegression()).fit(X.iloc[train], y[train]), test)
        for train, test in KFold(3).split(X)
    ]


def _folds(models):
    return [FoldModel(test, model.predict, r2_score) for model, test in models]


def test_importance_matches_scikit_learn(table, models):
    """Means over folds and repeats agree within the noise of permutations."""
    X, y = table
    expected = np.mean(
        [
            permutation_importance(
                model, X.iloc[test], y[test], scoring="r2", n_repeats=10, random_state=0
            ).importances_mean
            for model, test in models
        ],
        axis=0,
    )

    effects = column_effects(X, y, _folds(models))

    found = effects.table.set_index("column").loc[list(X.columns)]
    np.testing.assert_allclose(found["importance"], expected, rtol=0.05, atol=1e-3)
    assert effects.columns[:3] == ("a", "b", "kind")
    assert "3 times in each of 3 folds, on up to 200 held-out rows." in effects.note


def test_dependence_matches_scikit_learn(table, models):
    """At equal values of a number, and by category, for each fold."""
    X, y = table

    effects = column_effects(X, y, _folds(models))

    a, *_, kind = effects.dependence
    for k, (model, test) in enumerate(models):
        # Rows are shuffled, but all are used.
        expected = partial_dependence(
            model, X.iloc[test], ["a"], custom_values={"a": a.values}, method="brute"
        )
        np.testing.assert_allclose(a.means[k], expected["average"][0], rtol=1e-9)
    assert (a.column, a.is_ordered, a.target) == ("a", True, "prediction")
    assert (kind.column, kind.texts, kind.is_ordered) == ("kind", ("x", "y", "z"), False)
    np.testing.assert_allclose(np.ptp(kind.means, axis=1), 1.5, atol=0.1)


def test_all_parts_of_a_date_are_permuted_together():
    """The raw column is permuted, so the model's derived parts move together."""
    X = pd.DataFrame({"when": pd.date_range("2024-01-01", periods=60)})
    y = X["when"].dt.month.to_numpy() + X["when"].dt.day.to_numpy() / 31

    def predict(own):
        return own["when"].dt.month.to_numpy() + own["when"].dt.day.to_numpy() / 31

    effects = column_effects(X, y, [FoldModel(np.arange(60), predict, r2_score)])

    # Independent copies of the target have twice its variance as squared error.
    assert effects.importance[0] == pytest.approx(2, abs=0.5)
    (when,) = effects.dependence
    assert when.texts[0] == "2024-01-02"
    assert when.means[0, 0] == pytest.approx(1 + 2 / 31)
    assert np.isfinite(effects.std).all()


@pytest.mark.parametrize(("seconds", "is_cut"), [(0.02, True), (0.06, True), (1.0, False)])
def test_the_time_limits_rows_folds_and_pictures(
    table, models, monkeypatch, seconds, is_cut
):
    """A row takes 10 microseconds by this clock; calls end within the limit."""
    X, y = table
    now = [0.0]
    monkeypatch.setattr(_column_effects.time, "monotonic", lambda: now[0])

    def predict(own):
        now[0] += 1e-5 * len(own)
        return models[0][0].predict(own)

    folds = [FoldModel(test, predict, r2_score) for _, test in models]

    effects = column_effects(X, y, folds, seconds=seconds)

    assert now[0] <= seconds
    assert ("The time budget allowed no more." in effects.note) == is_cut
    assert len(effects.dependence) <= 3
    is_shown = "There was no time to show how" not in effects.note
    assert (len(effects.dependence) == 3) == is_shown
    assert is_cut or is_shown


def test_a_single_held_out_part_is_not_each_of_several(table, models):
    """Large tables have one part."""
    effects = column_effects(*table, _folds(models)[:1])

    assert effects.note.startswith("Each column was permuted 3 times in 1 fold, on up to")


def test_without_time_for_one_fold_there_is_no_result(table, models):
    """As with very many columns."""
    reason = column_effects(*table, _folds(models), seconds=1e-9)

    assert reason.startswith("The importance of columns is unknown: it takes ")
    assert reason.endswith(" s or more, but only 1e-09 s were left.")


def test_several_targets_have_one_importance(table):
    """The dependence is shown for the target that the column changes most."""
    X = table[0][["a", "b"]].to_numpy()
    y = X * [1.0, 3.0]
    model = LinearRegression().fit(X, y)

    effects = column_effects(X, y, [FoldModel(np.arange(N), model.predict, r2_score)])

    second = next(own for own in effects.dependence if own.column == "column 1")
    assert second.target == "prediction of target 2"
    np.testing.assert_allclose(second.means[0], 3 * second.values, atol=1e-9)


def test_columns_can_be_named_and_arrays_have_numbers(table, models):
    """Other columns are not permuted."""
    X, y = table
    numbers = X[["a", "b"]].to_numpy()
    model = LinearRegression().fit(numbers, y)

    named = column_effects(X, y, _folds(models), columns=["noise", "kind"])
    plain = column_effects(numbers, y, [FoldModel(np.arange(N), model.predict, r2_score)])

    assert named.columns == ("kind", "noise")
    assert plain.columns == ("column 0", "column 1")
    reason = column_effects(X, y, _folds(models), columns=[])
    assert reason == "The importance of columns is unknown: the models use no column."


def test_a_search_with_models_has_the_effects_of_its_best_candidate(iris, tmp_path):
    """For probabilities of a class; without models the page has no section."""
    model, space = LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}
    search = sk_tune.GridSearchCV(model, space, cv=3, keep_models="all").fit(*iris)
    plain = SkGridSearchCV(model, space, cv=3).fit(*iris)

    effects = search_effects(search, iris.X, iris.y, search.best_index_)
    page = sk_tune.report(search, tmp_path / "a.html", X=iris.X, y=iris.y).read_text(
        "utf-8"
    )

    assert set(effects.columns[:2]) == {"column 2", "column 3"}  # The petals.
    assert effects.dependence[0].target.startswith("probability of ")
    assert (effects.dependence[0].means <= 1).all()
    assert 'id="column-importance"' in page
    assert 'id="dependence-0"' in page
    assert search_effects(plain, iris.X, iris.y, 0) is None


def test_an_unknown_spread_is_not_drawn():
    """As after a single permutation in a single fold."""
    effects = ColumnEffects(
        columns=("<x>",),
        importance=np.array([0.5]),
        std=np.array([np.nan]),
        dependence=(),
        note="",
    )

    (figure,) = column_pictures(effects, "accuracy")

    assert "nan" not in figure["svg"]
    assert "&lt;x&gt;: 0.5 ± n/a" in figure["svg"]


def test_texts_name_the_first_columns():
    """With equally many decimals, for a line in the terminal."""
    effects = ColumnEffects(
        columns=("x", "y", "z"),
        importance=np.array([0.5, 0.021, 0.0]),
        std=np.array([0.1, 0.01, 0.0]),
        dependence=(),
        note="",
    )

    assert effects.texts(2) == ["x 0.50 ± 0.10", "y 0.02 ± 0.01"]
