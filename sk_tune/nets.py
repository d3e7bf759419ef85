# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The torch modules inside the estimators."""

from sk_tune._nets import (
    CNN,
    MLP,
    RNN,
    CategoryEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
)

__all__ = [
    "CNN",
    "MLP",
    "RNN",
    "CategoryEmbedding",
    "PeriodicEmbedding",
    "PiecewiseLinearEmbedding",
]
