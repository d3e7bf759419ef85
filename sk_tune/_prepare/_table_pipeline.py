# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A pipeline from a table of any kind to a network with tuned defaults.

The values were chosen on 15 tables and measured on others, see
``docs/how-to/table-networks.md``.
"""

from typing import Any, Literal

from numpy.random import RandomState
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from sk_tune._estimators import MLPClassifier, MLPRegressor
from sk_tune._numerical_embedding import PiecewiseLinear
from sk_tune._prepare._table_preparer import TablePreparer
from sk_tune._text import did_you_mean

_COMMON: dict[str, Any] = {
    "numerical_embedding": PiecewiseLinear(),
    "members": 8,
    "width": 128,
}
_NETWORKS: dict[str, tuple[Any, dict[str, Any]]] = {
    # Networks soon memorise the classes, so they stop at the best epoch.
    "classifier": (
        MLPClassifier,
        {"learning_rate": 2e-3, "dropout": 0.2, "n_iter_no_change": 15},
    ),
    # Smooth targets gain from long training; dropout limits overfitting to noisy targets.
    "regressor": (
        MLPRegressor,
        {"learning_rate": 0.01, "dropout": 0.2, "max_epochs": 40},
    ),
}


def table_pipeline(
    kind: Literal["classifier", "regressor"] | BaseEstimator,
    *,
    random_state: int | RandomState | None = None,
) -> Pipeline:
    """Return an unfitted pipeline for a table of numbers, dates, categories and gaps.

    Parameters
    ----------
    kind : {"classifier", "regressor"} or estimator
        Whether the pipeline predicts classes or numbers; or the last step, for example an
        :class:`MLPClassifier` with parameters of your own.
    random_state : int, RandomState instance or None, default=None
        Seed of the network, as for ``MLPClassifier``; an estimator keeps its own.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Step ``prepare`` is a :class:`TablePreparer` that encodes columns of many categories
        for embeddings; step ``net`` is an :class:`MLPClassifier` or :class:`MLPRegressor`
        with eight `members`, a `numerical_embedding` and other values that do well on
        tables without tuning.  Names of parameters thus begin with ``prepare__`` or
        ``net__``.

    Raises
    ------
    ValueError
        If `kind` is unknown.

    See Also
    --------
    table_space : Parameters to search.
    AutoClassifier : Search, comparison with other models, and report in one call.

    Notes
    -----
    In wide tables the embedding of numbers takes most of the time.  A fit on
    ``numpy.random.default_rng(0).normal(size=(200, 1000))``, with the sign of the first
    column as target, took 10 s of one core, and 1.8 s after
    ``set_params(net__numerical_embedding=None)``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_tune import table_pipeline
    >>> X = pd.DataFrame({"age": [20, None, 40, 31] * 9, "town": ["Bern", "Ulm"] * 18})
    >>> y = ["yes", "no", "no", "yes"] * 9
    >>> pipe = table_pipeline("classifier", random_state=0).set_params(net__max_epochs=5)
    >>> pipe.fit(X, y).predict(X[:2]).shape
    (2,)
    """
    is_name = isinstance(kind, str) and kind in _NETWORKS
    if not is_name and (isinstance(kind, type) or not hasattr(kind, "fit")):
        hint = did_you_mean(str(kind), _NETWORKS)
        if isinstance(kind, type):
            hint = f" Create the estimator: {kind.__name__}()."
        raise ValueError(
            "'kind' must be 'classifier', 'regressor' or an estimator. "
            f"Got {kind!r} instead.{hint}"
        )
    net = kind
    if isinstance(kind, str):
        network, params = _NETWORKS[kind]
        net = network(**_COMMON, **params, random_state=random_state)
    return Pipeline([("prepare", TablePreparer(embeddings=True)), ("net", net)])
