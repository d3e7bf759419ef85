# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Sizes of the successive-halving brackets of one Hyperband pass.

Notation, as in Li et al. [1]_: R is ``max_resources``, eta ``factor``, s the number of
times a bracket drops candidates and s_max the largest s.  Resources are whole epochs.

References
----------
.. [1] L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh, A. Talwalkar. Hyperband: a novel
   bandit-based approach to hyperparameter optimization. JMLR 18(185):1-52, 2018.
"""

from dataclasses import dataclass

from sk_tune._text import text_table
from sk_tune.schedule._halving import Rung, n_reductions


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """One run of successive halving, which drops candidates `index` (s) times."""

    index: int
    rungs: tuple[Rung, ...]

    def __str__(self) -> str:
        rows = [[i, r.n_candidates, r.n_resources] for i, r in enumerate(self.rungs)]
        return text_table(["rung", "candidates", "resources"], rows)


def hyperband_brackets(
    min_resources: int, max_resources: int, factor: int = 3
) -> tuple[Bracket, ...]:
    """Return the ``s_max + 1`` brackets of one Hyperband pass, the most aggressive first.

    The first rung of the first bracket grants `min_resources`, or a little more where
    `max_resources` is no multiple of them by a power of `factor`; the last rung of every
    bracket grants `max_resources`. Raises ValueError unless ``1 <= min_resources <=
    max_resources`` and ``factor >= 2``.

    A bracket starts with ``n = ceil((s_max + 1) / (s + 1) * eta**s)`` candidates, which is
    what Algorithm 1 of the paper says: ``ceil(B / R * eta**s / (s + 1))`` with ``B = (s_max
    + 1) * R``. The paper's Table 1 rounds down before it multiplies, ``floor((s_max + 1) /
    (s + 1)) * eta**s``, and so has 81, 27, 9, 6 and 5 candidates for R = 81, eta = 3 where
    the algorithm has 81, 34, 15, 8 and 5. Resources are counted from the end, ``floor(R /
    eta**(s - i))`` in rung i, so the last rung of every bracket is R, and no rung rounds
    what another has rounded.

    >>> for bracket in hyperband_brackets(1, 9):
    ...     print(bracket.index, [(r.n_candidates, r.n_resources) for r in bracket.rungs])
    2 [(9, 1), (3, 3), (1, 9)]
    1 [(5, 3), (1, 9)]
    0 [(3, 9)]
    """
    if not 1 <= min_resources <= max_resources:
        raise ValueError(
            "The resources of hyperband_brackets must satisfy 1 <= min_resources <= "
            f"max_resources. Got {min_resources=} and {max_resources=} instead."
        )
    if factor < 2:
        raise ValueError(
            "The 'factor' parameter of hyperband_brackets must be an int >= 2. "
            f"Got {factor!r} instead."
        )

    s_max = n_reductions(max_resources // min_resources, factor)
    return tuple(
        Bracket(index=s, rungs=_rungs(s, s_max, max_resources, factor))
        for s in range(s_max, -1, -1)
    )


def _rungs(s: int, s_max: int, max_resources: int, eta: int) -> tuple[Rung, ...]:
    # n = ceil((s_max + 1) / (s + 1) * eta**s), in integers.
    n_first = -(-(s_max + 1) * eta**s // (s + 1))
    return tuple(
        Rung(n_candidates=n_first // eta**i, n_resources=max_resources // eta ** (s - i))
        for i in range(s + 1)
    )
