# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Grid search."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn import model_selection

from sk_tune.search._base import BaseSearch

__all__ = ["GridSearchCV"]


class GridSearchCV(BaseSearch, model_selection.GridSearchCV):  # type: ignore[misc]
    """Grid."""

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
        race: bool = False,
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
        self.race = race
