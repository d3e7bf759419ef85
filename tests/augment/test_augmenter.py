"""Random numbers of augmentations are functions of seed, operation, step and sample."""

import numpy as np
import pytest
import torch

from sk_tune._augment import AUGMENTATIONS, Flip, Mixup, Noise, RowAugmenter, Shift

CPU = torch.device("cpu")
SHAPES = {"table": (5,), "sequence": (6, 3), "signal": (3, 6), "image": (3, 6, 7)}
ROWS = slice(0, 3)
KINDS = [
    (kind, layout)
    for kind in AUGMENTATIONS.values()
    for layout in SHAPES
    if layout in kind.layouts
]


def _batch(shape, k=3, n=8):
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(k, n, *shape, generator=generator, dtype=torch.float64)
    return X, torch.arange(k * n).remainder(4).view(k, n)


def _augmented(chains, seeds, first_steps, layout, X, y, step=0, rows=ROWS):
    augmenter = RowAugmenter(chains, seeds, layout, CPU)
    augmenter.begin_epoch(first_steps, 3)
    return augmenter.augmented(X, y, None, rows, step)


@pytest.mark.parametrize(("kind", "layout"), KINDS)
def test_a_network_in_a_fleet_gets_the_same_samples_as_alone(kind, layout):
    """Strengths, seeds and steps are its own; a part of a fleet gives the same samples."""
    X, y = _batch(SHAPES[layout])
    chains = [
        [kind(strength), Noise()] for strength in (1, 0.5 if kind.name in _REAL else 2, 1)
    ]
    seeds, firsts = [5, 3, 5], [0, 4, 9]

    together = _augmented(chains, seeds, firsts, layout, X, y, step=1)

    for row in range(3):
        own = slice(row, row + 1)
        alone = _augmented(
            chains[own],
            seeds[own],
            [firsts[row] + 1],
            layout,
            X[own],
            y[own],
            rows=slice(1),
        )
        part = RowAugmenter(chains, seeds, layout, CPU)
        part.begin_epoch(firsts, 3)
        beside = part.augmented(X[own], y[own], None, own, 1)
        for seen in (alone, beside):
            torch.testing.assert_close(seen.X[0], together.X[row], rtol=1e-12, atol=0)
            assert torch.equal(seen.y[0], together.y[row])


_REAL = {"flip", "rotate", "noise", "scale", "time_mask", "mixup", "cutmix"}


@pytest.mark.parametrize(("kind", "layout"), KINDS)
def test_samples_depend_on_seed_and_step(kind, layout):
    """In the dtype of the samples; the input is not changed."""
    X, y = _batch(SHAPES[layout], k=1)
    initial = X.clone()
    seen = [
        _augmented(
            [[kind(1)]] if kind is not Flip else [[Flip()]],
            [seed],
            [first],
            layout,
            X,
            y,
            rows=slice(1),
        ).X
        for seed, first in [(0, 0), (0, 0), (1, 0), (0, 1)]
    ]

    assert seen[0].dtype == X.dtype
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[3])
    assert torch.equal(X, initial)


def test_augmentations_are_applied_in_order():
    """A shift then a flip, each with its own random numbers."""
    X, y = _batch(SHAPES["image"])
    chains = [[Shift(2), Flip(1.0)]] * 3
    shift_only = [[Shift(2)]] * 3

    both = _augmented(chains, [1, 2, 3], [0] * 3, "image", X, y)

    # Keys depend on the position, so the first key is the same alone.
    first = _augmented(shift_only, [1, 2, 3], [0] * 3, "image", X, y)
    assert torch.equal(both.X, first.X.flip(-1))
    assert both.y is y
    assert both.weight is None


def test_two_augmentations_of_a_kind_are_independent():
    """Two kinds of noise have the variance of both."""
    X, y = torch.zeros(1, 500, 40, dtype=torch.float64), torch.zeros(1, 500).long()

    seen = _augmented([[Noise(1.0)] * 2], [0], [0], "table", X, y, rows=slice(1))

    assert seen.X.var().item() == pytest.approx(2.0, abs=5 * 2 * 2**0.5 / 20000**0.5)


