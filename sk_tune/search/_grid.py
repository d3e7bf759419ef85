# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Grid search."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn import model_selection
from sklearn.model_selection import ParameterGrid

from sk_tune.estimators import with_inherited_docs
from sk_tune.search._base import BaseSearch

__all__ = ["GridSearchCV"]


@with_inherited_docs
class GridSearchCV(BaseSearch, model_selection.GridSearchCV):  # type: ignore[misc]
    """Search over all combinations of listed values.

    Drop-in for scikit-learn's class of this name.  All networks of all folds train
    together; whatever is no network is evaluated as scikit-learn does it.

    Parameters
    ----------
    estimator : estimator
        What to tune: any of scikit-learn's kind.  Networks, alone or as the last step of a
        pipeline, are trained as fleets.
    param_grid : dict or list of dict
        Parameter name -> list of values; all combinations of each dict are tried.
    pre_dispatch : int or str, default="2*n_jobs"
        Tasks handed to joblib's workers in advance, for what is no network.
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **model_selection.GridSearchCV._parameter_constraints,
        **BaseSearch._own_constraints,
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        time_budget: float | None = None,
        progress: Callable[..., object] | None = None,
        epochs: str = "last",
        keep_models: int | str = "none",
        keep_predictions: int | str = "all",
        race: bool = False,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.time_budget = time_budget
        self.progress = progress
        self.epochs = epochs
        self.keep_models = keep_models
        self.keep_predictions = keep_predictions
        self.race = race
        self.store = store

    def _n_candidates_planned(self) -> int:
        return len(ParameterGrid(self.param_grid))
