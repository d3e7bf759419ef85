"""The recurrent network: padding, and agreement with torch's layers."""

import copy

import pytest
import torch

from sk_tune._nets import RNN

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
def test_padding_is_ignored(cell, bidirectional, normalization):
    """A padded sequence gives the same output as the sequence alone."""
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


@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_layer_predicts_from_torchs_final_states(bidirectional):
    """The readout is a linear map of h_n, with both directions concatenated."""
    net = _net(n_layers=1, bidirectional=bidirectional)
    x = _sequences()
    _, h_n = net.layers[0].recurrence(x)

    torch.testing.assert_close(net(x), net.output(torch.cat(list(h_n), dim=1)))


def test_residual_adds_the_input_of_layers_of_equal_size():
    """The second layer's input is added to its output."""
    net = _net(residual=True)
    x = _sequences()
    h = net.layers[0].recurrence(x)[0]

    expected = net.output((h + net.layers[1].recurrence(h)[0])[:, -1])

    torch.testing.assert_close(net(x), expected)


def _ended(x, lengths):
    padded = x.clone()
    for row, length in enumerate(lengths):
        padded[row, length:] = torch.nan
    return padded


def _norm_over_real_steps(net, lengths, mode):
    """Return a net's batch normalisation of padded sequences, and torch's of real steps."""
    norm = net.layers[0].norm
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, -2.0, 3.0]))
        norm.bias.copy_(torch.tensor([1.0, 0.0, 0.5, -1.0]))
        norm.running_mean.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
        norm.running_var.copy_(torch.tensor([0.5, 1.5, 2.5, 3.5]))
    reference = copy.deepcopy(norm)
    reference.train(mode == "train")
    net.train(mode == "train")
    padded = _ended(_sequences(), lengths)
    h = net.layers[0]._recur(padded.nan_to_num(), torch.tensor(lengths)).detach()
    seen = {}
    net.output.register_forward_pre_hook(lambda _, args: seen.update(last=args[0]))
    net(padded)
    real = torch.cat([own[:length] for own, length in zip(h, lengths, strict=True)])
    expected = reference(real)
    ends = torch.tensor(lengths).cumsum(0) - 1
    return norm, reference, seen["last"], expected[ends]


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("lengths", [[6, 1, 3, 6, 2], [2, 2, 1, 1, 2], [6, 6, 6, 6, 5]])
def test_batch_normalisation_of_padded_sequences_is_torchs_over_real_steps(mode, lengths):
    """Last states and running statistics equal nn.BatchNorm1d's over real steps."""
    net = _net(normalization="batch", n_layers=1)

    norm, reference, got, expected = _norm_over_real_steps(net, lengths, mode)

    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], tensor, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_checking_for_padding_without_padding_changes_nothing(cell, normalization):
    """With ``padded`` set, full sequences give the same outputs."""
    nets = [_net(cell=cell, normalization=normalization).train() for _ in range(2)]
    nets[0].padded, nets[1].padded = True, False

    got, expected = (net(_sequences()) for net in nets)

    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for name, tensor in nets[1].state_dict().items():
        torch.testing.assert_close(nets[0].state_dict()[name], tensor)


def test_padding_is_detected_unless_declared():
    """None checks the batch, True gives the same, False treats NaN as a number."""
    net, padded = _net().eval(), _ended(_sequences(), [6, 1, 3, 6, 2])
    expected = net(padded)

    net.padded = True
    torch.testing.assert_close(net(padded), expected)
    net.padded = False

    assert torch.isnan(net(padded)[1:3]).all()
    assert _net().padded is None
