# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The one place that touches private names of scikit-learn, skorch or joblib.

ADR 0002 lists them and says what breaks, and where, if one of them changes.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from skorch import NeuralNet

__all__ = [
    "EstimatorBase",
    "HasMethods",
    "Interval",
    "NetOfKnownParts",
    "Options",
    "StrOptions",
    "check_sample_weight",
    "predict_nonlinearity",
    "safe_indexing",
    "validate_parameter_constraints",
]


class EstimatorBase(BaseEstimator):  # type: ignore[misc]
    """A scikit-learn estimator whose parameters' names are found once for each class.

    scikit-learn inspects the signature of ``__init__`` in every ``get_params``, which takes
    most of the time of a ``clone``.
    """

    @classmethod
    def _get_param_names(cls) -> list[str]:
        # mypy takes classes for unhashable.
        own: Any = cls
        return list(_parameter_names(own))


@functools.cache
def _parameter_names(cls: Any) -> tuple[str, ...]:
    return tuple(BaseEstimator._get_param_names.__func__(cls))


class NetOfKnownParts(NeuralNet):  # type: ignore[misc]
    """A skorch net that knows from the start which parts it will have.

    skorch finds them out when they are set, which an optimizer that is built at its first
    use may never be.
    """

    prefixes_: ClassVar[list[str]] = [
        *NeuralNet.prefixes_,
        "module",
        "criterion",
        "optimizer",
    ]
    cuda_dependent_attributes_: ClassVar[list[str]] = [
        "module_",
        "criterion_",
        "optimizer_",
    ]
    _modules: ClassVar[list[str]] = ["module"]
    _criteria: ClassVar[list[str]] = ["criterion"]
    _optimizers: ClassVar[list[str]] = ["optimizer"]


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
