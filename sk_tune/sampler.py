# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The samplers, which propose candidates for a search."""

from sk_tune._sampler import BayesSampler, RandomSampler, Sampler, TPESampler

__all__ = ["BayesSampler", "RandomSampler", "Sampler", "TPESampler"]
