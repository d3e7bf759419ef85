"""Contracts of all public ensembles."""

import numpy as np
import pytest
from marks import parametrize_with_checks
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

import sk_tune

# A failing fold is a failing fit to the checks.
_STRICT = {"cv": 2, "error_score": "raise"}


def _checked():
    """Return ensembles as scikit-learn's own checks build them, some of networks."""
    yield sk_tune.TrialEnsembleClassifier(
        sk_tune.GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, **_STRICT)
    )
    yield sk_tune.TrialEnsembleRegressor(
        sk_tune.GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, **_STRICT)
    )
    # In float32, products of one row and of twenty differ by more than the 1e-7 that a
    # check allows, on some processors.
    params = {"width": 16, "max_epochs": 4, "learning_rate": 0.03, "dtype": "float64"}
    net = sk_tune.MLPClassifier(random_state=0, **params)
    logistic = LogisticRegression()
    yield sk_tune.StackingClassifier([("net", net), ("logistic", logistic)], cv=2)
    yield sk_tune.StackingRegressor(
        [("ridge", Ridge()), ("tree", DecisionTreeRegressor(random_state=0))],
        cv=2,
    )


# Those that scikit-learn declares for its own searches, with its reasons.
_OF_SEARCHES = {
    "check_supervised_y_2d": "DataConversionWarning not caught",
    "check_requires_y_none": "Doesn't fail gracefully",
}

# scikit-learn's stacking classifier fails it, too.
_OF_STACKING = {
    "check_classifiers_one_label_sample_weights": "final estimator sees no column"
}


def _expected_failures(ensemble):
    if hasattr(ensemble, "search"):
        return _OF_SEARCHES
    return _OF_STACKING if isinstance(ensemble, sk_tune.StackingClassifier) else {}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    list(_checked()), expected_failed_checks=_expected_failures, xfail_strict=False
)
def test_ensembles_pass_the_checks_of_scikit_learn(estimator, check):
    """Every check passes that scikit-learn's own ensembles and searches pass."""
    check(estimator)


class Interrupted(Ridge):
    """The second fit after a number was set is interrupted by Ctrl-C."""

    n_left = -1

    def fit(self, X, y, sample_weight=None):
        """Fit, or raise."""
        Interrupted.n_left -= 1
        if Interrupted.n_left == 0:
            raise KeyboardInterrupt
        return super().fit(X, y, sample_weight)


_MEMBER = Interrupted()
INTERRUPTED = {
    "bagging": sk_tune.BaggingRegressor(_MEMBER, 3, random_state=0),
    "boosting": sk_tune.BoostingRegressor(_MEMBER, 3, random_state=0),
    "trials": sk_tune.TrialEnsembleRegressor(
        sk_tune.GridSearchCV(_MEMBER, {"alpha": [0.1, 1.0]}, cv=2)
    ),
}


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("is_fitted_before", [False, True])
@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_ensemble_that_was_interrupted_is_not_fitted(name, is_fitted_before):
    """It raises NotFittedError instead of predicting with a part of its members."""
    X, y = load_iris(return_X_y=True)
    ensemble = clone(INTERRUPTED[name])
    if is_fitted_before:
        Interrupted.n_left = -1
        assert np.isfinite(ensemble.fit(X, y).predict(X)).all()

    Interrupted.n_left = 2
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, y)

    with pytest.raises(NotFittedError, match="not fitted yet"):
        ensemble.predict(X)
    Interrupted.n_left = -1
    assert np.isfinite(ensemble.fit(X, y).predict(X)).all()


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_an_ensemble_of_trials_keeps_what_its_search_found():
    """After Ctrl-C the search has the candidates that were complete."""
    X, y = load_iris(return_X_y=True)
    ensemble = clone(INTERRUPTED["trials"])
    Interrupted.n_left = 4

    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, y)

    scores = ensemble.search_.cv_results_["mean_test_score"]
    assert np.isfinite(scores).tolist() == [True, False]
