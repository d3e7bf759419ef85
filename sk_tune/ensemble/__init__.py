# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Several networks as one estimator: from a search's trials, bagged, boosted, stacked."""

from sk_tune.ensemble._seeds import SeedEnsembleClassifier, SeedEnsembleRegressor
from sk_tune.ensemble._selection import EnsembleScore
from sk_tune.ensemble._stacking import StackingClassifier, StackingRegressor
from sk_tune.ensemble._trial_ensemble import (
    TrialEnsembleClassifier,
    TrialEnsembleRegressor,
)

__all__ = [
    "EnsembleScore",
    "SeedEnsembleClassifier",
    "SeedEnsembleRegressor",
    "StackingClassifier",
    "StackingRegressor",
    "TrialEnsembleClassifier",
    "TrialEnsembleRegressor",
]
