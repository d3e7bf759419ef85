"""A network without weights of its own making, and yet the same network."""

import pytest
import torch
from torch import nn

from sk_tune.nets import MLP, empty_copy, fresh_copy


def _network(normalization="batch"):
    return MLP(
        3,
        2,
        hidden_layer_sizes=[4, 4],
        activation="relu",
        normalization=normalization,
        residual=True,
        dropout=0.2,
    ).double()


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_a_filled_copy_computes_what_the_original_computes(normalization, device):
    """Also if it was copied from a network without memory."""
    network = _network(normalization)
    network(torch.randn(8, 3, dtype=torch.float64))
    state = {name: value.clone() for name, value in network.state_dict().items()}

    copy = empty_copy(network.to(device), "cpu")
    copy.load_state_dict(state)

    expected = _network(normalization)
    expected.load_state_dict(state)
    X = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(copy.eval()(X), expected.eval()(X), rtol=0, atol=0)
    assert repr(copy) == repr(expected)


def test_a_copy_shares_nothing_with_the_original():
    """Neither tensors nor hooks nor layers that are added."""
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    copy = empty_copy(network, "cpu")
    with torch.no_grad():
        for tensor in [*copy.parameters(), *copy.buffers()]:
            tensor.fill_(7)
    copy.output.register_forward_hook(lambda *_: torch.zeros(1))
    copy.hidden.append(nn.Identity())
    copy.eval()

    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert network(torch.ones(2, 3, dtype=torch.float64)).shape == (2, 2)
    assert len(network.hidden) == 2
    assert network.training


def test_frozen_parameters_stay_frozen():
    """Whether a parameter is trained is part of the network."""
    network = _network()
    network.output.bias.requires_grad_(False)

    trained = [p.requires_grad for p in empty_copy(network, "cpu").parameters()]

    assert trained == [p.requires_grad for p in network.parameters()]


def test_no_number_is_drawn():
    """The global generator stays where it is."""
    network = _network()
    before = torch.get_rng_state()

    empty_copy(network, "cpu")

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_a_fresh_copy_has_the_weights_that_building_draws(normalization):
    """And draws as many numbers; whatever has become of the original."""
    with torch.device("meta"):
        pattern = _network(normalization).float()
    torch.manual_seed(0)
    expected = _network(normalization)
    after = torch.get_rng_state()

    torch.manual_seed(0)
    copy = fresh_copy(pattern)

    assert torch.equal(torch.get_rng_state(), after)
    # Drawn in single precision, as torch does, whatever they become.
    drawn, built = copy.double().state_dict(), expected.state_dict()
    assert drawn.keys() == built.keys()
    for name, values in built.items():
        assert torch.equal(drawn[name], values), name
