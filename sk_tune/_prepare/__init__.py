# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Preparation of tables for networks: numbers, categories and dates, inside the folds."""

from sk_tune._cell_formats import MISSING, TextFormat, is_missing
from sk_tune._prepare._column_kinds import (
    ColumnKinds,
    check_table,
    check_used,
    column_kinds,
    decide_columns,
    format_of_column,
    header_rows,
    read_text,
    with_dropped,
    with_texts,
    without_header_rows,
)
from sk_tune._prepare._split import train_valid_test_split
from sk_tune._prepare._table_pipeline import table_pipeline
from sk_tune._prepare._table_preparer import (
    CategoryCodes,
    SmoothClipScaler,
    TablePreparer,
    circle_names,
    circles,
    output_name,
)
from sk_tune._prepare._target_features import cross_names, pair_crosses
from sk_tune._prepare._text_components import TextComponents
