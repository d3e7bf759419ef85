"""Dropout whose mask is a function of (seed, step, layer, position).

Statistical bounds are five standard errors of the counts, for fixed seeds.
"""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sk_tune.nets import (
    SeededDropout,
    dropout_coefficients,
    dropout_layer_seeds,
    dropout_positions,
    dropout_threshold,
    seed_dropout,
    set_dropout_step,
)

SHAPE = (128, 64)
N = SHAPE[0] * SHAPE[1]


def _layer(p=0.3, seed=0, step=0):
    layer = SeededDropout(p).train()
    set_dropout_step(seed_dropout(layer, seed), step)
    return layer


def _dropped(layer, shape=SHAPE):
    return (layer(torch.ones(shape)) == 0).double()


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_share_of_dropped_elements_is_p(p):
    """Over 20 steps the share lies within five standard errors of p."""
    shares = [_dropped(_layer(p, step=step)).mean() for step in range(20)]

    error = (p * (1 - p) / (20 * N)) ** 0.5
    assert torch.stack(shares).mean().item() == pytest.approx(p, abs=5 * error)


def test_kept_elements_are_scaled_so_that_the_mean_stays():
    """What is kept is divided by 1 - p, exactly."""
    x = torch.ones(SHAPE, dtype=torch.float64)

    assert set(_layer(0.5)(x).unique().tolist()) == {0.0, 2.0}


def test_evaluation_and_p_0_leave_the_input_alone():
    """The very tensor comes back."""
    x = torch.ones(SHAPE)

    assert _layer().eval()(x) is x
    assert _layer(0.0)(x) is x


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (_layer(step=0), _layer(step=1)),
        (_layer(step=5), _layer(step=6)),
        (_layer(seed=0), _layer(seed=1)),
        (_layer(seed=2**40), _layer(seed=2**41)),
    ],
)
def test_masks_of_other_steps_and_seeds_are_independent(a, b):
    """Their correlation over 8192 elements is that of chance."""
    masks = torch.stack([_dropped(a).flatten(), _dropped(b).flatten()])

    assert abs(torch.corrcoef(masks)[0, 1]) < 5 / N**0.5


def test_layers_of_one_network_have_independent_masks():
    """Two layers with one seed and step drop other elements."""
    net = nn.Sequential(SeededDropout(0.3), SeededDropout(0.3)).train()
    set_dropout_step(seed_dropout(net, 0), 3)

    masks = torch.stack([_dropped(layer).flatten() for layer in net])

    assert abs(torch.corrcoef(masks)[0, 1]) < 5 / N**0.5


@pytest.mark.parametrize("lag", [1, 2, 64, 128])
def test_neighbours_are_independent(lag):
    """Over 50 steps, elements `lag` apart are dropped together as often as by chance."""
    masks = torch.stack([_dropped(_layer(step=s)).flatten() for s in range(50)]) - 0.3

    together = (masks[:, lag:] * masks[:, :-lag]).mean() / 0.21

    assert abs(together) < 5 / (50 * N) ** 0.5


def test_mask_of_a_row_does_not_depend_on_the_rows_behind_it():
    """A shorter batch has the first rows of the longer one's mask."""
    layer = _layer()

    assert torch.equal(_dropped(layer)[:10], _dropped(layer, (10, SHAPE[1])))


def test_mask_is_the_same_after_pickle_and_copy():
    """A network that moves elsewhere drops the same elements, and carries no cache."""
    layer = _layer(seed=4, step=9)
    expected = _dropped(layer)

    moved = pickle.loads(pickle.dumps(layer))

    assert torch.equal(_dropped(moved), expected)
    assert torch.equal(_dropped(copy.deepcopy(layer)), expected)
    assert len(pickle.dumps(layer)) < 4 * N


def test_representation_shows_the_probability():
    """``repr`` of a network tells how much it drops."""
    assert repr(SeededDropout(0.25)) == "SeededDropout(p=0.25)"


CPU = torch.device("cpu")
SEEDS = st.integers(0, 2**63 - 1)


def _murmur(value):
    """Return fmix32 of MurmurHash3, as its author wrote it."""
    value &= 0xFFFFFFFF
    value ^= value >> 16
    value = value * 0x85EBCA6B % 2**32
    value ^= value >> 13
    value = value * 0xC2B2AE35 % 2**32
    return value ^ value >> 16


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**31)), min_size=1, max_size=20
    )
)
def test_coefficients_of_many_layers_are_those_of_each(pairs):
    """Tensors of keys and steps give what numbers give one by one."""
    seeds, steps = torch.tensor(pairs, dtype=torch.int64).T

    a, b = dropout_coefficients(seeds, steps)

    expected = [dropout_coefficients(seed, step) for seed, step in pairs]
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == expected


