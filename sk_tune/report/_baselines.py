# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Models that a network must beat to be worth having, on the folds of a search."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import is_classifier, is_regressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sk_tune._search_record import search_record
from sk_tune.exceptions import TableError
from sk_tune.prepare import TablePreparer, as_pandas, column_kinds
from sk_tune.report._page_records import Baseline
from sk_tune.report._search_checks import folds_of

__all__ = ["baseline_models", "search_baselines"]

_LINEAR_STEPS = 1000  # Enough for scaled columns; convergence is not the point of it.
# Values of X from which on a linear model takes minutes, for which nobody asked.
_MOST_VALUES = 20_000_000


def baseline_models(X: Any, *, is_classification: bool, n_targets: int = 1) -> list[Any]:
    """Return a dummy and a linear model for a table, both unfitted.

    The linear model stands behind a step that makes numbers of the columns. Raises
    TableError if a table has no column that can be used.
    """
    if not is_classification:
        return [DummyRegressor(), _linear(X, Ridge())]
    model: Any = LogisticRegression(max_iter=_LINEAR_STEPS)
    if n_targets > 1:
        model = OneVsRestClassifier(model)
    return [DummyClassifier(), _linear(X, model)]


def search_baselines(search: Any, X: Any, y: Any) -> tuple[list[Baseline], list[str]]:
    """Return how simple models do on the folds of a search, and notes on what is missing.

    Without `X` there is a dummy only, if the search tells its folds.
    """
    is_classification = is_classifier(search)
    if not (is_classification or is_regressor(search)):
        return [], ["There are baselines for classifiers and regressors only."]
    record = search_record(search)
    if y is not None:
        y = np.asarray(y)
    elif record is not None:
        y = record.y
    if y is None:
        return [], ["Baselines need the data: give X and y to the report."]
    folds, are_same = folds_of(search, X, y, len(y))
    if folds is None:
        return [], ["Baselines need the folds, which this search does not tell."]
    notes = []
    if not are_same:
        notes.append(
            "The baselines are scored on other folds than the candidates, drawn in the "
            "same way: the splitter of this search does not repeat itself."
        )
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    table = _blank(len(y)) if X is None else _as_table(X)
    try:
        models = baseline_models(
            table, is_classification=is_classification, n_targets=n_targets
        )
    except TableError as error:
        models = [DummyClassifier() if is_classification else DummyRegressor()]
        notes.append(f"There is no linear baseline. {error}")
    if X is None:
        models = models[:1]
        notes.append("A linear baseline needs the data: give X and y to the report.")
    elif getattr(table, "size", 0) > _MOST_VALUES:
        models = models[:1]
        notes.append("There is no linear baseline: the data are too large for a quick one.")
    names = ("dummy", "linear")
    scores = [_score(model, table, y, search, folds) for model in models]
    return [
        Baseline(name=name, mean=float(values.mean()), std=float(values.std()))
        for name, values in zip(names, scores, strict=False)
    ], notes


def _linear(X: Any, model: Any) -> Pipeline:
    if isinstance(X, pd.DataFrame):
        column_kinds(X)  # Refuses a table without a usable column before any fold does.
        return Pipeline([("prepare", TablePreparer()), ("linear", model)])
    scale = StandardScaler(with_mean=not sparse.issparse(X))
    if X.ndim > 2:
        return make_pipeline(FunctionTransformer(_flat), scale, model)
    return make_pipeline(scale, model)


def _flat(X: Any) -> Any:
    return X.reshape(len(X), -1)


def _blank(n_rows: int) -> Any:
    """Return columns for a model that looks at none."""
    return np.zeros((n_rows, 1))


def _as_table(X: Any) -> Any:
    """Return numbers as an array, all else as a DataFrame of pandas."""
    if sparse.issparse(X):
        return X
    table = as_pandas(X)
    if table is not None:
        return table
    array = np.asarray(X)
    is_plain = array.dtype.kind in "fiub" and array.ndim >= 2
    if not is_plain or np.isnan(array).any():
        # Texts are one column, sequences a column for each step and feature.
        flat = array.reshape(len(array), -1)
        return pd.DataFrame(flat, columns=[str(k) for k in range(flat.shape[1])])
    return array


def _score(model: Any, X: Any, y: Any, search: Any, folds: Any) -> Any:
    scorer = search.scorer_
    if isinstance(scorer, dict):
        scorer = scorer.get(search.refit, next(iter(scorer.values())))
    with warnings.catch_warnings():
        # The score shows by itself that a fold lacks a class, or a step did not converge.
        warnings.simplefilter("ignore")
        try:
            found = cross_validate(
                model, X, y, scoring=scorer, cv=folds, error_score=np.nan
            )
        except ValueError:
            # scikit-learn raises this if all folds failed, whatever error_score is.
            found = {}
    # A function may return several scores, of which one decides.
    name = f"test_{search.refit}" if "test_score" not in found else "test_score"
    return found.get(name, np.full(len(folds), np.nan))
