"""Intervals and sets of labels of searches."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.svm import LinearSVC

from sk_tune import (
    GridSearchCV,
    HyperbandSearchCV,
    MLPRegressor,
    RandomizedSearchCV,
    TrialEnsembleClassifier,
    TrialEnsembleRegressor,
    collapse,
    load,
    save,
)
from sk_tune._conformal import calibrate
from sk_tune._search._choice import rows_without_folds

ALPHA = {"alpha": [1.0]}
CV = KFold(5, shuffle=True, random_state=0)


def _parts(splits, n):
    part = np.empty(n, dtype=int)
    for fold, (_, test) in enumerate(splits):
        part[test] = fold
    return part


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(return_X_y=True)


def test_intervals_surround_the_refitted_model(diabetes):
    """Without fold models the out-of-fold residuals surround ``predict``."""
    X, y = diabetes
    search = GridSearchCV(Ridge(), ALPHA, cv=CV).fit(X, y)

    bounds = search.predict_interval(X, coverage=0.8)

    held_out = cross_val_predict(Ridge(), X, y, cv=CV)
    part = _parts(CV.split(X), len(y))
    calibration = calibrate(y, held_out, part, is_classification=False)
    expected = calibration.interval(search.predict(X)[np.newaxis], 0.8)
    np.testing.assert_allclose(bounds, expected, rtol=1e-9)
    np.testing.assert_allclose(bounds.mean(axis=1), search.predict(X), rtol=1e-9)


def test_intervals_of_stored_fold_models_are_cv_plus(diabetes):
    """With ``keep_models`` the bounds are quantiles over the models of the folds."""
    X, y = diabetes
    search = GridSearchCV(Ridge(), ALPHA, cv=CV, keep_models="best").fit(X, y)

    bounds = search.predict_interval(X)

    held_out = cross_val_predict(Ridge(), X, y, cv=CV)
    models = [Ridge().fit(X[train], y[train]) for train, _ in CV.split(X)]
    part = _parts(CV.split(X), len(y))
    calibration = calibrate(y, held_out, part, is_classification=False, by_fold=True)
    expected = calibration.interval(np.stack([m.predict(X) for m in models]), 0.9)
    np.testing.assert_allclose(bounds, expected, rtol=1e-9)


def test_each_fold_is_predicted_by_the_candidate_chosen_without_it():
    """The mean over the remaining folds chooses, unless another rule chose."""
    results = {
        "mean_test_score": np.array([0.5, 0.6, 0.2]),
        "split0_test_score": np.array([0.5, 1.2, 0.0]),
        "split1_test_score": np.array([0.5, 0.3, 0.3]),
        "split2_test_score": np.array([0.5, 0.3, 0.3]),
    }

    assert rows_without_folds(results, True, 1, [1, 0, 2]) == (0, 1, 1)
    assert rows_without_folds(results, True, 2, [1, 0, 2]) == (2, 2, 2)


@pytest.mark.slow
def test_coverage_does_not_suffer_from_the_choice_among_noise():
    """The best of 20 models of random columns covers new samples as requested.

    Residuals of the best candidate itself cover 87 %.
    """
    covered = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(460, 40)), rng.normal(size=460)
        grid = {"columns": [rng.permutation(40)[:6].tolist() for _ in range(20)]}
        search = GridSearchCV(_Columns(), grid, cv=CV).fit(X[:60], y[:60])
        low, high = search.predict_interval(X[60:]).T
        covered.append(np.mean((low <= y[60:]) & (y[60:] <= high)))

    assert np.mean(covered) > 0.89


class _Columns(LinearRegression):
    """A linear model of some columns."""

    def __init__(self, columns=()):
        super().__init__()
        self.columns = columns

    def fit(self, X, y):
        return super().fit(X[:, self.columns], y)

    def predict(self, X):
        return super().predict(X[:, self.columns])


def test_sets_have_a_column_for_each_class():
    """The columns are ``classes_``, also where a fold lacks a class."""
    X, y = load_iris(return_X_y=True)
    labels = np.array(["c", "a", "b"])[y]
    grid = {"C": [1.0]}
    for cv in (KFold(3), StratifiedKFold(5)):
        for keep_models in (None, "all"):
            search = GridSearchCV(
                LogisticRegression(max_iter=1000), grid, cv=cv, keep_models=keep_models
            ).fit(X, labels)
            sets = search.predict_set(X)
            assert sets.shape == (150, 3)
            assert sets.dtype == bool
            truth = np.searchsorted(search.classes_, labels)
            assert sets[np.arange(150), truth].mean() >= 0.9


def test_methods_follow_the_kind_of_the_estimator():
    """A search of regressors has intervals, a search of classifiers has sets."""
    assert hasattr(GridSearchCV(Ridge(), ALPHA), "predict_interval")
    assert not hasattr(GridSearchCV(Ridge(), ALPHA), "predict_set")
    classifier = GridSearchCV(LogisticRegression(), {"C": [1]})
    assert hasattr(classifier, "predict_set")
    assert not hasattr(classifier, "predict_interval")


def test_missing_predictions_and_wrong_coverage_are_refused(diabetes):
    """The messages name the value and the remedy."""
    X, y = diabetes
    search = GridSearchCV(Ridge(), ALPHA, keep_predictions=None)
    with pytest.raises(NotFittedError):
        search.predict_interval(X)
    search.fit(X, y)
    with pytest.raises(ValueError, match="keep_predictions='all'"):
        search.predict_interval(X)
    for coverage in (0, 1, 90, "0.9", True):
        with pytest.raises(ValueError, match="'coverage' must be a number between 0 and 1"):
            search.predict_interval(X, coverage=coverage)


def test_labels_without_probabilities_have_no_sets():
    """Labels do not show how sure a classifier is."""
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(LinearSVC(), {"C": [1.0]}, keep_models="all").fit(X, y)
    with pytest.raises((AttributeError, ValueError), match="predict_proba|probabilities"):
        search.predict_set(X)


def test_intervals_are_for_new_groups_if_the_folds_are():
    """Folds of groups give the width for new groups; other folds are too narrow."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 10)
    level = rng.normal(size=200)[groups]
    y = level + 0.1 * rng.normal(size=2000)
    X = np.column_stack([np.eye(200)[groups], rng.normal(size=2000)])
    old, new = groups < 100, groups >= 100

    def coverage(cv):
        folds = [*cv.split(X[old], groups=groups[old] if cv is by_group else None)]
        search = GridSearchCV(Ridge(), ALPHA, cv=folds)
        low, high = search.fit(X[old], y[old]).predict_interval(X[new]).T
        return np.mean((low <= y[new]) & (y[new] <= high))

    by_group = GroupKFold(5)
    assert coverage(ShuffleSplit(5, random_state=0)) < 0.5
    assert coverage(by_group) == pytest.approx(0.9, abs=0.05)


