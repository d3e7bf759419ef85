# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Samplers, which propose the candidates of a search.

The `sampler` parameter of a search takes the name of a sampler, or a callable that is
called with the space and the `random_state` of the search and returns a `Sampler`.
"""

from sk_tune._sampler import BayesSampler, RandomSampler, Sampler, TPESampler
from sk_tune._space import Space

__all__ = ["BayesSampler", "RandomSampler", "Sampler", "Space", "TPESampler"]
