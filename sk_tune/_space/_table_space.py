# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The space around a perceptron for tables."""

from typing import Any

from scipy.stats import loguniform, uniform
from sklearn.base import BaseEstimator, is_classifier


def table_space(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the space around an MLP for tables, for a search over an estimator.

    The space surrounds the parameters of the network.  Depth, width and learning rate are
    hardly smaller than those parameters, because smaller or slower networks would not
    finish training.  A random point of the space around :func:`table_pipeline` is nearly as
    good as its centre, so averaging several points is better than any single point.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or an estimator that contains such a network
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
            "The estimator must be or contain an MLPClassifier or MLPRegressor. "
            f"Got {estimator!r} instead."
        )
    net = {name.removeprefix(prefix): value for name, value in params.items()}
    rate, decay, width = net["learning_rate"], net["weight_decay"], net["width"]
    dropout = net["dropout"]
    space: dict[str, Any] = {
        "n_layers": [net["n_layers"], net["n_layers"] + 1],
        "width": [width, width + width // 2],
        "activation": list(dict.fromkeys([net["activation"], "relu", "gelu"])),
        # Less than 1, which would drop all units.
        "dropout": uniform(0.0, min(max(0.3, 1.5 * dropout), (1 + dropout) / 2)),
        "learning_rate": loguniform(rate / 1.5, 3 * rate),
        "weight_decay": loguniform(decay / 10 or 1e-4, 10 * decay or 0.1),
    }
    if (n_bins := net.get("numerical_embedding__n_bins")) is not None:
        bins = [8, "auto", 32] if is_classifier(estimator) else [16, "auto", 64]
        if n_bins != "auto":
            bins = [max(2, n_bins // 2), n_bins, 2 * n_bins]
        space["numerical_embedding__n_bins"] = bins
    return {prefix + name: values for name, values in space.items()}
