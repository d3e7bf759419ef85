# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tuned defaults of a perceptron for tables, and the space around them.

The values were chosen on five data sets and measured on others, see
``docs/how-to/table-networks.md``.  What varies is what RealMLP [1]_ and TabM [2]_ tune.

References
----------
.. [1] D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned MLPs
   and boosted trees on tabular data. NeurIPS 2024.
.. [2] Y. Gorishniy, A. Kotelnikov, A. Babenko. TabM: advancing tabular deep learning with
   parameter-efficient ensembling. ICLR 2025.
"""

from typing import Any

from scipy.stats import loguniform, uniform

_COMMON: dict[str, Any] = {"numerical_embedding": "piecewise_linear", "members": 8}
_DEFAULTS: dict[str, dict[str, Any]] = {
    # Classes are learnt by heart before long: a lower rate.
    "classification": {**_COMMON, "learning_rate": 2e-3},
    # The more exactly a target can be known, the longer training pays; dropout keeps a
    # long training from learning noise where it cannot.
    "regression": {**_COMMON, "learning_rate": 0.01, "max_epochs": 40, "dropout": 0.2},
}


def table_defaults(task: str, *, prefix: str = "") -> dict[str, Any]:
    """Return parameters with which an MLP does well on tables before it is tuned.

    They cost several times the training time of the estimator's own defaults.

    Parameters
    ----------
    task : {"classification", "regression"}
        What is predicted.
    prefix : str, default=""
        Put before each name, for the step of a pipeline.

    Returns
    -------
    dict of str to object
        For ``MLPClassifier`` or ``MLPRegressor``; all others keep their defaults.

    Raises
    ------
    ValueError
        If there is no such task.

    See Also
    --------
    table_space : The space around them.

    Examples
    --------
    >>> from sk_tune import MLPRegressor
    >>> from sk_tune import table_defaults
    >>> MLPRegressor(**table_defaults("regression")).members
    8
    """
    _check_task(task)
    return {prefix + name: value for name, value in _DEFAULTS[task].items()}


def table_space(task: str, *, prefix: str = "") -> dict[str, Any]:
    """Return what to tune of an MLP for tables.

    Parameters
    ----------
    task : {"classification", "regression"}
        What is predicted.
    prefix : str, default=""
        Put before each name, for the step of a pipeline.

    Returns
    -------
    dict of str to list or scipy distribution
        For searches of sk_tune and scikit-learn.  The values of :func:`table_defaults` are
        a point of it, but for the `max_epochs` of regression: start from an estimator that
        has these values.

    Raises
    ------
    ValueError
        If there is no such task.

    See Also
    --------
    table_defaults : Where to start.

    Examples
    --------
    >>> from sk_tune import table_space
    >>> sorted(table_space("regression", prefix="net__"))[:3]
    ['net__activation', 'net__batch_size', 'net__dropout']
    """
    _check_task(task)
    space: dict[str, Any] = {
        "n_layers": [1, 2, 3],
        "width": [64, 128, 256],
        "activation": ["relu", "gelu", "silu", "mish"],
        "numerical_embedding": [None, "piecewise_linear", "periodic"],
        "n_bins": [8, 16, 32],
        "frequency_scale": loguniform(0.01, 1.0),
        "members": [1, 8, 16],
        "dropout": uniform(0.0, 0.5),
        "learning_rate": loguniform(3e-4, 3e-2),
        "weight_decay": loguniform(1e-4, 0.3),
        "batch_size": [32, 64, 128],
    }
    if task == "classification":
        space["label_smoothing"] = [0.0, 0.1]
    return {prefix + name: values for name, values in space.items()}


def _check_task(task: str) -> None:
    if task not in _DEFAULTS:
        raise ValueError(
            f"task must be 'classification' or 'regression'. Got {task!r} instead."
        )
