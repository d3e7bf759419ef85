# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of predictions, scores without selection bias, and costs of a search."""

from sk_tune._scores._expected_score import CorrectedScore, FoldScores, corrected_score
from sk_tune._scores._ledger import Ledger
from sk_tune._scores._metric import Metric, as_columns, check_metric_names, scorer_metric

__all__ = [
    "CorrectedScore",
    "FoldScores",
    "Ledger",
    "Metric",
    "as_columns",
    "check_metric_names",
    "corrected_score",
    "scorer_metric",
]
