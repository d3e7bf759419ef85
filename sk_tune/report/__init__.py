# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search found, as pictures and as one page."""

from sk_tune.report._epoch_curves import EpochCurveDisplay
from sk_tune.report._importance_display import HyperparameterImportanceDisplay
from sk_tune.report._parallel_coordinates import ParallelCoordinatesDisplay
from sk_tune.report._rungs import RungDisplay
from sk_tune.report._search_history import SearchHistoryDisplay
from sk_tune.report._slices import SliceDisplay

__all__ = [
    "EpochCurveDisplay",
    "HyperparameterImportanceDisplay",
    "ParallelCoordinatesDisplay",
    "RungDisplay",
    "SearchHistoryDisplay",
    "SliceDisplay",
]
