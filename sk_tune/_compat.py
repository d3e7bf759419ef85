# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The one place that touches private names of scikit-learn, skorch or joblib.

ADR 0002 lists them and says what breaks, and where, if one of them changes.
"""

from collections.abc import Callable
from typing import Any

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
    "predict_nonlinearity",
    "safe_indexing",
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
