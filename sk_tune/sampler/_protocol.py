# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search asks of every sampler, and what samplers share."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sk_tune.space import Candidate

__all__ = ["Sampler", "announce", "fill_failed"]


class Sampler(Protocol):
    """Proposes candidates and learns from their scores.

    A sampler may have a method ``expect(candidates)`` too, which tells it of candidates
    that others evaluate: it proposes none of them, and is told their scores later.
    """

    def ask(self, n_points: int) -> list[Candidate]:
        """Return the next candidates.

        Parameters
        ----------
        n_points : int
            How many.

        Returns
        -------
        list of dict
            Fewer than `n_points`, or none, once a finite space has no others.
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
            Asked for, or evaluated elsewhere before.
        scores : array-like of shape (n_candidates,)
            Greater is better.  One that is not finite says that the candidate failed, which
            counts as the worst finite score.
        n_resources : int, optional
            What each candidate had been given by then.
        """


def announce(sampler: Any, candidates: Sequence[Candidate]) -> None:
    """Tell a sampler of candidates that others evaluate, if it wants to know.

    Parameters
    ----------
    sampler : Sampler
        Any.
    candidates : sequence of dict
        Of its space.
    """
    expect = getattr(sampler, "expect", None)
    if expect is not None and candidates:
        expect(candidates)


def fill_failed(scores: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return scores with the worst finite one in place of those that are not finite.

    Parameters
    ----------
    scores : ndarray
        Greater is better.

    Returns
    -------
    ndarray or None
        None if no score is finite.
    """
    is_finite = np.isfinite(scores)
    if not is_finite.any():
        return None
    return np.where(is_finite, scores, scores[is_finite].min())
