# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The engine, which trains many fits as fleets."""

from sk_tune._engine import (
    Fit,
    FitStore,
    Progress,
    StoreInfo,
    TimeLimit,
    Trained,
    kernel_status,
    signature,
    train,
)

__all__ = [
    "Fit",
    "FitStore",
    "Progress",
    "StoreInfo",
    "TimeLimit",
    "Trained",
    "kernel_status",
    "signature",
    "train",
]
