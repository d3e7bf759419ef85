"""What is read from a fitted search."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV as ScikitLearnsSearch
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_tune import GridSearchCV, HalvingGridSearchCV
from sk_tune.ensemble._library import read_library

OPTIONS = {"is_classification": True, "needs_models": True, "random_state": 0}


def test_it_has_the_out_of_fold_predictions(search, iris):
    """Predictions, class numbers and folds are those of the search."""
    library = read_library(search, **OPTIONS)

    np.testing.assert_array_equal(library.predictions, search.oof_predictions_)
    np.testing.assert_array_equal(library.y, iris.y)
    np.testing.assert_array_equal(library.candidates, np.arange(6))
    for fold, (_, test) in enumerate(search.cv.split(*iris)):
        assert (library.part[test] == fold).all()


def test_labels_are_numbered(search, iris):
    """Labels of any kind become their places in the sorted labels."""
    names = np.array(["setosa", "versicolor", "virginica"])[iris.y]
    own = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=3, keep_models="all")

    library = read_library(own.fit(iris.X / 10, names), **OPTIONS)

    np.testing.assert_array_equal(library.y, iris.y)
    assert library.classes.tolist() == ["setosa", "versicolor", "virginica"]


def test_some_rows_of_it_have_all_candidates(search):
    """Rows may be taken by a mask or by positions."""
    library = read_library(search, **OPTIONS)
    rows = library.part == 1

    for taken in (library.take(rows), library.take(np.flatnonzero(rows))):
        assert taken.predictions.shape == (6, rows.sum(), 3)
        np.testing.assert_array_equal(taken.y, library.y[rows])
        assert (taken.part == 1).all()


@pytest.mark.parametrize("is_classification", [True, False])
def test_a_fold_that_no_candidate_predicts_leaves_none(is_classification):
    """The rows of the other folds are not all that were held out."""
    X = np.arange(30.0)[:, None]
    y = np.arange(30) % 2
    refuse = FunctionTransformer(lambda X: np.log(X) if X.min() > 0 else X["none"])
    model = LogisticRegression() if is_classification else Ridge()
    folds = [(np.arange(15, 30), np.arange(15)), (np.arange(1, 15), np.arange(15, 30))]
    own = GridSearchCV(
        make_pipeline(refuse, model), {}, cv=folds, refit=False, keep_models="all"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own.fit(X, y)

    with pytest.raises(ValueError, match="predicts every held-out row"):
        read_library(own, **{**OPTIONS, "is_classification": is_classification})


def test_candidates_without_kept_models_are_left_out(make_estimator, iris):
    """With two candidates kept, and no refit, there are two to choose from."""
    net = make_estimator("MLPClassifier")
    rates = {"learning_rate": [0.001, 0.01, 0.03]}
    own = GridSearchCV(net, rates, cv=3, keep_models=2).fit(*iris)

    kept = read_library(own, **OPTIONS)
    everything = read_library(own, **{**OPTIONS, "needs_models": False})

    assert set(kept.candidates) == set(own.models_)
    assert len(everything.candidates) == 3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test")
def test_failed_candidates_are_left_out(make_estimator, iris):
    """A candidate that fails in a fold cannot be a member."""
    net = make_estimator("MLPClassifier")
    grid = {"dropout": [-1.0, 0.0, 0.2]}
    own = GridSearchCV(net, grid, cv=3, keep_models="all").fit(*iris)

    assert read_library(own, **OPTIONS).candidates.tolist() == [1, 2]


def test_of_several_rungs_the_highest_counts(make_estimator, iris):
    """A candidate that was promoted is there once, from its last rung."""
    net = make_estimator("MLPClassifier")
    own = HalvingGridSearchCV(
        net,
        {"learning_rate": [0.001, 0.003, 0.01, 0.03]},
        resource="max_epochs",
        factor=2,
        max_resources=4,
        cv=KFold(3, shuffle=True, random_state=0),
        keep_models="all",
    ).fit(*iris)

    library = read_library(own, **OPTIONS)

    rates = [own.cv_results_["params"][c]["learning_rate"] for c in library.candidates]
    rungs = own.cv_results_["iter"][library.candidates]
    assert sorted(rates) == [0.001, 0.003, 0.01, 0.03]
    assert sorted(rungs) == [0, 0, 1, 2]


def test_overlapping_folds_give_random_parts(iris):
    """Rows that several folds hold out are parted at random; others are left out."""
    cv = ShuffleSplit(3, test_size=0.4, random_state=0)
    own = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=cv, keep_models="all")
    own.fit(iris.X / 10, iris.y)

    library = read_library(own, **OPTIONS)

    tested = np.zeros(150, dtype=bool)
    for _, test in cv.split(iris.X):
        tested[test] = True
    assert len(library.y) == tested.sum()
    assert np.bincount(library.part).min() >= len(library.y) // 5


def test_a_lone_output_is_no_axis(diabetes):
    """Targets in one column are targets."""
    own = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=3, keep_models="all")
    library = read_library(
        own.fit(diabetes.X, diabetes.y[:, None]), **{**OPTIONS, "is_classification": False}
    )

    assert library.predictions.shape == (2, 200)
    assert library.y.shape == (200,)
    assert library.classes is None


def test_what_is_no_fitted_search_is_refused(search, iris):
    """The message says what is asked for, and what to do about it."""
    theirs = ScikitLearnsSearch(LogisticRegression(), {"C": [1.0]}).fit(iris.X / 10, iris.y)
    for own in (theirs, clone(search)):
        with pytest.raises(ValueError, match="must be a search of sk_tune that has been"):
            read_library(own, **OPTIONS)
    forgetful = clone(search).set_params(keep_models="none").fit(*iris)
    with pytest.raises(ValueError, match="keep_models='all', or use refit=True"):
        read_library(forgetful, **OPTIONS)


def test_rows_of_weight_zero_choose_nothing(search):
    """They count as absent; equal and other weights leave all rows."""
    library = read_library(search, **OPTIONS)
    weight = np.linspace(0.5, 2, 150)
    assert library.where_weights({"sample_weight": weight}) is library
    assert library.where_weights({"sample_weight": None, "other": 1}) is library

    weight[10:20] = 0
    some = library.where_weights({"net__sample_weight": weight})

    np.testing.assert_array_equal(some.rows, np.r_[:10, 20:150])
    assert some.predictions.shape == (6, 140, 3)
    with pytest.raises(ValueError, match="must be positive for a row"):
        library.where_weights({"sample_weight": np.zeros(150)})
