# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search found, as pictures and as one page."""

from sk_tune.report.displays import (
    EpochCurveDisplay,
    HyperparameterImportanceDisplay,
    ParallelCoordinatesDisplay,
    RungDisplay,
    SearchHistoryDisplay,
    SliceDisplay,
)

__all__ = [
    "EpochCurveDisplay",
    "HyperparameterImportanceDisplay",
    "ParallelCoordinatesDisplay",
    "RungDisplay",
    "SearchHistoryDisplay",
    "SliceDisplay",
]
