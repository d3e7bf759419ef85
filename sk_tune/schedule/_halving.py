# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rungs of successive halving, as scikit-learn's halving searches lay them out.

References
----------
.. [1] K. Jamieson, A. Talwalkar. Non-stochastic best arm identification and hyperparameter
   optimization. AISTATS 2016.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One round of successive halving: candidates, and what each was given when it ends."""

    n_candidates: int
    n_resources: int


def new_resources(rungs: Sequence[Rung], *, goes_on: bool = True) -> list[int]:
    """Return what each rung trains: what it grants beyond the rung before.

    A rung that grants no more than that begins anew, as all do unless `goes_on`.
    """
    granted = [rung.n_resources for rung in rungs]
    before = [0, *(a if goes_on and a < b else 0 for a, b in pairwise(granted))]
    return [b - a for a, b in zip(before, granted, strict=True)]


def n_reductions(ratio: int, factor: float) -> int:
    """Return the largest k with ``factor**k <= ratio``.

    `ratio` is at least 1, `factor` more than 1.
    """
    # Counted, not computed: math.log(243, 3) is 4.999..., whose floor loses a rung.
    k = 0
    while factor ** (k + 1) <= ratio:
        k += 1
    return k


@dataclass(frozen=True, slots=True, kw_only=True)
class HalvingPlan:
    """The rungs of a halving search; the names are those of scikit-learn's attributes.

    Fewer than ``factor`` candidates are left after `n_required_iterations` rungs;
    `n_possible_iterations` fit between `min_resources` and `max_resources`; the last rung
    would promote `n_remaining_candidates`.
    """

    n_required_iterations: int
    n_possible_iterations: int
    n_iterations: int
    min_resources: int
    max_resources: int
    n_remaining_candidates: int
    rungs: tuple[Rung, ...]


def halving_plan(
    n_candidates: int,
    *,
    max_resources: int,
    min_resources: int | Literal["smallest", "exhaust"] = "exhaust",
    smallest_resources: int = 1,
    factor: float = 3,
    aggressive_elimination: bool = False,
) -> HalvingPlan:
    """Return the rungs of a halving search, at least one.

    The first rung grants `min_resources`: a number, `smallest_resources`, or with "exhaust"
    as much more as lets the last rung come close to `max_resources`, which no rung exceeds.
    One candidate in `factor` is promoted. With `aggressive_elimination` the first rung is
    repeated until the candidates that are left suit the resources that are left. Raises
    ValueError unless ``n_candidates >= 1``, ``factor > 1`` and ``1 <= min <=
    max_resources``.

    scikit-learn takes the floor of a floating-point logarithm, which is one too low for
    some exact powers, 243 with a factor of 3 among them, and so never gives 243 candidates
    the last rung. Rungs are counted here; all other numbers are scikit-learn's.

    >>> plan = halving_plan(60, min_resources=20, max_resources=180)
    >>> [(rung.n_candidates, rung.n_resources) for rung in plan.rungs]
    [(60, 20), (20, 60), (7, 180)]
    """
    smallest = smallest_resources if isinstance(min_resources, str) else min_resources
    if n_candidates < 1:
        raise ValueError(
            "The 'n_candidates' parameter of halving_plan must be an int >= 1. "
            f"Got {n_candidates!r} instead."
        )
    if not factor > 1:
        raise ValueError(
            "The 'factor' parameter of halving_plan must be more than 1. "
            f"Got {factor!r} instead."
        )
    if not 1 <= smallest <= max_resources:
        raise ValueError(
            "The resources of halving_plan must satisfy 1 <= min_resources <= "
            f"max_resources. Got min_resources={smallest} and {max_resources=} instead."
        )
    if factor == int(factor):
        factor = int(factor)  # So that its powers are exact.

    n_required = 1 + n_reductions(n_candidates, factor)
    if min_resources == "exhaust":
        smallest = max(smallest, int(max_resources // factor ** (n_required - 1)))
    n_possible = 1 + n_reductions(max_resources // smallest, factor)
    n_iterations = n_required if aggressive_elimination else min(n_possible, n_required)

    rungs = []
    for i in range(n_iterations):
        power = max(0, i - n_required + n_possible) if aggressive_elimination else i
        n_resources = min(int(factor**power * smallest), max_resources)
        rungs.append(Rung(n_candidates=n_candidates, n_resources=n_resources))
        n_candidates = n_promoted(n_candidates, factor)
    return HalvingPlan(
        n_required_iterations=n_required,
        n_possible_iterations=n_possible,
        n_iterations=n_iterations,
        min_resources=smallest,
        max_resources=max_resources,
        n_remaining_candidates=n_candidates,
        rungs=tuple(rungs),
    )


def n_promoted(n_candidates: int, factor: float) -> int:
    """Return how many candidates of a rung go on: one in `factor`, and one more for a rest.

    >>> n_promoted(20, 3)
    7
    """
    return math.ceil(n_candidates / factor)
