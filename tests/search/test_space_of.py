"""The space of a search, whoever wrote it."""

import pytest
from scipy.stats import uniform
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV as SklearnGridSearchCV
from sklearn.model_selection import RandomizedSearchCV as SklearnRandomizedSearchCV

from sk_tune import BayesSearchCV, GridSearchCV, HyperbandSearchCV
from sk_tune.search._search_parameters import space_of


@pytest.mark.parametrize(
    ("search", "n_points"),
    [
        (GridSearchCV(Ridge(), {"alpha": (0.1, 1.0, 2.0)}), 3),
        (SklearnGridSearchCV(Ridge(), [{"alpha": [0.1]}, {"tol": [0.1, 1.0]}]), 3),
        (SklearnRandomizedSearchCV(Ridge(), {"alpha": uniform(0, 1)}), None),
        (HyperbandSearchCV(Ridge(), {"alpha": (1, 5)}), 2),
        (BayesSearchCV(Ridge(), {"alpha": (1, 5)}), 5),
    ],
)
def test_tuples_are_ranges_for_bayesian_searches_only(search, n_points):
    """As in scikit-optimize; they are values in scikit-learn."""
    assert space_of(search).n_points == n_points