def test_mixed_classes_have_two_targets_and_weights():
    """The classes of the samples, then of the previous samples."""
    X, y = _batch((5,))

    seen = _augmented([[Mixup()]] * 3, [0, 1, 2], [0] * 3, "table", X, y)

    assert torch.equal(seen.y, torch.cat([y, y.roll(1, dims=1)], dim=1))
    torch.testing.assert_close(
        seen.weight[:, :8] + seen.weight[:, 8:], torch.ones_like(X[..., 0])
    )
    assert (seen.weight[:, :8] >= 0.5).all()


@pytest.mark.parametrize("own", [Noise(), Mixup(1.0)])
def test_columns_of_codes_hold_codes_after_augmentation(own):
    """Codes get no noise and are never averaged; other columns change as usual."""
    X, y = _batch((5,))
    X[..., 1], X[..., 3] = y + 10, y % 2
    initial = X.clone()
    plain = _augmented([[own]] * 3, [1, 2, 3], [0] * 3, "table", X, y)
    augmenter = RowAugmenter([[own]] * 3, [1, 2, 3], "table", CPU, codes=(1, 3))
    augmenter.begin_epoch([0] * 3, 1)

    seen = augmenter.augmented(X, y, None, ROWS, 0)

    assert torch.equal(seen.X[..., [0, 2, 4]], plain.X[..., [0, 2, 4]])
    assert torch.equal(seen.y, plain.y)
    kept = seen.X[..., [1, 3]] == X[..., [1, 3]]
    other = seen.X[..., [1, 3]] == X.roll(1, dims=1)[..., [1, 3]]
    assert (kept | other).all()
    assert kept.all() == (not own.mixes)
    assert torch.equal(X, initial)


def _noise(n_samples=500, n=20, *, seed=0, operation=0, step=0, dtype=torch.float64):
    """Return standard normal numbers: noise added to samples of 0."""
    chain = [Noise(0.0)] * operation + [Noise(1.0)]
    X = torch.zeros(1, n_samples, n, dtype=dtype)
    y = torch.zeros(1, n_samples).long()
    return _augmented([chain], [seed], [0], "table", X, y, step, slice(1)).X[0]


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"seed": 2**40}, {"operation": 1}, {"operation": 2}, {"step": 1}],
    ids=str,
)
def test_numbers_of_seeds_operations_and_steps_are_independent(other):
    """Their correlation over 10,000 numbers is within chance."""
    pair = torch.stack([_noise().flatten(), _noise(**other).flatten()])

    assert abs(torch.corrcoef(pair)[0, 1]) < 5 / 100


def test_samples_and_positions_are_not_correlated():
    """Neither neighbouring samples nor neighbouring numbers of a sample."""
    drawn = _noise(3000, 2)

    for a, b in ((drawn[:, 0], drawn[:, 1]), (drawn[1:, 0], drawn[:-1, 0])):
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 5 / 3000**0.5
    pair = torch.stack([drawn[1:, 0], drawn[:-1, 1]])
    assert abs(torch.corrcoef(pair)[0, 1]) < 5 / 3000**0.5


def test_numbers_of_a_sample_do_not_depend_on_the_batch_or_its_type():
    """Nor on the number of draws; float32 rounds the same numbers."""
    few = _noise(5, 3)

    assert torch.equal(_noise(50, 7)[:5, :3], few)
    np.testing.assert_allclose(_noise(5, 3, dtype=torch.float32), few, rtol=1e-7)


def test_numbers_do_not_depend_on_the_order_of_batches():
    """Numbers computed in blocks agree for long and short batches, in either order."""
    augmenter = RowAugmenter([[Noise(1.0)]] * 2, [0, 1], "table", CPU)
    augmenter.begin_epoch([0, 50], 2000)
    order = [(0, 60), (1, 60), (1, 61), (1999, 3), (1998, 60), (7, 60), (8, 12), (600, 60)]

    for step, n_samples in order:
        X, y = torch.zeros(1, n_samples, 3), torch.zeros(1, n_samples).long()
        alone = RowAugmenter([[Noise(1.0)]], [1], "table", CPU)
        alone.begin_epoch([50 + step], 1)
        ours = augmenter.augmented(X, y, None, slice(1, 2), step).X
        assert torch.equal(ours, alone.augmented(X, y, None, slice(1), 0).X)
