# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The one place that touches private names of scikit-learn, skorch or joblib.

ADR 0002 lists them and says what breaks, and where, if one of them changes.
"""

from collections.abc import Callable
from typing import Any

from sklearn.metrics._scorer import _PassthroughScorer, _Scorer
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "HasMethods",
    "Interval",
    "Options",
    "StrOptions",
    "check_sample_weight",
    "passed_through_estimator",
    "predict_nonlinearity",
    "safe_indexing",
    "scorer_parts",
    "validate_parameter_constraints",
]


def predict_nonlinearity(net: Any) -> Callable[[Any], Any]:
    """Return what a skorch net applies to its module's outputs in ``predict_proba``.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised.

    Returns
    -------
    callable
        Of a tensor.
    """
    nonlinearity: Callable[[Any], Any] = net._get_predict_nonlinearity()
    return nonlinearity


def scorer_parts(scorer: Any) -> dict[str, Any] | None:
    """Return what ``make_scorer`` was given.

    Parameters
    ----------
    scorer : callable
        Any.

    Returns
    -------
    dict or None
        ``function``, ``sign``, ``options``, ``response_method`` and ``pos_label``; None if
        `scorer` was not made by ``make_scorer``.
    """
    if not isinstance(scorer, _Scorer):
        return None
    return {
        "function": scorer._score_func,
        "sign": scorer._sign,
        "options": scorer._kwargs,
        "response_method": scorer._response_method,
        "pos_label": scorer._get_pos_label(),
    }


def passed_through_estimator(scorer: Any) -> Any:
    """Return the estimator whose ``score`` a scorer calls.

    Parameters
    ----------
    scorer : callable
        Any.

    Returns
    -------
    estimator or None
        None unless `scorer` is what ``check_scoring`` makes of ``scoring=None``.
    """
    return scorer._estimator if isinstance(scorer, _PassthroughScorer) else None
