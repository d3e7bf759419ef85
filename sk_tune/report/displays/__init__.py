# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Pictures in scikit-learn's form, and the data that they draw."""

from sk_tune.report.displays._drawing import score_range
from sk_tune.report.displays._epoch_curves import (
    EpochCurveDisplay,
    FoldSummary,
    fold_summary,
)
from sk_tune.report.displays._importance import (
    HyperparameterImportanceDisplay,
    Importance,
    importance_of,
)
from sk_tune.report.displays._parameter_displays import (
    ParallelCoordinatesDisplay,
    SliceDisplay,
)
from sk_tune.report.displays._progress_displays import (
    CandidateCurve,
    RungDisplay,
    SearchHistoryDisplay,
    candidate_curves,
)
from sk_tune.report.displays._search_trials import (
    Parameter,
    Trials,
    metric_name,
    parameters_of,
    short_names,
    trials_of,
)

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
