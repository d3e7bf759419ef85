"""What both estimators of the one call share."""

import inspect

import pytest

from sk_tune import AutoClassifier, AutoRegressor
from sk_tune.automl._auto_estimator import AutoEstimator


@pytest.mark.parametrize("kind", [AutoClassifier, AutoRegressor])
def test_both_have_the_parameters_that_are_checked(kind):
    """Each parameter has its constraint, and none is checked that is not there."""
    assert set(kind().get_params()) == set(kind._parameter_constraints)
    assert issubclass(kind, AutoEstimator)


@pytest.mark.parametrize("kind", [AutoClassifier, AutoRegressor])
def test_documentation_names_every_parameter(kind):
    """The shared ones are written once and stand in both."""
    for name in kind().get_params():
        assert f"\n{name} : " in inspect.cleandoc(kind.__doc__)
