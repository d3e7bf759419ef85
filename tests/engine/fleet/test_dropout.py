"""Dropout of many networks."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import vmap

from sk_tune.engine.fleet._masks import (
    SeededMasks,
    StackedDropout,
    TorchDropout,
    orders_in_memory,
)
from sk_tune.nets import SeededDropout, seed_dropout, set_dropout_step

CPU = torch.device("cpu")
PROBABILITIES = [[0.5, 0.1], [0.0, 0.0], [0.25, 0.9], [0.3, 0.0]]
SEEDS = [0, 2**62 + 17, 2**32, 123456789]
FIRST_STEPS = [0, 3, 1000, 2**31]
N_STEPS, N = 3, 60

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def _rows(positions=range(4), dtype=torch.float64):
    return StackedDropout(
        [PROBABILITIES[i] for i in positions], [SEEDS[i] for i in positions], dtype, CPU
    )


def _lone_masks(i, step, dtype=torch.float64):
    """Return what a lone network's layers make of ones, with layers even where p is 0."""
    layers = nn.ModuleList(SeededDropout(p) for p in PROBABILITIES[i]).train()
    set_dropout_step(seed_dropout(layers, SEEDS[i]), FIRST_STEPS[i] + step)
    return [layer(torch.ones(N, dtype=dtype)) for layer in layers]


def _mask(dropout, layer, step, rows, dtype=torch.float64):
    out = torch.empty(rows.stop - rows.start, N, dtype=dtype)
    return dropout.mask(layer, step, rows, out)


def _assert_masks(dropout, positions, dtype=torch.float64):
    rows = slice(0, len(positions))
    for step in range(N_STEPS):
        for layer in range(2):
            got = _mask(dropout, layer, step, rows, dtype)
            expected = [_lone_masks(i, step, dtype)[layer] for i in positions]
            assert torch.equal(got, torch.stack(expected))


@dtypes
def test_masks_are_those_of_lone_networks(dtype):
    """For every layer, step and row, whatever the seed and the step it starts at."""
    dropout = _rows(dtype=dtype)

    dropout.begin_epoch(FIRST_STEPS, N_STEPS)

    _assert_masks(dropout, range(4), dtype)


@dtypes
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_masks_have_the_order_in_memory_of_activations(order, dtype):
    """Each element has its number wherever it lies, and a second time as well."""
    rows = slice(0, 4)
    shape = (4, 3, 4, 5)
    dropout = _rows(dtype=dtype)
    dropout.begin_epoch(FIRST_STEPS, N_STEPS)
    x = torch.empty([shape[dim] for dim in order], dtype=dtype)
    x = x.permute([order.index(dim) for dim in range(4)])
    masks = SeededMasks()

    for step in range(2):
        got = masks.like(x, [n[1] for n in dropout.numbers(step, rows)])

        assert got.stride() == x.stride()
        assert torch.equal(got.reshape(4, N), _mask(dropout, 1, step, rows, dtype))


def test_masks_of_several_shapes_are_told_apart():
    """Batches end with smaller ones, and rows leave."""
    dropout = _rows()
    dropout.begin_epoch(FIRST_STEPS, N_STEPS)
    masks = SeededMasks()

    for n_rows, n_samples in [(4, 3), (3, 3), (4, 2), (4, 3), (2, 5), (1, 1), (4, 3)]:
        rows = slice(0, n_rows)
        numbers = [n[0] for n in dropout.numbers(1, rows)]
        rows_first = torch.empty(n_rows, n_samples, 6, dtype=torch.float64)
        samples_first = torch.empty(n_samples, n_rows, 6, dtype=torch.float64)
        expected = dropout.mask(0, 1, rows, rows_first.flatten(1))
        for x in (rows_first, samples_first.transpose(0, 1)):
            got = masks.like(x, numbers)
            assert torch.equal(got.reshape(n_rows, -1), expected)


def test_parts_of_the_rows_have_their_own_masks():
    """A slice gives the rows of the whole."""
    dropout = _rows()
    dropout.begin_epoch(FIRST_STEPS, N_STEPS)

    whole = _mask(dropout, 1, 2, slice(0, 4))

    assert torch.equal(_mask(dropout, 1, 2, slice(1, 3)), whole[1:3])


def test_numbers_make_the_masks():
    """a t + b against the threshold, times the scale, is the lone layer's mask."""
    dropout = _rows()
    dropout.begin_epoch(FIRST_STEPS, N_STEPS)
    positions = [0, 2]

    for step in range(N_STEPS):
        a, b, threshold, scale = dropout.numbers(step, slice(0, 4))
        for row in positions:
            for layer in range(2):
                bits = _bits(a[layer, row], b[layer, row])
                got = (bits >= threshold[layer, row]) * scale[layer, row]
                assert torch.equal(got, _lone_masks(row, step)[layer])


def _bits(a, b):
    """Return the hash of each position: MurmurHash3's finaliser, then multiply-shift."""
    t = torch.arange(1, N + 1, dtype=torch.int64)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        t = ((t ^ (t >> shift)) * factor) & 0xFFFFFFFF
    t ^= t >> 16
    hashed = (t * int(a) + int(b)) & 0xFFFFFFFF
    return (hashed ^ 2**31) - 2**31


def test_selected_rows_keep_their_masks():
    """In whatever order they are kept."""
    dropout = _rows()
    positions = [3, 0, 2]

    dropout.select(torch.tensor(positions))
    dropout.begin_epoch([FIRST_STEPS[i] for i in positions], N_STEPS)

    _assert_masks(dropout, positions)


