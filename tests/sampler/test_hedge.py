# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A portfolio of acquisition functions."""

from types import SimpleNamespace

import numpy as np
from numpy.random import RandomState

from sk_tune.sampler._acquisition import Hedge


def model_that_expects(losses):
    """Return a model that believes in a loss for each nominee."""
    return SimpleNamespace(believe=lambda X: SimpleNamespace(mean=np.array(losses)))


def nominate(hedge):
    """Let each function name a row of its own."""
    order = {"EI": 0, "LCB": 1, "PI": 2}
    hedge.nominate(np.eye(3), None, lambda name, belief: np.eye(3)[order[name]])


def test_gains_are_the_negated_losses_expected_of_the_nominees():
    """Summed over batches, as in Algorithm 2 of Hoffman et al."""
    hedge = Hedge(RandomState(0))
    for losses in ([1.0, 2.0, 3.0], [0.5, -1.0, 0.0]):
        nominate(hedge)
        hedge.choose(model_that_expects(losses))

    np.testing.assert_allclose(hedge.gains, [-1.5, -1.0, -3.0])


def test_functions_are_drawn_by_the_softmax_of_their_gains():
    """Frequencies of 4,000 draws are within four standard errors of the odds."""
    hedge = Hedge(RandomState(0))
    nominate(hedge)
    hedge.choose(model_that_expects([0.0, 1.0, 2.0]))

    drawn = [hedge.choose(None) for _ in range(4000)]

    odds = np.exp([0.0, -1.0, -2.0]) / np.exp([0.0, -1.0, -2.0]).sum()
    found = np.array([drawn.count(name) for name in ("EI", "LCB", "PI")]) / 4000
    assert np.all(np.abs(found - odds) < 4 * np.sqrt(odds * (1 - odds) / 4000))


def test_a_batch_without_news_keeps_the_gains():
    """Nominees count once, however often a function is chosen."""
    hedge = Hedge(RandomState(0))
    nominate(hedge)
    for _ in range(3):
        hedge.choose(model_that_expects([1.0, 1.0, 4.0]))

    np.testing.assert_allclose(hedge.gains, [-1.0, -1.0, -4.0])
