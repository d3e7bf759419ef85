# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Several networks as one estimator: from a search's trials, bagged, boosted, stacked."""

from sk_tune.ensemble._bagging import BaggingClassifier, BaggingRegressor
from sk_tune.ensemble._boosting import BoostingClassifier, BoostingRegressor
from sk_tune.ensemble._collapsed import (
    CollapsedClassifier,
    CollapsedRegressor,
    Columns,
    Fill,
    NetworkInput,
    ScalerModule,
    WeightedSum,
    collapse,
    scaler_module,
)
from sk_tune.ensemble._combination import Combination, Member, network_of
from sk_tune.ensemble._member_inputs import ScalerNumbers
from sk_tune.ensemble._parts import (
    Combined,
    CombinedClassifier,
    CombinedRegressor,
    Parts,
    with_temperature,
)
from sk_tune.ensemble._seed_ensemble import SeedEnsembleClassifier, SeedEnsembleRegressor
from sk_tune.ensemble._selection import EnsembleScore, Library, Selector, read_library
from sk_tune.ensemble._stacking import StackingClassifier, StackingRegressor
from sk_tune.ensemble._trial_ensemble import TrialEnsembleClassifier, TrialEnsembleRegressor
from sk_tune.ensemble._weights import GreedyOptions

__all__ = [
    "BaggingClassifier",
    "BaggingRegressor",
    "BoostingClassifier",
    "BoostingRegressor",
    "CollapsedClassifier",
    "CollapsedRegressor",
    "Columns",
    "Combination",
    "Combined",
    "CombinedClassifier",
    "CombinedRegressor",
    "EnsembleScore",
    "Fill",
    "GreedyOptions",
    "Library",
    "Member",
    "NetworkInput",
    "Parts",
    "ScalerModule",
    "ScalerNumbers",
    "SeedEnsembleClassifier",
    "SeedEnsembleRegressor",
    "Selector",
    "StackingClassifier",
    "StackingRegressor",
    "TrialEnsembleClassifier",
    "TrialEnsembleRegressor",
    "WeightedSum",
    "collapse",
    "network_of",
    "read_library",
    "scaler_module",
    "with_temperature",
]
