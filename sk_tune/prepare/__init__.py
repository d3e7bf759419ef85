# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables as networks need them: numbers, categories and dates prepared inside the folds."""

from sk_tune.prepare._column_kinds import (
    ColumnKinds,
    check_used,
    column_kinds,
    format_of_text,
    read_text_columns,
    settled_columns,
    text_formats,
)
from sk_tune.prepare._formats import MISSING, TextFormat
from sk_tune.prepare._frames import (
    as_pandas,
    check_table,
    header_rows,
    without_header_rows,
)
from sk_tune.prepare._split import train_valid_test_split
from sk_tune.prepare._table_preparer import TablePreparer, output_name
from sk_tune.prepare._transformers import (
    CategoryCodes,
    SmoothClipScaler,
    circle_names,
    circles,
)

__all__ = [
    "MISSING",
    "CategoryCodes",
    "ColumnKinds",
    "SmoothClipScaler",
    "TablePreparer",
    "TextFormat",
    "as_pandas",
    "check_table",
    "check_used",
    "circle_names",
    "circles",
    "column_kinds",
    "format_of_text",
    "header_rows",
    "output_name",
    "read_text_columns",
    "settled_columns",
    "text_formats",
    "train_valid_test_split",
    "without_header_rows",
]
