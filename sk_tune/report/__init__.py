# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search found, as pictures and as one page."""

from sk_tune.report._baselines import baseline_models
from sk_tune.report._html import write_html
from sk_tune.report._records import Baseline
from sk_tune.report._reproduction import data_fingerprint
from sk_tune.report._text_report import to_json, to_text
from sk_tune.report._values import number_text, value_text
from sk_tune.report.displays import (
    EpochCurveDisplay,
    HyperparameterImportanceDisplay,
    ParallelCoordinatesDisplay,
    RungDisplay,
    SearchHistoryDisplay,
    SliceDisplay,
)

__all__ = [
    "Baseline",
    "EpochCurveDisplay",
    "HyperparameterImportanceDisplay",
    "ParallelCoordinatesDisplay",
    "RungDisplay",
    "SearchHistoryDisplay",
    "SliceDisplay",
    "baseline_models",
    "data_fingerprint",
    "number_text",
    "to_json",
    "to_text",
    "value_text",
    "write_html",
]
