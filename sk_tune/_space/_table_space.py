# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tuned defaults of a perceptron for tables, and the space around them.

The values were chosen on five data sets and measured on others, see
``docs/how-to/table-networks.md``.  The space has the parameters that RealMLP [1]_ and TabM
[2]_ tune.

References
----------
.. [1] D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned MLPs
   and boosted trees on tabular data. NeurIPS 2024.
.. [2] Y. Gorishniy, A. Kotelnikov, A. Babenko. TabM: advancing tabular deep learning with
   parameter-efficient ensembling. ICLR 2025.
"""

from typing import Any, Literal

from scipy.stats import loguniform, uniform
from sklearn.base import BaseEstimator, is_classifier

from sk_tune._numerical_embedding import Periodic, PiecewiseLinear

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
    """Return the space of an MLP for tables, for a search over an estimator.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or an estimator that contains one
        For example a pipeline, such as :func:`table_pipeline` returns.

    Returns
    -------
    dict of str to list or scipy distribution
        For searches of sk_tune and scikit-learn, by full names of parameters.  The values
        of :func:`table_defaults` are in the space, except `max_epochs`, which keeps the
        estimator's value.

    Raises
    ------
    ValueError
        If the estimator contains no MLP.

    See Also
    --------
    table_defaults : Parameters to start from.

    Examples
    --------
    >>> from sk_tune import table_pipeline, table_space
    >>> sorted(table_space(table_pipeline("regressor")))[:3]
    ['net__activation', 'net__batch_size', 'net__dropout']
    """
    # No other network has members.
    names = (name.rpartition("members") for name in estimator.get_params())
    prefix = next((start for start, name, end in names if name and not end), None)
    if prefix is None:
        raise ValueError(
            "The estimator must be an MLPClassifier or MLPRegressor or contain one. "
            f"Got {estimator!r} instead."
        )
    space: dict[str, Any] = {
        "n_layers": [1, 2, 3],
        "width": [64, 128, 256],
        "activation": ["relu", "gelu", "silu", "mish"],
        "numerical_embedding": [
            None,
            *(PiecewiseLinear(n_bins) for n_bins in (8, 16, 32)),
            *(Periodic(frequency_scale=scale) for scale in (0.03, 0.3)),
        ],
        "members": [1, 8, 16],
        "dropout": uniform(0.0, 0.5),
        "learning_rate": loguniform(3e-4, 3e-2),
        "weight_decay": loguniform(1e-4, 0.3),
        "batch_size": [32, 64, 128],
    }
    if is_classifier(estimator):
        space["label_smoothing"] = [0.0, 0.1]
    return {prefix + name: values for name, values in space.items()}
