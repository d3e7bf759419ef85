"""Layers that only predict give what the modules give."""

import pytest
import torch
from torch import nn

from sk_tune.engine.fleet._active_batch import stacked_program
from sk_tune.engine.fleet._chain import PredictingLinear, fold_floors, predicting
from sk_tune.engine.fleet._layers import Activation, Dropout, Linear


def _modules(*layers, n=3):
    torch.manual_seed(0)
    return [nn.Sequential(*[make() for make in layers]).double() for _ in range(n)]


def _linear(n_in, n_out, *, bias=True):
    return lambda: nn.Linear(n_in, n_out, bias=bias)


CHAINS = {
    "two ReLUs": (_linear(4, 6), nn.ReLU, _linear(6, 5), nn.ReLU, _linear(5, 2)),
    "dropout": (_linear(4, 6), nn.ReLU, nn.Dropout, _linear(6, 2)),
    "tanh": (_linear(4, 6), nn.Tanh, _linear(6, 2)),
    "no bias behind": (_linear(4, 6), nn.ReLU, _linear(6, 2, bias=False)),
    "no bias before": (_linear(4, 6, bias=False), nn.ReLU, _linear(6, 2)),
    "ReLU at the end": (_linear(4, 6), nn.ReLU),
}


@pytest.mark.parametrize("shared", [True, False], ids=["shared rows", "own rows"])
@pytest.mark.parametrize("chain", CHAINS)
def test_outputs_are_those_of_the_modules(chain, shared):
    """Whether a bias becomes a floor or is added, up to the order of sums."""
    modules = [module.eval() for module in _modules(*CHAINS[chain])]
    X = torch.randn(3, 7, 4, dtype=torch.float64)
    program = stacked_program(modules, X[0])
    program.only_predict()
    program.fold_floors()

    rows = slice(0, 3)
    outputs = program.evaluate_shared(X[0], rows) if shared else program.evaluate(X, rows)

    own = [X[0]] * 3 if shared else list(X)
    with torch.no_grad():
        expected = torch.stack([m(x) for m, x in zip(modules, own, strict=True)])
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)


def test_floors_take_the_place_of_relus_between_biases():
    """Dropout goes too; an activation of another kind stays."""
    memory = torch.empty

    def linear(name, **options):
        return Linear(name, memory, **options)

    relu, tanh = (Activation(m, "x", memory) for m in (nn.ReLU(), nn.Tanh()))
    dropout = Dropout(lambda x, batch: None, "y", memory)
    layers = [linear("a"), relu, dropout, linear("b"), tanh, linear("c")]

    first, second, third, last = predicting(layers)

    assert first.following is second
    assert third is tanh
    assert second.following is last.following is None


def test_a_unit_that_never_fires_adds_nothing():
    """max(x, -b) + b is 0 where x is below -b, and the next bias knows."""
    tensors = {
        "a.weight": torch.tensor([[[1.0]]]),
        "a.bias": torch.tensor([[-5.0]]),
        "b.weight": torch.tensor([[[3.0]]]),
        "b.bias": torch.tensor([[2.0]]),
    }

    def memory(name, like, *shape):
        return torch.empty(shape)

    layers = predicting([
        Linear("a", memory),
        Activation(nn.ReLU(), "r", memory),
        Linear("b", memory),
    ])
    fold_floors(layers, tensors)

    assert all(isinstance(layer, PredictingLinear) for layer in layers)
    assert tensors["a.bias"].item() == 5
    assert tensors["b.bias"].item() == 2 - 3 * 5
    h = torch.tensor([[4.0], [6.0]])
    for layer in layers:
        h = layer.evaluate(h, tensors)
    assert h.flatten().tolist() == [2.0, 5.0]


def test_numbers_of_rows_may_come_again_after_larger_ones():
    """What is kept for a number of rows does not outlive the memory it writes to."""
    modules = _modules(*CHAINS["two ReLUs"])
    X = torch.randn(40, 4, dtype=torch.float64)
    program = stacked_program(modules, X)
    program.only_predict()
    program.fold_floors()

    first = [program.evaluate_shared(X[:n], slice(0, 3)).clone() for n in (8, 8, 40, 8)]

    for n, outputs in zip((8, 8, 40, 8), first, strict=True):
        with torch.no_grad():
            expected = torch.stack([module(X[:n]) for module in modules])
        torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    places = {program._store["4.out"].data_ptr()}
    assert {program.evaluate_shared(X[:8], slice(0, 3)).data_ptr()} == places
