# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Several networks as one estimator: from a search's trials, bagged, boosted, stacked."""

from sk_tune.ensemble._selection import EnsembleScore
from sk_tune.ensemble._trial_ensemble import (
    TrialEnsembleClassifier,
    TrialEnsembleRegressor,
)

__all__ = ["EnsembleScore", "TrialEnsembleClassifier", "TrialEnsembleRegressor"]
