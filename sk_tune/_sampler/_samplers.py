# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The interface of samplers, random sampling, and a sampler with one model per rung.

Notation, as in Falkner et al. [1]_, Algorithm 2: rho is the fraction of random candidates,
D_b the points evaluated with b resources, N_min the fewest points for a model.

References
----------
.. [1] S. Falkner, A. Klein, F. Hutter. BOHB: robust and efficient hyperparameter
   optimization at scale. ICML 2018.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from sk_tune._space import AnySpace, Candidate, Space, as_space
from sk_tune._types import Floats, Seed
from sk_tune.exceptions import SpaceError


@runtime_checkable
class Sampler(Protocol):
    """Proposes candidates and learns from their scores.

    The `sampler` parameter of :class:`~sk_tune.BayesSearchCV` and
    :class:`~sk_tune.HyperbandSearchCV` takes any callable that is called as
    ``sampler(space, random_state)`` and returns an object with these two methods, for
    example a class.  An optional method ``expect(candidates)`` announces candidates that
    are evaluated elsewhere: the sampler should not propose them, and ``tell`` reports their
    scores later.

    See Also
    --------
    Space : Draws candidates and turns them into numbers.
    """

    def ask(self, n_points: int) -> list[Candidate]:
        """Return the next candidates.

        Parameters
        ----------
        n_points : int
            Number of candidates.

        Returns
        -------
        list of dict
            Fewer than `n_points`, or none, once a finite space is exhausted.
        """

    def tell(
        self,
        candidates: Sequence[Candidate],
        scores: ArrayLike,
        n_resources: int | None = None,
    ) -> None:
        """Learn from scores.

        Parameters
        ----------
        candidates : sequence of dict
            Proposed by ``ask``, or evaluated elsewhere.
        scores : array-like of shape (n_candidates,)
            Greater is better.  A non-finite score marks a failed candidate, which counts as
            the worst finite score.
        n_resources : int, optional
            Resources of each candidate so far.
        """


def announce(sampler: Any, candidates: Sequence[Candidate]) -> None:
    """Announce candidates that are evaluated elsewhere, if the sampler supports it."""
    expect = getattr(sampler, "expect", None)
    if expect is not None and candidates:
        expect(candidates)


def fill_failed(scores: Floats) -> Floats | None:
    """Replace non-finite scores by the worst finite score; None if none is finite."""
    is_finite = np.isfinite(scores)
    if not is_finite.any():
        return None
    return np.where(is_finite, scores, scores[is_finite].min())


class RandomSampler:
    """Draws candidates at random, without repetition if all parameters are lists.

    The first `n` candidates equal scikit-learn's ``ParameterSampler``, for a space that it
    accepts; batch sizes do not matter unless all parameters are lists.

    Parameters
    ----------
    space : dict, list of dict or Space
        As in :class:`~sk_tune.BayesSearchCV`.
    random_state : int, RandomState or None, default=None
        Seed of the candidates.

    See Also
    --------
    BayesSampler : Learns from the scores.

    Examples
    --------
    >>> from sk_tune.sampler import RandomSampler
    >>> sampler = RandomSampler({"C": [1, 10, 100]}, random_state=0)
    >>> sampler.ask(2)
    [{'C': 100}, {'C': 10}]
    >>> sampler.ask(2)
    [{'C': 1}]
    """

    def __init__(self, space: AnySpace, random_state: Seed = None) -> None:
        self.space = as_space(space)
        self._rng: RandomState = check_random_state(random_state)
        self._drawn: set[int] = set()
        self._expected: set[bytes] = set()

    def expect(self, candidates: Sequence[Candidate]) -> None:
        """Do not draw these candidates, if all parameters are lists."""
        if self.space.is_listed:
            self._expected |= {row.tobytes() for row in self.space.encode(candidates)}

    def ask(self, n_points: int) -> list[Candidate]:
        """Return new candidates; fewer, or none, once a space of lists is exhausted."""
        asked: list[Candidate] = []
        while len(asked) < n_points:
            n = n_points - len(asked)
            if not (drawn := self.space.sample(n, self._rng, self._drawn)):
                break
            if self._expected:
                pairs = zip(drawn, self.space.encode(drawn), strict=True)
                drawn = [c for c, row in pairs if row.tobytes() not in self._expected]
            asked += drawn
        return asked

    def tell(
        self,
        candidates: Sequence[Candidate],
        scores: ArrayLike,
        n_resources: int | None = None,
    ) -> None:
        """Ignore the scores."""


# The space counts as exhausted after this number of draws without a new candidate.
_MAX_FRUITLESS = 20
_N_DRAWS = 256
# Spaces up to this size are searched exhaustively.
_MAX_LISTED = 100_000


