# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of a search, and a page with its results."""

from sk_tune._report._column_effects import ColumnEffects, FoldModel, column_effects
from sk_tune._report._comparison import next_step
from sk_tune._report._curve_displays import EpochCurveDisplay, RungDisplay
from sk_tune._report._gathering import (
    SCORES_ARE_MEANS,
    Cell,
    Checks,
    Page,
    PageColumn,
    PageTable,
    ScoreLine,
    SearchPart,
    expected_line,
    gather,
    n_parameters,
    number_cells,
    parameters_text,
    search_part,
)
from sk_tune._report._parameter_importance import HyperparameterImportanceDisplay
from sk_tune._report._quality import Baseline, baseline_models, intervals_text, quality_of
from sk_tune._report._report_formats import to_text, write_page, writer_for
from sk_tune._report._reproduction import (
    Reproduction,
    data_description,
    fit_code,
    package_versions,
)
from sk_tune._report._search_trials import plain, value_text
