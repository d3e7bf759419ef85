# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Searches with one round: of all combinations, or of candidates drawn at random."""

from typing import Any

from sklearn import model_selection
from sklearn.model_selection import ParameterGrid

from sk_tune._declaration import parameters
from sk_tune._text import counted
from sk_tune.exceptions import warn_user
from sk_tune.sampler import RandomSampler
from sk_tune.search._base_search import BaseSearch
from sk_tune.search._rounds import Rounds
from sk_tune.search._search_parameters import (
    DispatchParameters,
    DistributionParameters,
    GridParameters,
    space_of,
)


@parameters
class GridSearchCV(  # type: ignore[misc]
    GridParameters, DispatchParameters, BaseSearch, model_selection.GridSearchCV
):
    """Search over all combinations of listed values.

    Drop-in for scikit-learn's class of this name.  All networks of all folds train
    together; whatever is no network is evaluated as scikit-learn does it.

    {parameters and attributes}

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


@parameters
class RandomizedSearchCV(  # type: ignore[misc]
    DistributionParameters,
    DispatchParameters,
    BaseSearch,
    model_selection.RandomizedSearchCV,
):
    """Search over candidates that are drawn at random.

    Drop-in for scikit-learn's class of this name, with the same candidates for the same
    `random_state`.  All networks of all folds train together; whatever is no network is
    evaluated as scikit-learn does it.

    Parameters
    ----------
    n_iter : int, default=10
        Candidates.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    HyperbandSearchCV : Gives few epochs to many candidates first.
    BayesSearchCV : Learns from the scores where to look.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier, RandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, max_epochs=10, batch_size=16, random_state=0)
    >>> space = {"learning_rate": loguniform(1e-4, 1e-1)}
    >>> search = RandomizedSearchCV(net, space, n_iter=8, cv=3, random_state=0).fit(X, y)
    >>> bool(search.best_score_ > 0.9)
    True
    """

    n_iter: int = 10

    def _propose(self, rounds: Rounds, callback_ctx: Any) -> None:
        space = space_of(self)
        candidates = RandomSampler(space, self.random_state).ask(self.n_iter)
        if len(candidates) < self.n_iter:
            warn_user(
                f"The space has {counted(space.n_points or 0, 'candidate')}, fewer than "
                f"n_iter={self.n_iter}. Each is evaluated once."
            )
        n_tasks = len(candidates) * self.n_splits_
        with rounds.task(callback_ctx, "search", n_tasks, is_sequential=False) as ctx:
            rounds.evaluate(candidates, callback_ctx=ctx)

    def _n_candidates_planned(self) -> int:
        space = space_of(self)
        n_points = space.n_points if space.is_listed else None
        return self.n_iter if n_points is None else min(self.n_iter, n_points)
