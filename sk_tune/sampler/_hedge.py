# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A portfolio of acquisition functions, of which the lucky ones are asked more often.

References
----------
.. [1] M. Hoffman, E. Brochu, N. de Freitas. Portfolio allocation for Bayesian optimization.
   UAI 2011.  Algorithm 2, GP-Hedge.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from sk_tune.sampler._surrogate import Belief, Surrogate

__all__ = ["Hedge"]

Array = NDArray[np.float64]

_PORTFOLIO = ("EI", "LCB", "PI")
# scikit-optimize's; the rate at which gains become odds.
_RATE = 1.0


class Hedge:
    """Chooses an acquisition function for each batch."""

    def __init__(self, rng: RandomState) -> None:
        self._rng = rng
        self.gains = np.zeros(len(_PORTFOLIO))
        self._nominees: Array | None = None

    def choose(self, model: Surrogate) -> str:
        """Draw the name of the next function, with odds that grow with its gain.

        The gain of a function is what the newly fitted `model` expects at the points that
        the function nominated before.
        """
        if self._nominees is not None:
            # Less is better.
            self.gains -= _RATE * model.believe(self._nominees).mean
            self._nominees = None
        odds = np.exp(self.gains - self.gains.max())
        return _PORTFOLIO[int(np.argmax(self._rng.multinomial(1, odds / odds.sum())))]

    def nominate(
        self, features: Array, belief: Belief, value: Callable[[str, Belief], Array]
    ) -> None:
        """Note which point of a pool each function would evaluate first.

        `features` are those of the pool, (P, F); `value` maps ``(name, belief)`` to values,
        greater is better.
        """
        best = [int(np.argmax(value(name, belief))) for name in _PORTFOLIO]
        self._nominees = features[best]