def test_rows_that_come_late_have_their_own_masks():
    """They stand behind the others."""
    dropout = _rows([0, 1])

    dropout.extend(_rows([2, 3]))
    dropout.begin_epoch(FIRST_STEPS, N_STEPS)

    _assert_masks(dropout, range(4))


@pytest.mark.parametrize("without_first", [True, False], ids=["before", "behind"])
def test_rows_without_dropout_layers_drop_nothing(without_first):
    """Beside rows with two layers they have masks of ones."""
    without = StackedDropout([[], []], [1, 2], torch.float64, CPU)
    first, second = (without, _rows([0])) if without_first else (_rows([0]), without)

    first.extend(second)
    steps = [0, 0, FIRST_STEPS[0]] if without_first else [FIRST_STEPS[0], 0, 0]
    first.begin_epoch(steps, N_STEPS)

    row, others = (2, [0, 1]) if without_first else (0, [1, 2])
    assert first.active
    for layer in range(2):
        mask = _mask(first, layer, 1, slice(0, 3))
        assert torch.equal(mask[row], _lone_masks(0, 1)[layer])
        assert (mask[others] == 1).all()


@pytest.mark.parametrize(
    ("probabilities", "active"),
    [([[0.0, 0.0]], False), ([[0.0], [0.1]], True), ([[], []], False)],
    ids=["zero", "one row", "no layer"],
)
def test_fleet_without_dropout_is_not_active(probabilities, active):
    """It computes no masks if no row drops anything."""
    dropout = StackedDropout(probabilities, [0] * len(probabilities), torch.float32, CPU)

    assert dropout.active is active


def test_activity_comes_with_the_rows():
    """A fleet without dropout gets active when a row with dropout joins it."""
    dropout = _rows([1])
    assert not dropout.active

    dropout.extend(_rows([2]))

    assert dropout.active


def test_probabilities_are_read_off_the_module():
    """In the order of its layers; zeros where the module has left the layers out."""
    net = nn.Sequential(SeededDropout(0.2), nn.Sequential(nn.Tanh(), SeededDropout(0.4)))

    assert StackedDropout.probabilities(net, 2) == [0.2, 0.4]
    assert StackedDropout.probabilities(nn.Linear(1, 1), 3) == [0.0, 0.0, 0.0]


def test_masks_are_found_for_any_step_in_any_order():
    """What they are made with is found for some steps at once."""
    dropout = StackedDropout(
        [[0.3, 0.6], [0.5, 0.0]], [1, 2], torch.float32, torch.device("cpu")
    )
    dropout.begin_epoch([5, 0], 200)
    masks = {}
    for step in [*range(200), 3, 130, 64, 199]:
        for layer in range(2):
            own = dropout.mask(layer, step, slice(0, 2), torch.empty(2, 50)).clone()
            other = dropout.mask(layer, step, slice(1, 2), torch.empty(1, 50))
            torch.testing.assert_close(own[1:], other, rtol=0, atol=0)
            first = masks.setdefault((layer, step), own)
            torch.testing.assert_close(own, first, rtol=0, atol=0)
    dropout.begin_epoch([105, 100], 1)
    for layer in range(2):
        found = dropout.mask(layer, 0, slice(0, 2), torch.empty(2, 50))
        torch.testing.assert_close(found, masks[layer, 100], rtol=0, atol=0)


SEEDS_TORCH_DROPOUT = [0, 5, 2**40]


def _normal(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def _layer(seeds=SEEDS_TORCH_DROPOUT):
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

        for row, seed in enumerate(SEEDS_TORCH_DROPOUT):
            expected, expected_gradient = _lone(x[row], p, seed, call + 1)
            assert torch.equal(outputs[row], expected[-1])
            assert torch.equal(gradient[row], expected_gradient)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_the_row_axis_may_lie_anywhere(dim):
    """Which dimension vmap maps changes nothing."""
    x, layer = _normal(3, 4, 5), _layer()
    layer.begin(slice(0, 3), [0.4] * 3)

    outputs = vmap(layer, in_dims=dim)(x.movedim(0, dim))

    for row, seed in enumerate(SEEDS_TORCH_DROPOUT):
        assert torch.equal(outputs[row], _lone(x[row], 0.4, seed)[0][0])


def test_activations_may_be_transposed():
    """Elements are drawn for in the order in which torch draws for them."""
    x, layer = _normal(3, 4, 5), _layer()
    layer.orders = {2: (1, 0)}
    layer.begin(slice(0, 3), [0.4] * 3)

    outputs = vmap(lambda row: layer(row.mT))(x)

    for row, seed in enumerate(SEEDS_TORCH_DROPOUT):
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

    for row, (p, seed) in enumerate(zip(probabilities, SEEDS_TORCH_DROPOUT, strict=True)):
        assert torch.equal(outputs[row], _lone(x[row], p, seed)[0][0])
        still = torch.equal(layer.generators[row].get_state(), states[row])
        assert still == (p in {0.0, 1.0})


def test_batch_of_some_rows_moves_their_generators_only():
    """A slice takes the generators of its rows."""
    x, layer = _normal(2, 4, 5), _layer()
    before = layer.generators[0].get_state()
    layer.begin(slice(1, 3), [0.4, 0.2])

    outputs = vmap(layer)(x)

    for row, (p, seed) in enumerate([
        (0.4, SEEDS_TORCH_DROPOUT[1]),
        (0.2, SEEDS_TORCH_DROPOUT[2]),
    ]):
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