def test_folds_in_the_order_of_time_have_intervals(diabetes):
    """Samples that no fold held out do not count."""
    X, y = diabetes
    cv = TimeSeriesSplit(4)
    for keep_models in (None, "all"):
        search = GridSearchCV(Ridge(), ALPHA, cv=cv, keep_models=keep_models).fit(X, y)
        low, high = search.predict_interval(X).T
        assert np.mean((low <= y) & (y <= high)) > 0.85


def test_repeated_folds_count_once(diabetes):
    """Only the first prediction of a sample is one of a single model."""
    X, y = diabetes
    other = KFold(5, shuffle=True, random_state=1)
    once = GridSearchCV(Ridge(), ALPHA, cv=CV).fit(X, y)
    twice = GridSearchCV(Ridge(), ALPHA, cv=[*CV.split(X), *other.split(X)]).fit(X, y)

    np.testing.assert_allclose(twice.predict_interval(X), once.predict_interval(X))


def test_a_pickled_search_has_the_same_intervals(diabetes):
    """Pickles keep predictions and models."""
    X, y = diabetes
    search = GridSearchCV(Ridge(), ALPHA, keep_models="all").fit(X, y)

    again = pickle.loads(pickle.dumps(search))

    np.testing.assert_array_equal(again.predict_interval(X), search.predict_interval(X))


