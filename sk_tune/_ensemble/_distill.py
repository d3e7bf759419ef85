# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One small network trained on the predictions of an ensemble."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.random import RandomState
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier
from sklearn.utils import check_consistent_length, check_random_state

from sk_tune._estimators import (
    ClassProbabilities,
    MLPClassifier,
    MLPRegressor,
    NetworkEstimator,
)
from sk_tune._frames import as_pandas
from sk_tune._nesting import last_step
from sk_tune._numerical_embedding import PiecewiseLinear
from sk_tune._prepare import table_pipeline
from sk_tune._splits import take
from sk_tune._types import Array, Seed

# Chosen on development tables, see benchmarks/distill.py.
_NETWORK: dict[str, Any] = {
    "width": 256,
    "members": 1,
    "numerical_embedding": PiecewiseLinear(32),
    "early_stopping": False,
    "max_epochs": 20,
}
_SHARE_REPLACED = 0.05
_AUGMENTED_PER_ROW, _MOST_ROWS = 20, 100_000
# Weight of the labels in targets of labelled rows, for classes and for numbers.
_SHARE_OF_LABELS = {True: 0.25, False: 0.5}
# Attributes with predictions of rows by models that were not trained on them.
_OUT_OF_FOLD = ("oof_predictions_", "oob_decision_function_", "oob_prediction_")


def distill(
    ensemble: Any,
    X: Any,
    y: Any = None,
    *,
    estimator: Any = None,
    oof_predictions: npt.ArrayLike | None = None,
    unlabelled: Any = None,
    n_augmented: int | None = None,
    random_state: Seed = None,
) -> Any:
    """Return one small network trained on the predictions of an ensemble.

    The network learns the out-of-fold predictions for the ensemble's training rows, mixed
    with their targets if these are passed, and the ensemble's predictions for augmented
    rows.  In an augmented row, at least one column, and 5 % of the other columns, have the
    values of other training rows [1]_ [2]_.  Classifiers are trained on probabilities.

    Parameters
    ----------
    ensemble : estimator
        Fitted classifier with ``predict_proba``, or regressor: an ensemble, an AutoML or
        any other model.
    X : frame or array-like of shape (n_samples, ...)
        The rows of the ensemble's ``fit``, in the same order.  If a model has neither
        ``oof_predictions_`` nor out-of-bag predictions, pass rows on which it was not
        trained.
    y : array-like of shape (n_samples,), default=None
        Targets of the rows of X.  The network learns a mixture of targets and predictions,
        in which the targets have a weight of a quarter (in regression, a half).  None
        trains on the predictions alone.
    estimator : estimator, default=None
        Network of sk_tune to clone and train, alone or at the end of a pipeline.  None is
        :func:`table_pipeline` with a network of two layers of 256 units and without
        `members`.
    oof_predictions : array-like of shape (n_samples, ...), default=None
        Predicted probabilities or targets of the rows of X, from models that were not
        trained on them, for example by ``cross_val_predict``; NaN where missing.  None
        takes the predictions stored in the ensemble.
    unlabelled : frame or array-like, default=None
        Further rows, on which the ensemble was not trained.
    n_augmented : int, default=None
        Number of augmented rows.  None is twenty for each row, up to 100,000 rows in total,
        and 0 for data that are not tables.
    random_state : int, RandomState or None, default=None
        Seed of the augmented rows and of the default network.

    Returns
    -------
    estimator
        Fitted pipeline or network.  A classifier has the ``classes_`` of the ensemble.

    Raises
    ------
    TypeError
        If `ensemble` is not an estimator, or X is sparse.
    ValueError
        If `estimator` does not end in a network of the same task, the number of rows
        differs from the ensemble's ``fit``, no row has an out-of-fold prediction, `y` has
        labels that the ensemble does not know, or the ensemble predicts several labels.

    See Also
    --------
    collapse : All members of an ensemble as one predictor, without further training.

    References
    ----------
    .. [1] C. Bucila, R. Caruana, A. Niculescu-Mizil. Model compression. KDD 2006.
    .. [2] R. Fakoor, J. Mueller, N. Erickson, P. Chaudhari, A. J. Smola. Fast, accurate,
       and simple models for tabular data via augmented distillation. NeurIPS 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier, TrialEnsembleClassifier, distill
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> net = MLPClassifier(width=16, batch_size=16, max_epochs=20, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [3e-3, 1e-2]}, keep_models="all")
    >>> ensemble = TrialEnsembleClassifier(search, random_state=0).fit(X, y)
    >>> small = distill(ensemble, X, y, random_state=0)
    >>> bool((small.predict(X) == ensemble.predict(X)).mean() > 0.9)
    True
    """
    if not hasattr(ensemble, "predict"):
        raise TypeError(
            "The first argument, 'ensemble', must be a fitted classifier or regressor, "
            f"followed by X and y. Got {type(ensemble).__name__} instead."
        )
    rng, X = check_random_state(random_state), _rows(X)
    check_consistent_length(X, y)
    is_classification = is_classifier(ensemble)
    student = _student(estimator, is_classification, rng)
    predict = ensemble.predict_proba if is_classification else ensemble.predict
    predictions = _out_of_fold(ensemble, len(X), oof_predictions)
    if predictions is None:
        predictions = np.asarray(predict(X), dtype=np.float64)
    is_wrong = is_classification and predictions.shape[1:] != np.shape(ensemble.classes_)
    if is_wrong or getattr(ensemble, "_is_multilabel", False):
        raise ValueError(
            "The ensemble must predict the probabilities of one label for each row. Got "
            f"predictions of shape {predictions.shape}."
        )
    has_prediction = np.asarray(np.isfinite(predictions).reshape(len(X), -1).all(axis=1))
    if not has_prediction.any():
        raise ValueError(
            "At least one row must have an out-of-fold prediction. The ensemble has none: "
            "pass oof_predictions, or fit the search with keep_predictions='best'."
        )
    predictions = predictions[has_prediction]
    if y is not None:
        labels = _as_predictions(ensemble, y)[has_prediction].reshape(predictions.shape)
        share = _SHARE_OF_LABELS[is_classification]
        predictions = share * labels + (1 - share) * predictions
    further = [] if unlabelled is None else [_rows(unlabelled)]
    every = _joined([X, *further])
    if n_augmented is None:
        room = max(_MOST_ROWS - len(every), 0)
        n_augmented = min(_AUGMENTED_PER_ROW * len(every), room) if X.ndim == 2 else 0
    if n_augmented:
        further.append(_augmented(every, n_augmented, rng))
    target = np.concatenate([predictions, *map(predict, further)])
    if is_classification:
        target = target.view(ClassProbabilities)
    student.fit(_joined([take(X, has_prediction), *further]), target)
    if is_classification:
        last_step(student).classes_ = np.asarray(ensemble.classes_)
    return student


