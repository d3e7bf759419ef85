"""scikit-learn's own checks, over the one call."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import sk_tune

# Without a clock and with a linear model only, because each check fits it many times.
_SMALL = {
    "time_budget": None,
    "n_rounds": 0,
    "models": ["linear"],
    "cv": 2,
    "leak_guard": False,
    "random_state": 0,
}


# Of a pipeline in scikit-learn too: what prepares the columns is given no weights.
_NOT_KEPT = {
    "check_sample_weight_equivalence_on_dense_data": "columns are scaled without weights"
}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [sk_tune.AutoClassifier(**_SMALL), sk_tune.AutoRegressor(**_SMALL)],
    expected_failed_checks=lambda _: _NOT_KEPT,
    xfail_strict=False,
)
def test_automl_passes_the_checks_of_scikit_learn(estimator, check):
    """Every check passes but one that no pipeline with a scaler passes."""
    try:
        check(estimator)
    except SkipTest as reason:
        pytest.skip(str(reason))
