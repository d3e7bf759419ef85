# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of a search, and one page that says what it found."""

from sk_tune.report._formats import to_json, to_text, write_html, write_page
from sk_tune.report._gathering import search_part
from sk_tune.report._page_records import (
    Baseline,
    Cell,
    Page,
    PageColumn,
    PageTable,
    Reproduction,
    ScoreLine,
    SearchPart,
    number_cells,
)
from sk_tune.report._quality import Quality, quality_of
from sk_tune.report._reproduction import data_fingerprint, fit_code, package_versions
from sk_tune.report._search_checks import baseline_models
from sk_tune.report._value_texts import number_text, value_text
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
    "Cell",
    "EpochCurveDisplay",
    "HyperparameterImportanceDisplay",
    "Page",
    "PageColumn",
    "PageTable",
    "ParallelCoordinatesDisplay",
    "Quality",
    "Reproduction",
    "RungDisplay",
    "ScoreLine",
    "SearchHistoryDisplay",
    "SearchPart",
    "SliceDisplay",
    "baseline_models",
    "data_fingerprint",
    "fit_code",
    "number_cells",
    "number_text",
    "package_versions",
    "quality_of",
    "search_part",
    "to_json",
    "to_text",
    "value_text",
    "write_html",
    "write_page",
]
