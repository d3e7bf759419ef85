"""What every public ensemble keeps to."""

from unittest import SkipTest

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

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
    yield sk_tune.SeedEnsembleClassifier(n_estimators=2)
    yield sk_tune.SeedEnsembleRegressor(n_estimators=2)
    # In float32, products of one row and of twenty differ by more than the 1e-7 that a
    # check allows, on some processors.
    params = {"max_epochs": 20, "learning_rate": 0.01, "dtype": "float64"}
    net = sk_tune.MLPClassifier(random_state=0, **params)
    logistic = LogisticRegression()
    yield sk_tune.StackingClassifier([("net", net), ("logistic", logistic)], cv=2)
    yield sk_tune.StackingRegressor(
        [("ridge", Ridge()), ("tree", DecisionTreeRegressor(random_state=0))],
        cv=2,
        layers=2,
    )


# Those that scikit-learn declares for its own searches, with its reasons.
_OF_SEARCHES = {
    "check_supervised_y_2d": "DataConversionWarning not caught",
    "check_requires_y_none": "Doesn't fail gracefully",
}

# scikit-learn's stacking classifier fails it, too.
_OF_STACKING = {
    "check_classifiers_one_label_sample_weights": "final estimator sees no column",
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
    try:
        check(estimator)
    except SkipTest as reason:
        pytest.skip(str(reason))