@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 2**31))
def test_coefficients_are_int32_and_the_factor_is_odd(seed, step):
    """As multiply-shift hashing asks."""
    a, b = dropout_coefficients(seed, step)

    assert a % 2 == 1
    assert all(-(2**31) <= number < 2**31 for number in (a, b))


def test_coefficients_broadcast_over_steps():
    """All steps of an epoch can be computed at once."""
    seeds, steps = torch.tensor([[1, 2, 3]]), torch.arange(5).view(-1, 1)

    a, b = dropout_coefficients(seeds, steps)

    assert a.shape == b.shape == (5, 3)
    assert (a[4, 2].item(), b[4, 2].item()) == dropout_coefficients(3, 4)


@given(seed=SEEDS, n_layers=st.integers(0, 8))
def test_keys_of_layers_are_those_that_layers_get(seed, n_layers):
    """Of a network with so many layers, in their order."""
    net = nn.Sequential(*(SeededDropout(0.1) for _ in range(n_layers)))
    seed_dropout(net, seed)

    keys = dropout_layer_seeds(seed, n_layers)

    assert keys == [layer.seed for layer in net]
    assert all(0 <= key < 2**32 for key in keys)


@given(seed=SEEDS, n=st.integers(0, 5), m=st.integers(0, 5))
def test_keys_of_layers_do_not_depend_on_the_layers_behind(seed, n, m):
    """A deeper network has the keys of the shallower one first."""
    assert dropout_layer_seeds(seed, n + m)[:n] == dropout_layer_seeds(seed, n)


def test_keys_of_layers_and_seeds_differ():
    """Both halves of the seed count."""
    seeds = [0, 1, 2**40, 2**62]

    keys = [key for seed in seeds for key in dropout_layer_seeds(seed, 10)]

    assert len(set(keys)) == 40


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.0, -(2**31)), (0.25, -(2**30)), (0.5, 0), (0.75, 2**30), (1 - 2**-32, 2**31 - 1)],
)
def test_threshold_drops_the_share_p_of_all_numbers(p, expected):
    """Of the 2**32 numbers of int32, p * 2**32 lie below it."""
    assert dropout_threshold(p) == expected


@given(p=st.floats(0, 1, exclude_max=True))
def test_threshold_is_an_int32(p):
    """For every probability below 1; the share it drops is p to 2**-32."""
    threshold = dropout_threshold(p)

    assert -(2**31) <= threshold < 2**31
    assert (threshold + 2**31) / 2**32 == pytest.approx(p, abs=2**-32)


@pytest.mark.parametrize("n", [0, 1, 4096, 4097, 10000])
def test_numbers_of_positions_are_murmurs(n):
    """Position i has the hash of i + 1, whatever else has been asked for."""
    numbers = dropout_positions(n, CPU)

    assert numbers.dtype == torch.int32
    assert numbers.shape == (n,)
    for i in {0, 1, 4095, 4096, n - 1} & set(range(n)):
        assert numbers[i].item() % 2**32 == _murmur(i + 1)


@given(n=st.integers(1, 5000), m=st.integers(1, 5000))
def test_first_numbers_are_the_same_for_any_length(n, m):
    """A longer table begins with the shorter one."""
    shorter = min(n, m)

    assert torch.equal(
        dropout_positions(n, CPU)[:shorter], dropout_positions(m, CPU)[:shorter]
    )


@given(seed=SEEDS, step=st.integers(0, 10**6), p=st.floats(0.01, 0.99))
def test_mask_is_multiply_shift_of_the_positions(seed, step, p):
    """An element stays if a t + b modulo 2**32, as int32, reaches the threshold."""
    layer = _layer(p, seed, step)
    key = dropout_layer_seeds(seed, 1)[0]
    a, b = dropout_coefficients(key, step)
    hashed = [(_murmur(i + 1) * a + b + 2**31) % 2**32 - 2**31 for i in range(24)]

    kept = _dropped(layer, (4, 6)).flatten() == 0

    assert kept.tolist() == [number >= dropout_threshold(p) for number in hashed]