def test_rungs_and_several_targets_have_intervals(diabetes):
    """Hyperband's best network has intervals for each target."""
    X, y = diabetes
    both = np.column_stack([y, -y])
    net = MLPRegressor(width=8, batch_size=64, max_epochs=9, random_state=0)
    search = HyperbandSearchCV(net, {"learning_rate": [0.01, 0.03]}, random_state=0)

    bounds = search.fit(X, both).predict_interval(X)

    assert bounds.shape == (len(X), 2, 2)
    covered = (bounds[:, 0] <= both) & (both <= bounds[:, 1])
    np.testing.assert_allclose(covered.mean(axis=0), 0.9, atol=0.06)


@pytest.fixture(scope="module")
def ensembles(diabetes):
    """Return an ensemble of regressors and one of classifiers, with their features."""
    net = MLPRegressor(width=8, batch_size=64, max_epochs=9, random_state=0)
    grid = {"learning_rate": [0.01, 0.03]}
    search = GridSearchCV(net, grid, cv=CV, keep_models="all").fit(*diabetes)
    X, y = load_iris(return_X_y=True)
    of_labels = RandomizedSearchCV(
        LogisticRegression(max_iter=1000), {"C": [0.01, 1.0]}, n_iter=2, keep_models="all"
    ).fit(X, y)
    return (
        (TrialEnsembleRegressor.from_search(search, random_state=0), *diabetes),
        (TrialEnsembleClassifier.from_search(of_labels, random_state=0), X, y),
    )


def test_an_ensemble_has_intervals_by_predictions_of_choices_on_other_folds(ensembles):
    """Its ``oof_predictions_`` are calibrated; the intervals surround ``predict``."""
    (ensemble, X, y), (of_labels, X_iris, labels) = ensembles

    bounds = ensemble.predict_interval(X)

    part = _parts(CV.split(X), len(y))
    predictions = ensemble.oof_predictions_
    calibration = calibrate(y, predictions, part, is_classification=False)
    expected = calibration.interval(ensemble.predict(X)[np.newaxis], 0.9)
    np.testing.assert_allclose(bounds, expected, rtol=1e-9)
    sets = of_labels.predict_set(X_iris)
    assert sets[np.arange(150), labels].mean() >= 0.9


def test_a_saved_ensemble_has_the_same_intervals(ensembles, tmp_path):
    """The safetensors file of a collapsed ensemble contains the calibration."""
    (ensemble, X, _), _ = ensembles
    small = collapse(ensemble)
    save(small, tmp_path / "ensemble.safetensors")

    again = load(tmp_path / "ensemble.safetensors")

    np.testing.assert_array_equal(again.predict_interval(X), small.predict_interval(X))
    np.testing.assert_allclose(again.predict_interval(X), ensemble.predict_interval(X))


def test_a_pruned_ensemble_has_no_intervals(ensembles):
    """The errors of fewer members are unknown."""
    (ensemble, X, _), _ = ensembles
    with pytest.raises(ValueError, match="This CollapsedRegressor has none"):
        collapse(ensemble).prune(max_members=1).predict_interval(X)


def test_a_collapsed_search_keeps_its_intervals(diabetes, tmp_path):
    """A search is saved as its best network with the calibration."""
    X, y = diabetes
    net = MLPRegressor(width=8, batch_size=64, max_epochs=5, random_state=0)
    search = GridSearchCV(net, {"learning_rate": [0.01, 0.03]}).fit(X, y)
    save(collapse(search), tmp_path / "search.safetensors")

    again = load(tmp_path / "search.safetensors")

    np.testing.assert_allclose(again.predict(X), search.predict(X), rtol=1e-5)
    np.testing.assert_allclose(
        again.predict_interval(X), search.predict_interval(X), rtol=1e-5
    )
