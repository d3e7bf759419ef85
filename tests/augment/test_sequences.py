"""Values and sequences: noise, scale, masks and shifts in time."""

import numpy as np
import pytest
import torch
from scipy import stats

from sk_tune.augment._operations import (
    StepNumbers,
    masked_in_time,
    noisy,
    scaled,
    shifted_in_time,
)

N = 2000


def _sequences(n=N, shape=(10, 3), k=1):
    generator = torch.Generator().manual_seed(0)
    return 1 + torch.rand(k, n, *shape, generator=generator, dtype=torch.float64)


def _padded():
    X = _sequences(60)
    for length, sequence in zip(np.arange(60) % 10 + 1, X[0], strict=True):
        sequence[length:] = torch.nan
    return X


def _numbers_of(seeds, n):
    numbers = StepNumbers(seeds, 1, torch.device("cpu"))
    numbers.begin_epoch([0] * len(seeds), 1)
    return numbers.numbers(0, slice(0, len(seeds)), 0, n)


def _numbers(n=N, k=1):
    return _numbers_of(range(k), n)


def _strength(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5,), (10, 3), (2, 4, 4)])
def test_noise_is_normal_and_added_to_every_value(shape):
    """Its deviation is the one asked for; values are not correlated."""
    X = _sequences(shape=shape)

    noise = (noisy(X, _numbers(), _strength(0.3)) - X)[0].flatten(1).numpy()

    assert stats.kstest(noise[:, 0] / 0.3, "norm").pvalue > 1e-4
    assert noise.std() == pytest.approx(0.3, rel=5 / noise.size**0.5)
    correlations = np.corrcoef(noise.T) - np.eye(noise.shape[1])
    assert np.abs(correlations).max() < 5 / N**0.5


def test_each_sequence_is_multiplied_by_one_number():
    """Normally distributed about 1."""
    X = _sequences()

    factors = (scaled(X, _numbers(), _strength(0.2)) / X)[0].flatten(1).numpy()

    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape))
    assert stats.kstest((factors[:, 0] - 1) / 0.2, "norm").pvalue > 1e-4


@pytest.mark.parametrize("layout", ["sequence", "signal"])
def test_a_mask_is_one_stretch_of_all_features(layout):
    """Of every length from 0 to the largest equally often, at every place."""
    X = _sequences() if layout == "sequence" else _sequences().mT

    masked = masked_in_time(X, _numbers(), _strength(0.45), layout)

    masked, X = (t if layout == "sequence" else t.mT for t in (masked, X))
    gone = masked[0, :, :, 0] == 0
    assert torch.equal(masked[0], torch.where(gone.unsqueeze(-1), torch.zeros(()), X[0]))
    edges = torch.nn.functional.pad(gone, (1, 1)).int().diff(dim=1).abs().sum(dim=1)
    assert set(edges.tolist()) == {0, 2}
    lengths = gone.sum(dim=1).bincount(minlength=11).numpy()
    assert (lengths[5:] == 0).all()
    assert np.abs(lengths[:5] - N / 5).max() < 5 * (N / 5) ** 0.5
    assert gone.any(dim=0).all()


@pytest.mark.parametrize("layout", ["sequence", "signal"])
def test_a_shifted_sequence_repeats_its_end(layout):
    """Each distance is as likely as the others."""
    X = _sequences() if layout == "sequence" else _sequences().mT

    moved = shifted_in_time(X, _numbers(), _strength(2), layout)

    moved, X = ((t if layout == "sequence" else t.mT)[0].numpy() for t in (moved, X))
    padded = np.pad(X, ((0, 0), (2, 2), (0, 0)), mode="edge")
    counts = [
        (padded[:, start : start + 10] == moved).all(axis=(1, 2)).sum()
        for start in range(5)
    ]
    assert sum(counts) == N
    assert np.abs(np.array(counts) - N / 5).max() < 5 * (N / 5) ** 0.5


def test_a_padded_sequence_is_shifted_within_its_length():
    """It keeps its length, and repeats its own first or last step."""
    X = _padded()

    moved = shifted_in_time(X, _numbers(60), _strength(4), "sequence")[0].numpy()

    for sequence, own in zip(X[0].numpy(), moved, strict=True):
        length = int((~np.isnan(sequence[:, 0])).sum())
        padded = np.pad(sequence[:length], ((4, 4), (0, 0)), mode="edge")
        windows = [padded[start : start + length] for start in range(9)]
        assert any((window == own[:length]).all() for window in windows)
        assert np.isnan(own[length:]).all()


@pytest.mark.parametrize(
    "operation",
    [
        noisy,
        scaled,
        lambda *args: masked_in_time(*args, "sequence"),
        lambda *args: shifted_in_time(*args, "sequence"),
    ],
    ids=["noise", "scale", "mask", "shift"],
)
def test_padding_stays_padding(operation):
    """What was NaN is NaN, and nothing else; strength 0 changes nothing."""
    X = _padded()

    changed = operation(X, _numbers(60), _strength(0.9))
    same = operation(X, _numbers(60), _strength(0))

    assert torch.equal(changed.isnan(), X.isnan())
    np.testing.assert_array_equal(same, X)


@pytest.mark.parametrize(
    ("operation", "strengths"),
    [
        (noisy, (0.1, 2.0)),
        (scaled, (0.1, 2.0)),
        (lambda *args: masked_in_time(*args, "sequence"), (0.1, 0.8)),
        (lambda *args: shifted_in_time(*args, "sequence"), (1, 5)),
    ],
    ids=["noise", "scale", "mask", "shift"],
)
def test_networks_have_their_own_strengths(operation, strengths):
    """Two at a time give what each gives alone, and the sequences stay as they were."""
    X = _sequences(50, k=2)
    before = X.clone()

    both = operation(X, _numbers(50, k=2), _strength(*strengths))

    for row in range(2):
        numbers = _numbers_of([row], 50)
        alone = operation(X[row : row + 1], numbers, _strength(strengths[row]))
        assert torch.equal(both[row], alone[0])
    assert torch.equal(X, before)
