# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether a class derived from an estimator trains as the estimator does."""

from sklearn.base import BaseEstimator

__all__ = ["is_unchanged"]

# Methods that take part in training.
_SEAMS = (
    "fit",
    "_fit",
    "_encode",
    "_learn",
    "_make_net",
    "_seeded_module",
    "_to_sets",
    "_options",
    "_predictions",
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
    cls = type(estimator)
    return all(getattr(cls, name).__module__.startswith("sk_tune.") for name in _SEAMS)
