# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Samplers propose candidates and learn from their scores."""

from sk_tune._sampler._bayes import BayesSampler
from sk_tune._sampler._samplers import (
    FidelitySampler,
    RandomSampler,
    Sampler,
    announce,
    fill_failed,
)
from sk_tune._sampler._surrogate import BoostedQuantiles
from sk_tune._sampler._tpe import TPESampler
