# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The space of a search, whoever wrote the search."""

from typing import Any

from sk_tune.space import Space, as_space

__all__ = ["space_of"]


def space_of(search: Any) -> Space:
    """Return the space of a search of sk_tune, scikit-learn or scikit-optimize."""
    # scikit-learn takes a tuple for values, scikit-optimize for the ends of a range.
    if hasattr(search, "search_spaces"):
        return as_space(search.search_spaces)
    own = "param_grid" if hasattr(search, "param_grid") else "param_distributions"
    return as_space(getattr(search, own), tuples_are_ranges=False)
