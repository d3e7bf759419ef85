# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Pictures in scikit-learn's form, and the data that they draw."""

from sk_tune.report.displays._drawing import score_range
from sk_tune.report.displays._epoch_curves import (
    EpochCurveDisplay,
    FoldSummary,
    fold_summary,
)
from sk_tune.report.displays._importance import Importance, importance_of
from sk_tune.report.displays._importance_display import HyperparameterImportanceDisplay
from sk_tune.report.displays._parallel_coordinates import ParallelCoordinatesDisplay
from sk_tune.report.displays._parameters import Parameter, parameters_of, short_names
from sk_tune.report.displays._rungs import CandidateCurve, RungDisplay, candidate_curves
from sk_tune.report.displays._search_history import SearchHistoryDisplay
from sk_tune.report.displays._slices import SliceDisplay
from sk_tune.report.displays._trials import Trials, metric_name, trials_of

__all__ = [
    "CandidateCurve",
    "EpochCurveDisplay",
    "FoldSummary",
    "HyperparameterImportanceDisplay",
    "Importance",
    "ParallelCoordinatesDisplay",
    "Parameter",
    "RungDisplay",
    "SearchHistoryDisplay",
    "SliceDisplay",
    "Trials",
    "candidate_curves",
    "fold_summary",
    "importance_of",
    "metric_name",
    "parameters_of",
    "score_range",
    "short_names",
    "trials_of",
]
