# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Searches with scikit-learn's interface that train networks as fleets."""

from sk_tune._search._bayes_search import BayesSearchCV
from sk_tune._search._choice import is_beaten
from sk_tune._search._drop_in_searches import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)
from sk_tune._search._hyperband_search import HyperbandSearchCV
from sk_tune._search._improve import Improvement, improve
from sk_tune._search._probing import diagnose
from sk_tune._search._search_plan import SearchPlan
