"""What searches leave behind."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from sk_tune import GridSearchCV
from sk_tune.automl._blend import best_of, library_of, trials_of

X, Y = load_iris(return_X_y=True)
FOLDS = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, Y))


@pytest.fixture
def search():
    """Return a search over three strengths, whose models were kept."""
    pipeline = make_pipeline("passthrough", LogisticRegression(max_iter=1000))
    grid = {"logisticregression__C": [0.01, 1.0, 10.0]}
    return GridSearchCV(pipeline, grid, cv=FOLDS, refit=False, keep_models="all").fit(X, Y)


def test_trials_are_the_candidates_with_their_models(search):
    """Scores are those of the search, and names count on."""
    trials = trials_of(search, "linear", is_classification=True, n_before=4, n_rows=100)

    assert [trial.name for trial in trials] == ["linear 5", "linear 6", "linear 7"]
    np.testing.assert_allclose(
        [trial.score for trial in trials], search.cv_results_["mean_test_score"]
    )
    assert all(len(trial.models) == 3 for trial in trials)
    assert {(trial.n_rows, trial.label) for trial in trials} == {(100, "linear")}


def test_libraries_hold_what_folds_predict_of_other_rows(search):
    """They equal scikit-learn's cross_val_predict with the same folds."""
    trials = trials_of(search, "linear", is_classification=True, n_before=0, n_rows=100)
    expected = cross_val_predict(
        search.estimator.set_params(logisticregression__C=10.0),
        X,
        Y,
        cv=FOLDS,
        method="predict_proba",
    )

    library = library_of(best_of(trials, 2))

    assert library.predictions.shape == (2, 150, 3)
    own = trials[2].library.predictions[0]
    np.testing.assert_allclose(own, expected, atol=1e-6)


def test_a_search_without_models_leaves_nothing(search):
    """An ensemble could not use its candidates."""
    search.models_ = {}

    assert trials_of(search, "linear", is_classification=True, n_before=0, n_rows=100) == []


def test_the_best_come_first(search):
    """In the order of their scores, as many as are asked for."""
    trials = trials_of(search, "linear", is_classification=True, n_before=0, n_rows=100)

    best = best_of(trials, 2)

    assert [t.score for t in best] == sorted((t.score for t in trials), reverse=True)[:2]


def test_one_fold_tells_nothing_of_a_spread(search):
    """The deviation is not 0 then but not known."""
    single = GridSearchCV(
        search.estimator, search.param_grid, cv=FOLDS[:1], refit=False, keep_models="all"
    ).fit(X, Y)

    trials = trials_of(single, "linear", is_classification=True, n_before=0, n_rows=100)

    assert all(np.isnan(trial.std) for trial in trials)
    assert [len(trial.fold_scores) for trial in trials] == [1, 1, 1]
