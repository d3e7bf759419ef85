# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A pipeline from a table of any kind to a network with tuned defaults."""

from typing import Any, Literal

from numpy.random import RandomState
from sklearn.pipeline import Pipeline

from sk_tune._estimators import MLPClassifier, MLPRegressor
from sk_tune._prepare._table_preparer import TablePreparer
from sk_tune._space import table_defaults

_TASKS: dict[str, tuple[Any, Any]] = {
    "classifier": (MLPClassifier, "classification"),
    "regressor": (MLPRegressor, "regression"),
}


def table_pipeline(
    kind: Literal["classifier", "regressor"],
    *,
    random_state: int | RandomState | None = None,
) -> Pipeline:
    """Return an unfitted pipeline for a table of numbers, dates, categories and gaps.

    Parameters
    ----------
    kind : {"classifier", "regressor"}
        Whether the pipeline predicts classes or numbers.
    random_state : int, RandomState instance or None, default=None
        Seed of the network, as for ``MLPClassifier``.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Step ``prepare`` is a :class:`TablePreparer` that encodes columns of many categories
        for embeddings; step ``net`` is an :class:`MLPClassifier` or :class:`MLPRegressor`
        with the parameters of :func:`table_defaults`.  Names of parameters thus begin with
        ``prepare__`` or ``net__``.

    Raises
    ------
    ValueError
        If `kind` is unknown.

    See Also
    --------
    table_space : Parameters to search.
    AutoClassifier : Search, comparison with other models, and report in one call.

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
    if kind not in _TASKS:
        raise ValueError(
            f"'kind' must be 'classifier' or 'regressor'. Got {kind!r} instead."
        )
    network, task = _TASKS[kind]
    net = network(**table_defaults(task), random_state=random_state)
    return Pipeline([("prepare", TablePreparer(embeddings=True)), ("net", net)])
