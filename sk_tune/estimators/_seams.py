# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether a class derived from an estimator trains and predicts as the estimator does."""

from collections.abc import Sequence

from sklearn.base import BaseEstimator

__all__ = ["is_unchanged", "predicts_unchanged"]

# Methods on which it depends what a network makes of its data.
_DATA = ("_check_X", "_check_target", "_start_target", "_encode_target")
# Methods that take part in training.
_SEAMS = (
    *_DATA,
    "fit",
    "_fit",
    "_encode",
    "_learn",
    "_learn_columns",
    "_make_net",
    "_seeded_module",
    "_to_sets",
    "_options",
    "_predictions",
)
# Methods that take part in a prediction, and in a score.
_PREDICTING = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "score",
    "_predictions",
    "_forward",
    "_inputs",
    *_DATA,
)


def is_unchanged(estimator: BaseEstimator) -> bool:
    """Return whether an estimator trains as its class in sk_tune does.

    Parameters
    ----------
    estimator : estimator
        Of sk_tune, or of a class derived from one.

    Returns
    -------
    bool
        False if a method that takes part in training was overridden.
    """
    return _are_own(estimator, _SEAMS, "sk_tune.")


def predicts_unchanged(estimator: BaseEstimator) -> bool:
    """Return whether an estimator predicts and scores as its class in sk_tune does.

    Parameters
    ----------
    estimator : estimator
        Of sk_tune, or of a class derived from one.

    Returns
    -------
    bool
        False if a method that takes part in predicting was overridden or added.
    """
    # Its score is that of scikit-learn's mixins.
    is_own = _are_own(estimator, _PREDICTING, ("sk_tune.", "sklearn."))
    return is_own and not hasattr(estimator, "decision_function")


def _are_own(
    estimator: BaseEstimator, names: Sequence[str], packages: str | tuple[str, ...]
) -> bool:
    # By the class that has a method, for a wrapper names the module of what it wraps.
    found = [
        next((base for base in type(estimator).__mro__ if name in vars(base)), None)
        for name in names
    ]
    return all(base is None or base.__module__.startswith(packages) for base in found)
