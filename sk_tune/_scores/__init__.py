# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of predictions, scores without selection bias, and costs of a search."""

from sk_tune._scores._expected_score import (
    FoldScores,
    ScoreEstimate,
    cheapest_near_best,
    expected_score,
    metric_scores,
)
from sk_tune._scores._ledger import Ledger
from sk_tune._scores._metric import (
    Metric,
    as_columns,
    check_metric_names,
    metric_label,
    metric_text,
    scorer_metric,
    with_all_classes,
)
from sk_tune._scores._metric_sums import quick_metric
