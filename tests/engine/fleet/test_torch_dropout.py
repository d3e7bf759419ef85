"""nn.Dropout of many rows: torch's layer with the global generator is the reference."""

import pytest
import torch
from torch import nn
from torch.func import vmap

from sk_tune.engine.fleet._dropout import TorchDropout, orders_in_memory

SEEDS = [0, 5, 2**40]

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def _normal(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def _layer(seeds=SEEDS):
    layer = TorchDropout().train()
    layer.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return layer


def _lone(x, p, seed, n_calls=1):
    """Return what torch's layer gives at each of its calls, and the last gradient."""
    outputs = []
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        for _ in range(n_calls):
            leaf = x.clone().requires_grad_()
            outputs.append(nn.Dropout(p).train()(leaf))
    (gradient,) = torch.autograd.grad(outputs[-1].square().sum(), leaf)
    return [o.detach() for o in outputs], gradient


@dtypes
@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 3, 4), (40, 50)], ids=str)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_rows_are_torchs_layers(shape, p, dtype):
    """Each row drops what nn.Dropout drops with its generator, call after call."""
    x, layer = _normal(3, *shape, dtype=dtype), _layer()

    for call in range(3):
        layer.begin(slice(0, 3), [p] * 3)
        leaf = x.clone().requires_grad_()
        outputs = vmap(layer)(leaf)
        (gradient,) = torch.autograd.grad(outputs.square().sum(), leaf)

        for row, seed in enumerate(SEEDS):
            expected, expected_gradient = _lone(x[row], p, seed, call + 1)
            assert torch.equal(outputs[row], expected[-1])
            assert torch.equal(gradient[row], expected_gradient)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_the_row_axis_may_lie_anywhere(dim):
    """Which dimension vmap maps changes nothing."""
    x, layer = _normal(3, 4, 5), _layer()
    layer.begin(slice(0, 3), [0.4] * 3)

    outputs = vmap(layer, in_dims=dim)(x.movedim(0, dim))

    for row, seed in enumerate(SEEDS):
        assert torch.equal(outputs[row], _lone(x[row], 0.4, seed)[0][0])


def test_activations_may_be_transposed():
    """Elements are drawn for in the order in which torch draws for them."""
    x, layer = _normal(3, 4, 5), _layer()
    layer.orders = {2: (1, 0)}
    layer.begin(slice(0, 3), [0.4] * 3)

    outputs = vmap(lambda row: layer(row.mT))(x)

    for row, seed in enumerate(SEEDS):
        assert torch.equal(outputs[row], _lone(x[row].mT, 0.4, seed)[0][0])


def test_the_order_in_memory_is_that_of_a_lone_network():
    """Recurrences put steps outermost; a layer called in two orders cannot be followed.

    What repeats its elements in memory is drawn for in the order of its dimensions.
    """

    class Steps(torch.nn.Module):
        def __init__(self, *, is_twice):
            super().__init__()
            self.cell = torch.nn.GRU(3, 4, batch_first=True)
            self.drop = torch.nn.Dropout(0.5)
            self.is_twice = is_twice

        def forward(self, x):
            h = self.drop(self.cell(x)[0])
            return self.drop(h.contiguous()) if self.is_twice else self.drop(h[:, -1])

    class Repeated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(x[:, :1].expand(-1, 6, -1))

    x = torch.zeros(5, 6, 3)

    assert orders_in_memory(Repeated(), x) == {"drop": {3: (0, 1, 2)}}
    assert orders_in_memory(Steps(is_twice=False), x) == {"drop": {3: (1, 0, 2), 2: (0, 1)}}
    assert orders_in_memory(Steps(is_twice=True), x) is None
    state = torch.get_rng_state()
    orders_in_memory(torch.nn.Sequential(torch.nn.Dropout(0.5)), x)
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_have_probabilities_of_their_own():
    """A row that drops nothing, or all, draws no number, as torch."""
    x, probabilities = _normal(3, 4, 5), [0.0, 0.7, 1.0]
    layer = _layer()
    states = [g.get_state() for g in layer.generators]
    layer.begin(slice(0, 3), probabilities)

    outputs = vmap(layer)(x)

    for row, (p, seed) in enumerate(zip(probabilities, SEEDS, strict=True)):
        assert torch.equal(outputs[row], _lone(x[row], p, seed)[0][0])
        still = torch.equal(layer.generators[row].get_state(), states[row])
        assert still == (p in {0.0, 1.0})


def test_batch_of_some_rows_moves_their_generators_only():
    """A slice takes the generators of its rows."""
    x, layer = _normal(2, 4, 5), _layer()
    before = layer.generators[0].get_state()
    layer.begin(slice(1, 3), [0.4, 0.2])

    outputs = vmap(layer)(x)

    for row, (p, seed) in enumerate([(0.4, SEEDS[1]), (0.2, SEEDS[2])]):
        assert torch.equal(outputs[row], _lone(x[row], p, seed)[0][0])
    assert torch.equal(layer.generators[0].get_state(), before)


def test_evaluation_returns_the_input():
    """Nothing is dropped, and nothing drawn."""
    x, layer = _normal(3, 4), _layer().eval()
    before = [g.get_state() for g in layer.generators]

    assert layer(x) is x
    after = [g.get_state() for g in layer.generators]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_global_generator_is_not_touched():
    """Rows draw from generators of their own."""
    layer, before = _layer(), torch.get_rng_state()
    layer.begin(slice(0, 3), [0.4] * 3)

    vmap(layer)(_normal(3, 4))

    assert torch.equal(torch.get_rng_state(), before)
