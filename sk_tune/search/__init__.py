# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Searches with scikit-learn's interface, whose networks train as fleets."""

from sk_tune.search._bayes import BayesSearchCV
from sk_tune.search._corrected_score import CorrectedScore, corrected_score
from sk_tune.search._fold_scores import FoldScores
from sk_tune.search._grid import GridSearchCV
from sk_tune.search._halving import HalvingGridSearchCV, HalvingRandomSearchCV
from sk_tune.search._hyperband import HyperbandSearchCV
from sk_tune.search._ledger import Ledger
from sk_tune.search._optuna import OptunaExport, to_optuna
from sk_tune.search._plan import SearchPlan
from sk_tune.search._random import RandomizedSearchCV
from sk_tune.space import Choice

__all__ = [
    "BayesSearchCV",
    "Choice",
    "CorrectedScore",
    "FoldScores",
    "GridSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "HyperbandSearchCV",
    "Ledger",
    "OptunaExport",
    "RandomizedSearchCV",
    "SearchPlan",
    "corrected_score",
    "to_optuna",
]
