# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Several networks as one estimator: from a search's trials, bagged, boosted, stacked."""

from sk_tune._ensemble._bagging import BaggingClassifier, BaggingRegressor
from sk_tune._ensemble._boosting import BoostingClassifier, BoostingRegressor
from sk_tune._ensemble._collapsed import CollapsedClassifier, CollapsedRegressor, collapse
from sk_tune._ensemble._combination import Combination, Member, stackable_network
from sk_tune._ensemble._distill import distill
from sk_tune._ensemble._onnx_export import export_ensemble
from sk_tune._ensemble._onnx_steps import step_rule
from sk_tune._ensemble._parts import (
    Combined,
    CombinedClassifier,
    CombinedRegressor,
    Parts,
    with_temperature,
)
from sk_tune._ensemble._selection import CandidateWeights, Library, Selector, read_library
from sk_tune._ensemble._stacking import StackingClassifier, StackingRegressor
from sk_tune._ensemble._trial_ensemble import (
    TrialEnsembleClassifier,
    TrialEnsembleRegressor,
)
from sk_tune._ensemble._weights import GreedyOptions
