# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks as scikit-learn estimators, each holding a skorch net."""

from sk_tune.estimators._base import NetworkEstimator
from sk_tune.estimators._cnn import CNNClassifier, CNNRegressor
from sk_tune.estimators._mlp import MLPClassifier, MLPRegressor
from sk_tune.estimators._net import NetClassifier, NetRegressor
from sk_tune.estimators._preparation import (
    FitPreparer,
    PreparedFit,
    adopt_training,
    first_seed,
    is_unchanged,
)
from sk_tune.estimators._rnn import RNNClassifier, RNNRegressor

__all__ = [
    "CNNClassifier",
    "CNNRegressor",
    "FitPreparer",
    "MLPClassifier",
    "MLPRegressor",
    "NetClassifier",
    "NetRegressor",
    "NetworkEstimator",
    "PreparedFit",
    "RNNClassifier",
    "RNNRegressor",
    "adopt_training",
    "first_seed",
    "is_unchanged",
]
