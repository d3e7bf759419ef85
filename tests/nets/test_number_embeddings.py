"""Embeddings of numbers against their formulas, column by column."""

import itertools
import math

import numpy as np
import pytest
import torch

from sk_tune.nets import PeriodicEmbedding, PiecewiseLinearEmbedding

EDGES = [[-1.0, 0.0, 0.5, 3.0], [2.0, 4.0], [7.0]]


def _numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _periodic(scale=0.5):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PeriodicEmbedding(3, n_frequencies=4, frequency_scale=scale, size=2).double()


def _piecewise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = PiecewiseLinearEmbedding(3, n_bins=4, size=2).double()
    layer.set_edges(EDGES)
    return layer


def test_periodic_embeddings_follow_their_formula():
    """ReLU(Linear([cos(2 pi c x), sin(2 pi c x)])), Gorishniy et al. 2022, section 3.3."""
    layer, x = _periodic(), _numbers(5, 3)

    got = layer(x)

    expected = []
    for column in range(3):
        angles = 2 * math.pi * torch.outer(x[:, column], layer.frequencies[column])
        waves = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)
        bias = layer.bias[2 * column : 2 * column + 2]
        expected.append(torch.relu(waves @ layer.weight[column] + bias))
    torch.testing.assert_close(got, torch.cat(expected, dim=1))
    assert got.shape[1] == layer.n_outputs == 6


def test_frequencies_begin_with_the_spread_asked_for():
    """A tenth of the scale gives a tenth of each frequency, from the same seed."""
    wide, narrow = _periodic(1.0).frequencies, _periodic(0.1).frequencies

    torch.testing.assert_close(narrow, wide / 10, rtol=1e-6, atol=1e-9)


def test_piecewise_linear_embeddings_begin_as_lines():
    """Before training bends them, they are linear in each number."""
    layer = _piecewise()
    x, y = _numbers(5, 3), _numbers(5, 3, seed=1)

    torch.testing.assert_close(layer((x + y) / 2), (layer(x) + layer(y)) / 2)


@pytest.mark.parametrize("value", [-5.0, -1.0, -0.3, 0.0, 0.4, 0.5, 2.0, 3.0, 50.0])
def test_each_bin_is_0_before_it_1_behind_it_and_linear_inside(value):
    """The encoding of Gorishniy et al. 2022, section 3.2, but constant outside of all."""
    layer = _piecewise()
    torch.nn.init.normal_(layer.weight)
    x = torch.full((1, 3), value, dtype=torch.float64)

    got = layer(x)

    expected = []
    for column, edges in enumerate(EDGES):
        passed = np.zeros(4)
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            passed[i] = np.interp(value, [low, high], [0, 1])
        own = layer.scale[column] * value + layer.bias[2 * column : 2 * column + 2]
        expected.append(own + torch.from_numpy(passed) @ layer.weight[column])
    torch.testing.assert_close(got, torch.cat(expected).unsqueeze(0))


def test_bins_that_a_column_does_not_have_learn_nothing():
    """Their derivatives are 0, as are those of a constant column."""
    layer = _piecewise()

    layer(torch.full((4, 3), 2.5, dtype=torch.float64)).sum().backward()

    moved = (layer.weight.grad != 0).any(dim=2)
    expected = [[True, True, True, False], [True, False, False, False], [False] * 4]
    assert moved.tolist() == expected


def test_new_edges_replace_the_old_ones():
    """Nothing of earlier edges stays."""
    layer, fresh = _piecewise(), _piecewise()
    fewer = [[0.0, 1.0], [1.0], []]

    layer.set_edges(fewer)

    assert int((layer.slope != 0).sum()) == 1
    fresh.slope.zero_()
    fresh.start.zero_()
    fresh.set_edges(fewer)
    assert torch.equal(layer.start, fresh.start)
