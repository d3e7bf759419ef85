"""A torch module as a layer of a chain: the module itself, row by row, is the reference."""

import copy

import torch
from torch import nn

from sk_tune.engine.fleet._layers import Batch, ModuleLayer

ROWS = slice(0, 3)


class Scaled(nn.Module):
    """A linear layer whose input is scaled by a buffer."""

    def __init__(self, factor):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("factor", torch.tensor(float(factor)))

    def forward(self, x):
        """Return what the layer makes of it."""
        return torch.tanh(self.linear(x * self.factor))


def _modules():
    return [Scaled(1 + i).double() for i in range(3)]


def _tensors(modules):
    states = [module.state_dict() for module in modules]
    return {f"own.{n}": torch.stack([s[n] for s in states]) for n in states[0]}


def test_outputs_and_derivatives_are_those_of_the_modules():
    """Each row has its own parameters and buffers."""
    modules = _modules()
    layer = ModuleLayer("own", copy.deepcopy(modules[0]))
    batch = Batch(_tensors(modules), ROWS, 0, {})
    x, dy = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 5, 2).double()

    y = layer.forward(x, batch)
    layer.backward(dy, batch, keep=True)

    assert list(batch.found) == ["own.linear.weight", "own.linear.bias"]
    for row, module in enumerate(modules):
        alone = module(x[row])
        found = torch.autograd.grad(alone, list(module.parameters()), dy[row])
        torch.testing.assert_close(y[row], alone)
        for name, expected in zip(batch.found, found, strict=True):
            torch.testing.assert_close(batch.found[name][row], expected)


def test_evaluation_keeps_nothing_for_derivatives():
    """Its outputs are the same, and no graph hangs on them."""
    modules = _modules()
    layer = ModuleLayer("own", modules[0])
    x = torch.randn(3, 5, 4, dtype=torch.float64)

    with torch.no_grad():
        y = layer.evaluate(x, _tensors(modules))

    assert not y.requires_grad
    torch.testing.assert_close(y[2], modules[2](x[2]))


def test_the_module_that_it_was_made_from_is_left_alone():
    """The layer works on a copy, without the weights of any row."""
    modules = _modules()
    before = copy.deepcopy(modules[0].state_dict())
    layer = ModuleLayer("own", modules[0])

    with torch.no_grad():
        layer.evaluate(torch.ones(3, 5, 4).double(), _tensors(modules))

    for name, tensor in modules[0].state_dict().items():
        assert torch.equal(tensor, before[name])
