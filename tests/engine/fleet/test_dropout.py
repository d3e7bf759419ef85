"""Seeded dropout of many rows: the layer of a lone network is the reference."""

import itertools

import pytest
import torch
from torch import nn

from sk_tune.engine.fleet._dropout import SeededMasks, StackedDropout
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
