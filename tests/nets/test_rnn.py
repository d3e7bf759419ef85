"""The recurrent network: padding that nobody sees, and torch's own layers."""

import pytest
import torch

from sk_tune.nets import RNN

N_STEPS, N_FEATURES = 6, 3


def _net(**params):
    defaults = {
        "cell": "gru",
        "n_layers": 2,
        "hidden_size": 4,
        "bidirectional": False,
        "activation": "tanh",
        "normalization": None,
        "residual": False,
        "dropout": 0.0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RNN(N_FEATURES, 2, **{**defaults, **params}).double()


def _sequences(n_rows=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n_rows, N_STEPS, N_FEATURES, generator=generator).double()


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
def test_padding_is_not_seen(cell, bidirectional, normalization):
    """Each padded sequence gives what it gives alone without its padding."""
    net = _net(
        cell=cell, bidirectional=bidirectional, normalization=normalization, residual=True
    ).eval()
    x = _sequences()
    lengths = [6, 1, 3, 6, 2]
    padded = x.clone()
    for row, length in enumerate(lengths):
        padded[row, length:] = torch.nan

    got = net(padded)

    expected = [net(x[r : r + 1, :length]) for r, length in enumerate(lengths)]
    torch.testing.assert_close(got, torch.cat(expected))


def test_batch_statistics_leave_padding_out():
    """While training, batch normalisation sees the real steps only."""
    net = _net(normalization="batch", n_layers=1).train()
    x = _sequences()
    padded = x.clone()
    padded[:, 4:] = torch.nan

    got = net(padded)

    torch.testing.assert_close(got, _net(normalization="batch", n_layers=1)(x[:, :4]))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_layer_answers_from_torchs_final_states(bidirectional):
    """The readout is a linear map of h_n, both directions side by side."""
    net = _net(n_layers=1, bidirectional=bidirectional)
    x = _sequences()
    _, h_n = net.layers[0].recurrence(x)

    expected = net.output(torch.cat(list(h_n), dim=1))

    torch.testing.assert_close(net(x), expected)


def test_residual_adds_the_input_of_layers_of_equal_size():
    """The second layer's output is added to what it got."""
    net = _net(residual=True)
    x = _sequences()
    h = net.layers[0].recurrence(x)[0]

    expected = net.output((h + net.layers[1].recurrence(h)[0])[:, -1])

    torch.testing.assert_close(net(x), expected)


def test_plain_cell_takes_its_activation():
    """With relu, states of the plain cell are never negative."""
    net = _net(cell="rnn", activation="relu", n_layers=1)

    assert (net.layers[0].recurrence(_sequences())[0] >= 0).all()
