# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Searches with scikit-learn's interface, whose networks train as fleets."""

from sk_tune.search._grid import GridSearchCV
from sk_tune.search._halving import HalvingGridSearchCV, HalvingRandomSearchCV

__all__ = ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"]
