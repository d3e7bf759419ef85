# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a table to a tuned ensemble in one call, within a time."""

from sk_tune.automl._auto import AutoClassifier, AutoRegressor
from sk_tune.automl._blend import Blend
from sk_tune.automl._course import AutoProgress

__all__ = ["AutoClassifier", "AutoProgress", "AutoRegressor", "Blend"]
