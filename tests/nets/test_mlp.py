"""The multi-layer perceptron against its formula."""

import pytest
import torch
from torch.nn import functional as F

from sk_tune.nets import MLP

PLAIN = {"activation": "relu", "normalization": None, "residual": False, "dropout": 0.0}


def _rows(n_features):
    return torch.randn(7, n_features, generator=torch.Generator().manual_seed(0))


def test_layers_are_applied_in_order():
    """Linear, activation, linear, activation, linear."""
    net = MLP(4, 3, hidden_layer_sizes=(5, 6), **PLAIN)
    x = _rows(4)
    h = x
    for layer in net.hidden:
        h = F.relu(h @ layer.linear.weight.T + layer.linear.bias)

    expected = h @ net.output.weight.T + net.output.bias

    torch.testing.assert_close(net(x), expected)


def test_no_hidden_layer_is_a_linear_model():
    """Without hidden layers one matrix remains."""
    net = MLP(4, 3, hidden_layer_sizes=(), **PLAIN)
    x = _rows(4)

    torch.testing.assert_close(net(x), x @ net.output.weight.T + net.output.bias)


def test_residual_layers_add_their_input_where_sizes_match():
    """Of layers 4-5-5, the second adds its input and the first cannot."""
    net = MLP(4, 3, hidden_layer_sizes=(5, 5), **{**PLAIN, "residual": True})
    x = _rows(4)
    first, second = net.hidden
    h = F.relu(first.linear(x))

    expected = net.output(h + F.relu(second.linear(h)))

    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalisation_comes_before_the_activation(normalization):
    """What the activation sees has mean 0, over rows or over units."""
    net = MLP(4, 3, hidden_layer_sizes=(6,), **{**PLAIN, "normalization": normalization})
    layer = net.hidden[0]

    h = layer.norm(layer.linear(_rows(4)))

    axis = 0 if normalization == "batch" else 1
    torch.testing.assert_close(h.mean(dim=axis), torch.zeros_like(h.mean(dim=axis)))
