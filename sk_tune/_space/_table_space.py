# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tuned defaults of a perceptron for tables, and the space around them.

The values were chosen on five data sets and measured on others, see
``docs/how-to/table-networks.md``.
"""

from typing import Any, Literal

from scipy.stats import loguniform, uniform
from sklearn.base import BaseEstimator

from sk_tune._numerical_embedding import PiecewiseLinear

_COMMON: dict[str, Any] = {"numerical_embedding": PiecewiseLinear(), "members": 8}
_DEFAULTS: dict[str, dict[str, Any]] = {
    # Networks soon memorise the classes, so they stop at the best epoch.
    "classification": {
        **_COMMON,
        "learning_rate": 2e-3,
        "dropout": 0.2,
        "n_iter_no_change": 15,
    },
    # Smooth targets gain from long training; dropout limits overfitting to noisy ones.
    "regression": {**_COMMON, "learning_rate": 0.01, "max_epochs": 40, "dropout": 0.2},
}


def table_defaults(task: Literal["classification", "regression"]) -> dict[str, Any]:
    """Return parameters of an MLP that do well on tables without tuning.

    Training takes several times as long as with the estimator's own defaults.

    Parameters
    ----------
    task : {"classification", "regression"}
        Kind of target.

    Returns
    -------
    dict of str to object
        For :class:`MLPClassifier` or :class:`MLPRegressor`; all other parameters keep their
        defaults.

    Raises
    ------
    ValueError
        If the task is unknown.

    See Also
    --------
    table_pipeline : A pipeline with these parameters.
    table_space : The space around them.

    Examples
    --------
    >>> from sk_tune import MLPRegressor, table_defaults
    >>> MLPRegressor(**table_defaults("regression")).members
    8
    """
    if task not in _DEFAULTS:
        raise ValueError(
            f"'task' must be 'classification' or 'regression'. Got {task!r} instead."
        )
    return dict(_DEFAULTS[task])


def table_space(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the space around an MLP for tables, for a search over an estimator.

    The space surrounds the parameters of the network: depth, width and learning rate are
    hardly below them, because a smaller network, or a slower one, would not finish its
    training.  A random point of the space around :func:`table_pipeline` is nearly as good
    as its centre, so that an average of several points is better than each of them.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or an estimator that contains one
        For example a pipeline, such as :func:`table_pipeline` returns.

    Returns
    -------
    dict of str to list or distribution
        By the full names of parameters, for example ``net__width`` in a pipeline; for
        scikit-learn's randomised searches and all searches of sk_tune.

    Raises
    ------
    ValueError
        If the estimator contains no MLP.

    See Also
    --------
    table_pipeline : A pipeline to start from.

    Examples
    --------
    >>> from sk_tune import table_pipeline, table_space
    >>> table_space(table_pipeline("regressor"))["net__width"]
    [128, 192]
    """
    params = estimator.get_params()
    # No other network has members.
    names = (name.rpartition("members") for name in params)
    prefix = next((start for start, name, end in names if name and not end), None)
    if prefix is None:
        raise ValueError(
            "The estimator must be an MLPClassifier or MLPRegressor or contain one. "
            f"Got {estimator!r} instead."
        )
    net = {name.removeprefix(prefix): value for name, value in params.items()}
    rate, decay, width = net["learning_rate"], net["weight_decay"], net["width"]
    space: dict[str, Any] = {
        "n_layers": [net["n_layers"], net["n_layers"] + 1],
        "width": [width, width + width // 2],
        "activation": list(dict.fromkeys([net["activation"], "relu", "gelu"])),
        "dropout": uniform(0.0, max(0.3, 1.5 * net["dropout"])),
        "learning_rate": loguniform(rate / 1.5, 3 * rate),
        "weight_decay": loguniform(decay / 10 or 1e-4, 10 * decay or 0.1),
    }
    if (n_bins := net.get("numerical_embedding__n_bins")) is not None:
        space["numerical_embedding__n_bins"] = [max(2, n_bins // 2), n_bins, 2 * n_bins]
    return {prefix + name: values for name, values in space.items()}
