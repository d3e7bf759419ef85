# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Random search: candidates that do not depend on scores."""

from collections.abc import Sequence
from typing import Any

from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from sk_tune.space import Candidate, Space

__all__ = ["RandomSampler"]


class RandomSampler:
    """Draws candidates at random, each once if all parameters are lists.

    The first `n` candidates are those of scikit-learn's ``ParameterSampler``, for a space
    that it accepts; how many are asked for at a time does not matter unless all parameters
    are lists.

    Parameters
    ----------
    space : Space
        What may vary.
    random_state : int, RandomState or None, default=None
        Source of randomness.

    Examples
    --------
    >>> from sk_tune.space import as_space
    >>> sampler = RandomSampler(as_space({"C": [1, 10, 100]}), random_state=0)
    >>> sampler.ask(2)
    [{'C': 100}, {'C': 10}]
    >>> sampler.ask(2)
    [{'C': 1}]
    """

    def __init__(self, space: Space, random_state: Any = None) -> None:
        self.space = space
        self._rng: RandomState = check_random_state(random_state)
        self._drawn: set[int] = set()

    def ask(self, n_points: int) -> list[Candidate]:
        """Return the next candidates.

        Parameters
        ----------
        n_points : int
            How many.

        Returns
        -------
        list of dict
            Fewer than `n_points`, or none, once a space of lists has no others.
        """
        return self.space.sample(n_points, self._rng, self._drawn)

    def tell(
        self,
        candidates: Sequence[Candidate],
        scores: ArrayLike,
        n_resources: int | None = None,
    ) -> None:
        """Take note of nothing.

        Parameters
        ----------
        candidates : sequence of dict
            Ignored.
        scores : array-like
            Ignored.
        n_resources : int, optional
            Ignored.
        """