def _student(estimator: Any, is_classification: bool, rng: RandomState) -> Any:  # noqa: FBT001
    """Return an unfitted network, maybe in a pipeline; ValueError for another task."""
    if estimator is None:
        kind, rate = (MLPClassifier, 2e-3) if is_classification else (MLPRegressor, 5e-3)
        seed = rng.randint(2**31 - 1)
        return table_pipeline(kind(**_NETWORK, learning_rate=rate, random_state=seed))
    is_network = isinstance(last_step(estimator), NetworkEstimator)
    if not is_network or is_classifier(estimator) != is_classification:
        task = "classifier" if is_classification else "regressor"
        raise ValueError(
            f"The 'estimator' parameter must be a {task} of sk_tune, or a pipeline that "
            f"ends in one. Got {estimator!r} instead."
        )
    return clone(estimator)


def _rows(X: Any) -> Any:
    """Return a pandas frame of a table of any library, else an array."""
    if issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to "
            "convert to a dense numpy array."
        )
    table = as_pandas(X) if hasattr(X, "columns") else None
    return np.asarray(X) if table is None else table.reset_index(drop=True)


def _joined(parts: Sequence[Any]) -> Any:
    if hasattr(parts[0], "iloc"):
        return pd.concat(parts, ignore_index=True)
    return np.concatenate(parts)


def _out_of_fold(ensemble: Any, n_rows: int, predictions: Any) -> Array | None:
    """Return out-of-fold predictions, NaN for rows without one; None if there are none."""
    is_held_out = np.ones(n_rows, dtype=bool)
    if predictions is None:
        predictions = _stored(ensemble)
        if predictions is None:
            return None
        is_held_out = getattr(ensemble, "_is_held_out", np.ones(len(predictions), bool))
    if len(is_held_out) != n_rows or len(predictions) != is_held_out.sum():
        n_expected = max(len(is_held_out), len(predictions))
        raise ValueError(
            f"X must have the rows of the ensemble's fit, {n_expected}. Got {n_rows} rows. "
            "Pass further rows as 'unlabelled'."
        )
    values = np.asarray(predictions, dtype=np.float64)
    every = np.full((n_rows, *values.shape[1:]), np.nan)
    every[is_held_out] = values
    return every


def _stored(ensemble: Any) -> Array | None:
    """Return an ensemble's own out-of-fold predictions, NaN for rows without one."""
    for name in _OUT_OF_FOLD:
        if getattr(ensemble, name, None) is None:
            continue
        # A search has predictions of all candidates.
        best = getattr(ensemble, "best_index_", slice(None))
        values = np.array(getattr(ensemble, name)[best], dtype=np.float64)
        if name.startswith("oob"):
            # scikit-learn predicts 0 for a row that all members have drawn.
            drawn = (
                np.bincount(rows, minlength=len(values)) > 0
                for rows in ensemble.estimators_samples_
            )
            values[np.logical_and.reduce([*drawn])] = np.nan
        return values
    return None


def _as_predictions(ensemble: Any, y: Any) -> Array:
    """Return labels as probabilities, or targets."""
    y = np.asarray(y)
    if not is_classifier(ensemble):
        return np.asarray(y, dtype=np.float64)
    is_label = np.asarray(y[:, np.newaxis] == ensemble.classes_).reshape(len(y), -1)
    if not (is_known := is_label.any(axis=1)).all():
        raise ValueError(
            f"y must have labels of the ensemble, {ensemble.classes_.tolist()}. Got "
            f"{y[~is_known][:1].tolist()[0]!r} instead."
        )
    return is_label.astype(np.float64)


def _augmented(X: Any, n: int, rng: RandomState) -> Any:
    """Return rows of X with some values replaced by values of other rows."""
    source, replaced = rng.randint(len(X), size=n), rng.randint(X.shape[1], size=n)
    columns = []
    for j in range(X.shape[1]):
        is_new = (replaced == j) | (rng.uniform(size=n) < _SHARE_REPLACED)
        rows = np.where(is_new, rng.randint(len(X), size=n), source)
        columns.append(take(X.iloc[:, j] if hasattr(X, "iloc") else X[:, j], rows))
    return pd.concat(columns, axis=1) if hasattr(X, "iloc") else np.column_stack(columns)
