"""Table inputs: categories, and embeddings of numbers against their formulas."""

import itertools
import math

import numpy as np
import pytest
import torch

from sk_tune._nets import (
    CategoryEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    TableInputs,
)


def _embedding(n_codes=(3, 5), size=2, known=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = CategoryEmbedding(n_codes, size)
    if known is not None:
        layer.set_known(known)
    return layer


def test_each_code_of_each_column_has_its_own_vector():
    """The vectors of a row come from the column's part of the matrix."""
    layer = _embedding()

    vectors = layer(torch.tensor([[1.0, 4.0], [2.0, 1.0]]))

    own = layer.weight
    expected = [torch.cat([own[1], own[3 + 4]]), torch.cat([own[2], own[3 + 1]])]
    torch.testing.assert_close(vectors, torch.stack(expected))
    assert layer.n_outputs == 4


def test_only_the_vector_of_unknown_codes_begins_at_0():
    """An untrained unknown category does not contribute."""
    layer = _embedding()

    vectors = layer(torch.tensor([[0.0, 5.0], [1.0, 1.0]]))

    assert (vectors[0] == 0).all()
    assert (vectors[1] != 0).all()
    assert vectors.abs().max() <= 2**-0.5


def test_a_layer_on_the_meta_device_has_its_shapes():
    """On torch's meta device, where sizes are checked before weights are loaded."""
    with torch.device("meta"):
        layer = CategoryEmbedding((3, 5), 2)
        layer.set_known([[1], [2]])

    assert layer.weight.shape == (8, 2)


def test_only_the_vectors_that_are_looked_up_have_a_gradient():
    """Unknown codes train the vector of code 0; codes that never occur train none."""
    layer = _embedding(known=[[1], [1]])

    layer(torch.tensor([[1.0, 4.0]])).sum().backward()

    assert layer.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [1, 3]


def test_plain_numbers_precede_categories_and_are_unchanged():
    """Columns are identified by their positions, in any order."""
    inputs = TableInputs([0, 2], [3, 1], categories=_embedding())
    x = torch.tensor([[0.5, 4.0, -1.5, 2.0]])

    got = inputs(x)

    expected = [x[:, [0, 2]], inputs.categories(torch.tensor([[2.0, 4.0]]))]
    torch.testing.assert_close(got, torch.cat(expected, dim=1))
    assert inputs.n_outputs == got.shape[1] == 6


def test_embedded_numbers_precede_plain_numbers():
    """Only the embedded columns pass through the embedding."""
    numbers = _periodic().float()
    inputs = TableInputs([1], embedded=[0, 3, 2], numbers=numbers)
    x = torch.tensor([[0.5, 4.0, -1.5, 2.0]])

    got = inputs(x)

    expected = torch.cat([numbers(x[:, [0, 3, 2]]), x[:, [1]]], dim=1)
    torch.testing.assert_close(got, expected)
    assert inputs.chunks == (2, 2, 2, 1)


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


def test_piecewise_linear_embeddings_are_initially_linear():
    """Before training, they are linear in each number."""
    layer = _piecewise()
    x, y = _numbers(5, 3), _numbers(5, 3, seed=1)

    torch.testing.assert_close(layer((x + y) / 2), (layer(x) + layer(y)) / 2)


@pytest.mark.parametrize("value", [-5.0, -1.0, -0.3, 0.0, 0.4, 0.5, 2.0, 3.0, 50.0])
def test_each_bin_is_0_below_1_above_and_linear_inside(value):
    """The encoding of Gorishniy et al. 2022, section 3.2, but constant outside all bins."""
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


def test_missing_bins_of_a_column_learn_nothing():
    """Their derivatives are 0, as are the derivatives of a constant column."""
    layer = _piecewise()

    layer(torch.full((4, 3), 2.5, dtype=torch.float64)).sum().backward()

    moved = (layer.weight.grad != 0).any(dim=2)
    expected = [[True, True, True, False], [True, False, False, False], [False] * 4]
    assert moved.tolist() == expected


def test_new_edges_replace_old_edges():
    """Earlier edges leave no trace."""
    layer, fresh = _piecewise(), _piecewise()
    fewer = [[0.0, 1.0], [1.0], []]

    layer.set_edges(fewer)

    assert int((layer.slope != 0).sum()) == 1
    fresh.slope.zero_()
    fresh.start.zero_()
    fresh.set_edges(fewer)
    assert torch.equal(layer.start, fresh.start)
