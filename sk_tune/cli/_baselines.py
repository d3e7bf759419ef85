# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Scores that a network must beat to be worth having, and how scores are taken."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_validate

from sk_tune.cli._split import Split
from sk_tune.exceptions import OptionError
from sk_tune.report import baseline_models

__all__ = ["Score", "score_baselines", "score_on_test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How an estimator did; greater is better.

    Parameters
    ----------
    name : str
        What was scored.
    mean, std : float
        Mean and standard deviation of the score over the folds; NaN if it cannot be taken.
    test : float
        Score on the test rows after a fit on all others; NaN if it cannot be taken.
    """

    name: str
    mean: float
    std: float
    test: float


def score_baselines(
    split: Split, task: str, *, scoring: str, folds: Any, n_jobs: int
) -> tuple[Score, Score]:
    """Return the scores of a dummy and of a linear model.

    Parameters
    ----------
    split : Split
        The rows.
    task : {"classification", "regression"}
        The kind of problem.
    scoring : str
        Name of a scorer.
    folds : splitter
        The folds that the search uses.
    n_jobs : int
        Processes.

    Returns
    -------
    tuple of Score
        "dummy" and "linear".

    Raises
    ------
    OptionError
        If not even the dummy can be scored so.
    """
    dummy, linear = baseline_models(
        split.X_train, is_classification=task == "classification"
    )
    try:
        lowest = _score("dummy", dummy, split, scoring, folds, "raise", 1)
    except ValueError as error:
        raise OptionError(
            f"--scoring must suit the target. Got {scoring!r}, which fails here: {error}"
        ) from error
    return lowest, _score("linear", linear, split, scoring, folds, np.nan, n_jobs)


def score_on_test(estimator: Any, split: Split, scoring: str) -> float:
    """Return a fitted estimator's score on the test rows.

    Parameters
    ----------
    estimator : estimator
        Fitted on the training rows.
    split : Split
        The rows.
    scoring : str
        Name of a scorer.

    Returns
    -------
    float
        NaN where the score is undefined on these rows, for example without any row of one
        class.
    """
    try:
        return float(get_scorer(scoring)(estimator, split.X_test, split.y_test))
    except ValueError:
        return float("nan")


def _score(
    name: str,
    estimator: Any,
    split: Split,
    scoring: str,
    folds: Any,
    error_score: Any,
    n_jobs: int,
) -> Score:
    X: pd.DataFrame = split.X_train
    scores = cross_validate(
        estimator,
        X,
        split.y_train,
        scoring=scoring,
        cv=folds,
        n_jobs=n_jobs,
        error_score=error_score,
    )["test_score"]
    fitted = estimator.fit(X, split.y_train)
    return Score(
        name=name,
        mean=float(scores.mean()),
        std=float(scores.std()),
        test=score_on_test(fitted, split, scoring),
    )
