# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables as networks need them: numbers, categories and dates prepared inside the folds."""

from sk_tune.prepare._columns import ColumnKinds, column_kinds, column_preparer

__all__ = ["ColumnKinds", "column_kinds", "column_preparer"]
