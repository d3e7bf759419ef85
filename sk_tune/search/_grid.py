# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Grid search."""

from sklearn import model_selection
from sklearn.model_selection import ParameterGrid

from sk_tune._declaration import parameters
from sk_tune.search._base import BaseSearch
from sk_tune.search._search_parameters import DispatchParameters, GridParameters

__all__ = ["GridSearchCV"]


@parameters
class GridSearchCV(  # type: ignore[misc]
    GridParameters, DispatchParameters, BaseSearch, model_selection.GridSearchCV
):
    """Search over all combinations of listed values.

    Drop-in for scikit-learn's class of this name.  All networks of all folds train
    together; whatever is no network is evaluated as scikit-learn does it.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    RandomizedSearchCV : For more combinations than can be tried.
    HyperbandSearchCV : Gives few epochs to many candidates first.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, max_epochs=10, batch_size=16, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [1e-4, 1e-2]}, cv=3).fit(X, y)
    >>> search.best_params_
    {'learning_rate': 0.01}
    >>> search.learning_curves_.shape
    (60, 6)
    """

    def _n_candidates_planned(self) -> int:
        return len(ParameterGrid(self.param_grid))
