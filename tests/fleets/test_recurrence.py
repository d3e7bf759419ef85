"""Recurrent layers of many rows: torch's own layers, one row at a time."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sk_tune.fleets._recurrence import StackedRecurrence

N_ROWS, N_BATCH, N_FEATURES, N_UNITS = 3, 5, 2, 4
LENGTHS = [[6, 1, 3, 6, 2], [2, 2, 5, 1, 3], [6, 6, 6, 6, 6]]
CELLS = {
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
}

cells = pytest.mark.parametrize("cell", CELLS)
directions = pytest.mark.parametrize(
    "bidirectional", [False, True], ids=["forward", "both"]
)
padding = pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])


def _layer(cell, seed=0, *, n_units=N_UNITS, n_features=N_FEATURES, **options):
    kind, own = CELLS[cell]
    options = {"batch_first": True, "dtype": torch.float64, **own, **options}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(n_features, n_units, **options)


def _normal(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _torch_states(layer, x, lengths):
    """Return what torch computes, packing what ends early."""
    if lengths is None:
        return layer(x)[0]
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=x.shape[1])[
        0
    ]


def _rows(cell, **options):
    """Return a module, the parameters of three layers side by side, and the layers."""
    layers = [_layer(cell, seed, **options) for seed in range(N_ROWS)]
    parameters = {
        name: torch.stack([layer.get_parameter(name).detach() for layer in layers])
        for name, _ in layers[0].named_parameters()
    }
    for parameter in parameters.values():
        parameter.requires_grad_()
    return StackedRecurrence(layers[0]), parameters, layers


def _assert_close(got, expected):
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@cells
@directions
@padding
@pytest.mark.parametrize("shared", [False, True], ids=["own-x", "one-x"])
def test_each_of_many_rows_is_torchs_layer(cell, bidirectional, padded, shared):
    """Under vmap, each row gives what torch's layer gives with that row's weights."""
    module, parameters, layers = _rows(cell, bidirectional=bidirectional)
    shape = (N_BATCH, 6, N_FEATURES)
    x = _normal(*shape) if shared else _normal(N_ROWS, *shape)
    x.requires_grad_()
    lengths = torch.tensor(LENGTHS) if padded else None
    cotangent = _normal(N_ROWS, N_BATCH, 6, N_UNITS * (1 + bidirectional), seed=2)

    def loss(parameters, x, lengths, cotangent):
        states = functional_call(module, parameters, (x, lengths))
        return (states * cotangent).sum(), states

    in_dims = (0, None if shared else 0, 0 if padded else None, 0)
    losses, states = vmap(loss, in_dims)(parameters, x, lengths, cotangent)
    got = torch.autograd.grad(losses.sum(), [x, *parameters.values()])

    xs = [x] * N_ROWS if shared else list(x)
    expected = [
        _torch_states(layer, xs[row], None if lengths is None else lengths[row])
        for row, layer in enumerate(layers)
    ]
    _assert_close(states, torch.stack(expected))
    total = (torch.stack(expected) * cotangent).sum()
    weights = [weight for layer in layers for weight in layer.parameters()]
    grad_x, *grads = torch.autograd.grad(total, [x, *weights])
    _assert_close(got[0], grad_x)
    for index, grad in enumerate(got[1:]):
        _assert_close(grad, torch.stack(grads[index :: len(parameters)]))


@cells
@directions
def test_padding_changes_nothing(cell, bidirectional):
    """What stands after the end of a sequence moves no state and no gradient."""
    layer = _layer(cell, bidirectional=bidirectional)
    lengths = torch.tensor(LENGTHS[0])
    after = (torch.arange(6) >= lengths.unsqueeze(1)).unsqueeze(2)
    x = _normal(N_BATCH, 6, N_FEATURES)
    module = StackedRecurrence(layer)

    results = []
    for content in (0.0, 1e6):
        padded = x.masked_fill(after, content).requires_grad_()
        states = module(padded, lengths)
        inputs = [padded, *module.parameters()]
        results.append([states, *torch.autograd.grad(states.square().sum(), inputs)])

    for got, expected in zip(*results, strict=True):
        assert torch.equal(got, expected)
    assert not results[0][1].masked_select(after).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 2}, "num_layers=1; got num_layers=2"),
        ({"batch_first": False}, "batch_first=True; got batch_first=False"),
        ({"proj_size": 2}, "proj_size=0; got proj_size=2"),
        ({"bias": False}, "bias=True; got bias=False"),
        ({"num_layers": 2, "dropout": 0.5}, "num_layers=1; got num_layers=2"),
    ],
    ids=["layers", "time-first", "projection", "no-bias", "layers-and-dropout"],
)
def test_other_layers_are_refused(options, message):
    """A layer that the module cannot stand for is an error that says what is needed."""
    with pytest.raises(ValueError, match=message):
        StackedRecurrence(_layer("lstm", **options))


def test_dropout_is_refused():
    """A layer with a dropout probability is an error, although torch would not use it."""
    layer = _layer("gru")
    layer.dropout = 0.5
    with pytest.raises(ValueError, match=r"dropout=0; got dropout=0\.5"):
        StackedRecurrence(layer)
