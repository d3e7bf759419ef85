# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The command line, ``sk-tune``."""

from typing import Any

from sk_tune._cli._main import main

# Imported on first access: the import takes seconds, which --help must not.
_LAZY = ("demo_table",)

__all__ = ["main", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'sk_tune._cli' has no attribute {name!r}")
    from sk_tune._cli._tables import demo_table

    return demo_table
