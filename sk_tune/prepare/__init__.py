# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables as networks need them: numbers, categories and dates prepared inside the folds."""

from sk_tune.prepare._codes import CategoryCodes
from sk_tune.prepare._columns import ColumnKinds, column_kinds, id_columns
from sk_tune.prepare._frames import as_pandas, check_table
from sk_tune.prepare._smooth_clip import SmoothClipScaler
from sk_tune.prepare._split import train_valid_test_split
from sk_tune.prepare._strays import mixed_columns, without_strays
from sk_tune.prepare._table_preparer import TablePreparer
from sk_tune.prepare._values import MISSING, are_dates

__all__ = [
    "MISSING",
    "CategoryCodes",
    "ColumnKinds",
    "SmoothClipScaler",
    "TablePreparer",
    "are_dates",
    "as_pandas",
    "check_table",
    "column_kinds",
    "id_columns",
    "mixed_columns",
    "train_valid_test_split",
    "without_strays",
]
