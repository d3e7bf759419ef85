# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Errors and warnings of sk_tune; every one is also a built-in that callers may catch."""

__all__ = [
    "SkTuneError",
    "SkTuneWarning",
    "TableError",
    "TrainingDivergedError",
]


class SkTuneError(Exception):
    """Base of all errors that sk_tune raises under a name of its own."""


class TrainingDivergedError(SkTuneError, ArithmeticError):
    """The loss or a weight became infinite or NaN, so there is no network to keep."""


class TableError(SkTuneError, ValueError):
    """A file or column that the command line cannot work with."""


class SkTuneWarning(UserWarning):
    """Base of all warnings that sk_tune issues."""