class Learner:
    """Base of samplers that repeat no candidate while new candidates remain."""

    def __init__(self, space: AnySpace, random_state: Seed) -> None:
        self.space = as_space(space)
        for column in self.space.columns:
            if not column.dimension.has_codes:
                raise SpaceError(
                    f"The distribution of {column.name!r} must have 'ppf' and 'cdf' for a "
                    "search that learns. Got an object with 'rvs' only: use random search."
                )
        self._rng: RandomState = check_random_state(random_state)
        self._seen: set[bytes] = set()
        # Insertion order is the order of proposals.
        self._pending: dict[bytes, Floats] = {}

    def expect(self, candidates: Sequence[Candidate]) -> None:
        """Treat candidates that are evaluated elsewhere as pending."""
        for row in self.space.encode(candidates):
            self._take(row)

    def _told(self, candidates: Sequence[Candidate]) -> Floats:
        """Return the codes of evaluated candidates, and remove them from the pending."""
        codes = self.space.encode(candidates)
        for key in self.space.keys(codes):
            self._seen.add(key)
            self._pending.pop(key, None)
        return codes

    def _take(self, row: Floats) -> bool:
        """Record a point as proposed; return False if it was proposed before."""
        (key,) = self.space.keys(row[None])
        if key in self._seen:
            return False
        self._seen.add(key)
        self._pending[key] = row
        return True

    def _random_rows(self, n: int) -> list[Floats]:
        """Return up to `n` random points that were not proposed before."""
        rows: list[Floats] = []
        n_points, n_fruitless = self.space.n_points, 0
        while len(rows) < n and n_fruitless < _MAX_FRUITLESS:
            if n_points is not None and len(self._seen) >= n_points:
                return rows
            drawn = self.space.random_codes(_N_DRAWS, self._rng)
            new = list(islice(filter(self._take, drawn), n - len(rows)))
            rows += new
            n_fruitless = 0 if new else n_fruitless + 1
        if len(rows) < n and self.space.is_listed and (n_points or 0) <= _MAX_LISTED:
            # Points that the random draws missed.
            everything = self.space.encode(self.space.sample(n_points or 0, self._rng))
            rows += islice(filter(self._take, everything), n - len(rows))
        return rows


# rho of the paper's experiments, and the excess of N_min over the number of parameters:
# N_min is that number + 1, and Algorithm 2 has "+ 2".
_RHO = 1 / 3
_MORE_POINTS = 3
_SEED_END = 2**31 - 1


class FidelitySampler(Learner):
    """Makes a sampler learn from the highest resources with enough scored candidates.

    A third of the candidates is random. Each `ask` makes a new sampler and passes it the
    points of one level only, because scores after different resources are not comparable.
    """

    def __init__(
        self,
        make_sampler: Callable[[Space, int], Sampler],
        space: Space,
        random_state: Seed = None,
    ) -> None:
        super().__init__(space, random_state)
        self.make_sampler = make_sampler
        self._random = RandomSampler(space, self._rng)
        self._levels: dict[int, list[tuple[Candidate, float]]] = {}

    def ask(self, n_points: int) -> list[Candidate]:
        """Return new candidates; fewer, or none, once a finite space is exhausted."""
        is_random = self._rng.uniform(size=n_points) < _RHO
        level = self.level()
        learnt: list[Candidate] = []
        if level is not None and not is_random.all():
            seed = int(self._rng.randint(_SEED_END))
            sampler = self.make_sampler(self.space, seed)
            candidates, scores = zip(*self._levels[level], strict=True)
            sampler.tell(candidates, scores, level)
            pending = np.array(list(self._pending.values()))
            announce(sampler, self.space.decode(pending) if len(pending) else [])
            learnt = self._new(sampler, int(np.count_nonzero(~is_random)))
        drawn = self._new(self._random, n_points - len(learnt))
        # Rungs may start in this order, so it must not separate the two kinds.
        sources = [drawn if r else learnt for r in is_random]
        mixed = [source.pop(0) for source in sources if source]
        return mixed + drawn + learnt

    def tell(
        self,
        candidates: Sequence[Candidate],
        scores: ArrayLike,
        n_resources: int | None = None,
    ) -> None:
        """Store scores of candidates with some resources; None counts as 0."""
        self._told(candidates)
        values = np.asarray(scores, dtype=float).tolist()
        points = self._levels.setdefault(n_resources or 0, [])
        points += zip(candidates, values, strict=True)

    def level(self) -> int | None:
        """Return the most resources with enough scores for a model."""
        n_needed = len(self.space.columns) + _MORE_POINTS
        enough = [b for b, points in self._levels.items() if len(points) >= n_needed]
        return max(enough, default=None)

    def _new(self, sampler: Sampler, n: int) -> list[Candidate]:
        """Return a sampler's candidates that were not proposed before."""
        new: list[Candidate] = []
        n_fruitless = 0
        while len(new) < n and n_fruitless < _MAX_FRUITLESS:
            candidates = sampler.ask(n - len(new))
            if not candidates:
                break
            n_before = len(new)
            codes = self.space.encode(candidates)
            new += [c for c, row in zip(candidates, codes, strict=True) if self._take(row)]
            n_fruitless = 0 if len(new) > n_before else n_fruitless + 1
        return new
