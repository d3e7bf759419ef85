# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A rung, and how many of them there can be."""

from collections.abc import Sequence
from dataclasses import dataclass

from sk_tune._text import text_table

__all__ = ["Rung", "n_reductions", "rung_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One round of successive halving.

    Parameters
    ----------
    n_candidates : int
        Candidates trained in this rung.
    n_resources : int
        What each of them has been given when the rung ends, for example epochs.
    """

    n_candidates: int
    n_resources: int


def rung_table(rungs: Sequence[Rung]) -> str:
    """Return rungs as a table to print: a header, then a line for each rung."""
    rows = [[i, rung.n_candidates, rung.n_resources] for i, rung in enumerate(rungs)]
    return text_table(["rung", "candidates", "resources"], rows)


def n_reductions(ratio: int, factor: float) -> int:
    """Return the largest k with ``factor**k <= ratio``.

    `ratio` is at least 1, `factor` more than 1.
    """
    # Counted, not computed: math.log(243, 3) is 4.999..., whose floor loses a rung.
    k = 0
    while factor ** (k + 1) <= ratio:
        k += 1
    return k
