"""Dropout whose mask is a function of (seed, step, layer, position).

Statistical bounds are five standard errors of the counts, for fixed seeds.
"""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import reference
from torch import nn

from sk_tune._nets import SeededDropout, seed_dropout, set_dropout_step

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
    """Over 20 steps the share is within five standard errors of p."""
    shares = [_dropped(_layer(p, step=step)).mean() for step in range(20)]

    error = (p * (1 - p) / (20 * N)) ** 0.5
    assert torch.stack(shares).mean().item() == pytest.approx(p, abs=5 * error)


def test_retained_elements_are_scaled_to_preserve_the_mean():
    """Retained elements are divided by 1 - p, exactly."""
    x = torch.ones(SHAPE, dtype=torch.float64)

    assert set(_layer(0.5)(x).unique().tolist()) == {0.0, 2.0}


def test_evaluation_and_p_0_return_the_input():
    """The same tensor object is returned."""
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
    """Their correlation over 8192 elements is within chance."""
    masks = torch.stack([_dropped(a).flatten(), _dropped(b).flatten()])

    assert abs(torch.corrcoef(masks)[0, 1]) < 5 / N**0.5


def test_layers_of_one_network_have_independent_masks():
    """Two layers with the same seed and step drop different elements."""
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


def test_mask_of_a_row_does_not_depend_on_later_rows():
    """A shorter batch has the first rows of the longer batch's mask."""
    layer = _layer()

    assert torch.equal(_dropped(layer)[:10], _dropped(layer, (10, SHAPE[1])))


def test_mask_is_the_same_after_pickle_and_copy():
    """A pickled or copied network drops the same elements, and carries no cache."""
    layer = _layer(seed=4, step=9)
    expected = _dropped(layer)

    assert torch.equal(_dropped(pickle.loads(pickle.dumps(layer))), expected)
    assert torch.equal(_dropped(copy.deepcopy(layer)), expected)
    assert len(pickle.dumps(layer)) < 4 * N


@given(
    seed=st.integers(0, 2**63 - 1),
    step=st.integers(0, 2**31),
    p=st.floats(0.01, 1, exclude_max=True),
    n_layers=st.integers(1, 8),
    n=st.integers(1, 10_000),
)
def test_masks_match_the_formula(seed, step, p, n_layers, n):
    """Masks of any layer and size: multiply-shift of hashed positions, as in ADR 3."""
    net = nn.Sequential(*(SeededDropout(p) for _ in range(n_layers))).train()
    set_dropout_step(seed_dropout(net, seed), step)

    for place, layer in enumerate(net):
        kept = reference.dropout_mask(n, p, seed, place, step)
        assert torch.equal(layer(torch.ones(n)) != 0, kept)
