# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Random search."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn import model_selection

from sk_tune.estimators import with_inherited_docs
from sk_tune.exceptions import warn_user
from sk_tune.sampler import RandomSampler
from sk_tune.search._base import BaseSearch
from sk_tune.search._rounds import Rounds

__all__ = ["RandomizedSearchCV"]


@with_inherited_docs
class RandomizedSearchCV(BaseSearch, model_selection.RandomizedSearchCV):  # type: ignore[misc]
    """Search over candidates that are drawn at random.

    Drop-in for scikit-learn's class of this name, with the same candidates for the same
    `random_state`.  All networks of all folds train together; whatever is no network is
    evaluated as scikit-learn does it.

    Parameters
    ----------
    estimator : estimator
        What to tune: any of scikit-learn's kind.  Networks, alone or as the last step of a
        pipeline, are trained as fleets.
    param_distributions : dict or list of dict
        Parameter name -> list of values, scipy distribution, scikit-optimize dimension, or
        :class:`~sk_tune.search.Choice` for parameters that depend on others.
    n_iter : int, default=10
        Candidates.
    random_state : int, RandomState or None, default=None
        Source of the candidates.
    pre_dispatch : int or str, default="2*n_jobs"
        Tasks handed to joblib's workers in advance, for what is no network.
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **model_selection.RandomizedSearchCV._parameter_constraints,
        **BaseSearch._own_constraints,
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
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
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
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

    def _propose(self, rounds: Rounds, callback_ctx: Any) -> None:
        space = self._space()
        candidates = RandomSampler(space, self.random_state).ask(self.n_iter)
        if len(candidates) < self.n_iter:
            warn_user(
                f"The space has {space.n_points} candidates, fewer than n_iter="
                f"{self.n_iter}. Each is evaluated once."
            )
        search_ctx = callback_ctx.subcontext(
            task_name="search",
            max_subtasks=len(candidates) * self.n_splits_,
            sequential_subtasks=False,
        ).call_on_fit_task_begin(estimator=self)
        rounds.evaluate(candidates, callback_ctx=search_ctx)
        search_ctx.call_on_fit_task_end(estimator=self)

    def _n_candidates_planned(self) -> int:
        space = self._space()
        return int(min(self.n_iter, space.n_points) if space.is_listed else self.n_iter)
