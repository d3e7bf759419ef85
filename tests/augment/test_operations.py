"""Effects of each augmentation; statistical bounds are five standard errors or p < 1e-4."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch.nn import functional as F

from sk_tune._augment import (
    AUGMENTATIONS,
    Brightness,
    Contrast,
    CutMix,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    RowAugmenter,
    Saturation,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
)

N = 2000


def _samples(n=40, shape=(6,), seed=0):
    """Return samples of one network without zeros."""
    generator = torch.Generator().manual_seed(seed)
    return 1 + torch.rand(1, n, *shape, generator=generator, dtype=torch.float64)


def _padded():
    X = _samples(60, (10, 3))
    for length, sequence in zip(np.arange(60) % 10 + 1, X[0], strict=True):
        sequence[length:] = torch.nan
    return X


def _augmented(augmentation, X, layout, y=None, weight=None, codes=()):
    augmenter = RowAugmenter([[augmentation]], [0], layout, torch.device("cpu"), codes)
    augmenter.begin_epoch([0], 1)
    y = torch.zeros(X.shape[:2], dtype=torch.int64) if y is None else y
    return augmenter.augmented(X, y, weight, slice(1), 0)


def _changed(augmentation, X, layout="image"):
    return _augmented(augmentation, X, layout).X


def _share(augmentation, X, layout="table"):
    """Return the shares of the samples, which are the weights of the first classes."""
    return _augmented(augmentation, X, layout).weight[:, : X.shape[1]]


def test_images_are_flipped_left_to_right_or_unchanged():
    """About a share p of them, all channels together."""
    X = _samples(N, (2, 7, 9))

    turned = _changed(Flip(0.3), X)[0]

    is_turned = (turned == X[0].flip(-1)).flatten(1).all(dim=1).numpy()
    assert (is_turned ^ (turned == X[0]).flatten(1).all(dim=1).numpy()).all()
    assert is_turned.mean() == pytest.approx(0.3, abs=5 * (0.21 / N) ** 0.5)
    assert torch.equal(_changed(Flip(1), X), X.flip(-1))


def test_a_shifted_image_is_a_window_of_the_padded_image():
    """All distances are equally likely; edge pixels fill the gap."""
    n = 5000
    X = _samples(n, (2, 7, 9))
    padded = np.pad(X[0].numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")

    moved = _changed(Shift(2), X)[0].numpy()

    counts = [
        (padded[:, :, top : top + 7, left : left + 9] == moved).all(axis=(1, 2, 3)).sum()
        for top in range(5)
        for left in range(5)
    ]
    assert sum(counts) == n
    assert np.abs(np.array(counts) - n / 25).max() < 5 * (n / 25) ** 0.5


def test_a_rotated_image_equals_scipys():
    """Rotated about the centre by one angle in the range, with linear interpolation."""
    X = _samples(20, (4, 7, 9))
    lines, columns = np.mgrid[:7, :9]
    y, x = lines - 3, columns - 4
    # Channels of coordinates, whose values next to the centre give the angle.
    X[:, :, 2], X[:, :, 3] = torch.as_tensor(y), torch.as_tensor(x)

    turned = _changed(Rotate(40), X)[0].numpy()

    for image, result in zip(X[0].numpy(), turned, strict=True):
        sine, cosine = result[2:, 3, 5]
        assert abs(np.rad2deg(np.arctan2(sine, cosine))) <= 40
        source = (3 + sine * x + cosine * y, 4 + cosine * x - sine * y)
        for channel, ours in zip(image, result, strict=True):
            expected = ndimage.map_coordinates(channel, source, order=1, mode="nearest")
            np.testing.assert_allclose(ours, expected, atol=1e-10)


def test_angles_lie_on_both_sides_of_0():
    """A horizontal bar leans to both sides about equally often."""
    X = torch.zeros(1, 400, 1, 9, 9, dtype=torch.float64)
    X[..., 4, :] = 1

    turned = _changed(Rotate(20), X)[0, :, 0]

    lean = turned[:, :4, 6:].sum(dim=(1, 2)) - turned[:, 5:, 6:].sum(dim=(1, 2))
    assert (lean > 0).double().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / 20)


@pytest.mark.parametrize("side", [3, 4])
def test_cutout_is_a_square_that_may_be_clipped(side):
    """A square of 0 in all channels, possibly clipped; all other pixels are unchanged."""
    X = _samples(500, (2, 7, 9))

    cut = _changed(Cutout(side), X)[0]

    gone = cut[:, 0] == 0
    assert torch.equal(cut, torch.where(gone.unsqueeze(1), torch.zeros(()), X[0]))
    heights, widths = gone.any(dim=2).sum(dim=1), gone.any(dim=1).sum(dim=1)
    assert torch.equal(gone.sum(dim=(1, 2)), heights * widths)
    assert heights.max() == widths.max() == side
    assert heights.min() == widths.min() == 2
    # Every pixel is the centre of some square.
    assert gone.any(dim=0).all()


def _grey(X):
    return torch.einsum("kbchw,c->kbhw", X, X.new_tensor([0.2989, 0.587, 0.114])).unsqueeze(
        2
    )


# The image that torchvision 0.28 blends with, for three channels.
OTHER = {
    Brightness: torch.zeros_like,
    Contrast: lambda X: _grey(X).mean(dim=(2, 3, 4), keepdim=True).expand_as(X),
    Saturation: lambda X: _grey(X).expand_as(X),
}


@pytest.mark.parametrize("kind", OTHER)
def test_colours_are_adjusted_as_in_torchvision(kind):
    """The factor is uniform; factor X + (1 - factor) other is clipped to [0, 1]."""
    X = _samples(N, (3, 5, 4)) - 1
    distance = X - OTHER[kind](X)

    adjusted = _changed(kind(0.6), X)

    is_inside = (adjusted > 0) & (adjusted < 1)
    products = ((adjusted - X + distance) * distance * is_inside).sum(dim=(2, 3, 4))
    factor = products / (distance.square() * is_inside).sum(dim=(2, 3, 4))
    blended = factor[..., None, None, None] * distance + X - distance
    torch.testing.assert_close(adjusted, blended.clamp(0, 1), rtol=0, atol=1e-6)
    assert stats.kstest(factor[0], stats.uniform(0.4, 1.2).cdf).pvalue > 1e-4
    assert not is_inside.all()


@pytest.mark.parametrize("kind", OTHER)
def test_standardised_images_are_clipped_to_their_own_range(kind):
    """Negative pixels stay negative, and a change of 0 leaves all pixels unchanged."""
    X = 3 * (_samples(50, (3, 5, 4)) - 1.5)

    adjusted = _changed(kind(1), X)

    assert torch.equal(_changed(kind(0), X), X)
    assert (adjusted.amin(dim=(2, 3, 4)) >= X.amin(dim=(2, 3, 4))).all()
    assert (adjusted.amax(dim=(2, 3, 4)) <= X.amax(dim=(2, 3, 4)).clamp(min=1)).all()
    assert (adjusted < 0).any()


@pytest.mark.parametrize("shape", [(5,), (10, 3), (2, 4, 4)])
def test_noise_is_normal_and_added_to_every_value(shape):
    """It has the requested deviation, and its values are uncorrelated."""
    X = _samples(N, shape)

    noise = (_changed(Noise(0.3), X, "other") - X)[0].flatten(1).numpy()

    assert stats.kstest(noise[:, 0] / 0.3, "norm").pvalue > 1e-4
    assert noise.std() == pytest.approx(0.3, rel=5 / noise.size**0.5)
    correlations = np.corrcoef(noise.T) - np.eye(noise.shape[1])
    assert np.abs(correlations).max() < 5 / N**0.5


def test_each_sequence_is_multiplied_by_one_number():
    """Normally distributed about 1."""
    X = _samples(N, (10, 3))

    factors = (_changed(Scale(0.2), X, "sequence") / X)[0].flatten(1).numpy()

    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape))
    assert stats.kstest((factors[:, 0] - 1) / 0.2, "norm").pvalue > 1e-4


@pytest.mark.parametrize("layout", ["sequence", "signal"])
def test_a_time_mask_is_one_block_of_all_features(layout):
    """All lengths from 0 to the largest, and all positions, are equally likely."""
    X = _samples(N, (10, 3))

    masked = _changed(TimeMask(0.45), X if layout == "sequence" else X.mT, layout)

    masked = masked[0] if layout == "sequence" else masked[0].mT
    gone = masked[:, :, 0] == 0
    assert torch.equal(masked, torch.where(gone.unsqueeze(-1), torch.zeros(()), X[0]))
    assert set(F.pad(gone, (1, 1)).int().diff(dim=1).abs().sum(dim=1).tolist()) == {0, 2}
    lengths = gone.sum(dim=1).bincount(minlength=11).numpy()
    assert (lengths[5:] == 0).all()
    assert np.abs(lengths[:5] - N / 5).max() < 5 * (N / 5) ** 0.5
    assert gone.any(dim=0).all()


@pytest.mark.parametrize("layout", ["sequence", "signal"])
def test_a_shifted_sequence_repeats_its_first_or_last_step(layout):
    """All distances are equally likely."""
    X = _samples(N, (10, 3))

    moved = _changed(TimeShift(2), X if layout == "sequence" else X.mT, layout)

    moved = (moved[0] if layout == "sequence" else moved[0].mT).numpy()
    padded = np.pad(X[0].numpy(), ((0, 0), (2, 2), (0, 0)), mode="edge")
    counts = [
        (padded[:, start : start + 10] == moved).all(axis=(1, 2)).sum()
        for start in range(5)
    ]
    assert sum(counts) == N
    assert np.abs(np.array(counts) - N / 5).max() < 5 * (N / 5) ** 0.5


def test_a_padded_sequence_is_shifted_within_its_length():
    """It keeps its length, and its first or last step is repeated."""
    X = _padded()

    moved = _changed(TimeShift(4), X, "sequence")[0].numpy()

    for sequence, ours in zip(X[0].numpy(), moved, strict=True):
        length = int((~np.isnan(sequence[:, 0])).sum())
        padded = np.pad(sequence[:length], ((4, 4), (0, 0)), mode="edge")
        windows = [padded[start : start + length] for start in range(9)]
        assert any((window == ours[:length]).all() for window in windows)
        assert np.isnan(ours[length:]).all()


@pytest.mark.parametrize("augmentation", [Noise(0.9), Scale(0.9), TimeMask(0.9)])
def test_padding_stays_padding(augmentation):
    """The mask of NaN is unchanged."""
    X = _padded()

    assert torch.equal(_changed(augmentation, X, "sequence").isnan(), X.isnan())


@pytest.mark.parametrize("kind", [k for k in AUGMENTATIONS.values() if not k.mixes])
def test_strength_0_changes_nothing(kind):
    """Up to rounding where pixels are interpolated; with padding, too."""
    layout = "image" if "image" in kind.layouts else "sequence"
    X = _samples(60, (3, 7, 9)) if layout == "image" else _padded()

    np.testing.assert_allclose(_changed(kind(0), X, layout), X, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 5.0])
def test_shares_are_the_larger_of_beta_and_its_complement(alpha):
    """The distribution equals scipy's."""
    share = _share(Mixup(alpha), _samples(N))[0].numpy()

    def larger(x):
        beta = stats.beta(alpha, alpha)
        return np.where(x < 0.5, 0.0, beta.cdf(x) - beta.cdf(1 - x))

    assert stats.kstest(share, larger).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 4, 4)])
def test_a_sample_is_averaged_with_the_previous_sample(shape):
    """Weighted by its share; the first sample with the last."""
    X = _samples(shape=shape)

    averaged = _changed(Mixup(1.0), X, "other")[0]

    share = _share(Mixup(1.0), X)[0].numpy().reshape(-1, *[1] * len(shape))
    expected = share * X[0].numpy() + (1 - share) * np.roll(X[0].numpy(), 1, axis=0)
    np.testing.assert_allclose(averaged, expected, rtol=1e-12)


def test_a_mixed_sequence_has_the_shorter_length():
    """A step that is padding in either sequence is padding."""
    X = _padded()

    averaged = _changed(Mixup(1.0), X, "sequence")

    assert torch.equal(averaged.isnan(), X.isnan() | X.roll(1, dims=1).isnan())


def test_a_rectangle_comes_from_the_previous_image():
    """In all channels; the share is the image's remaining area."""
    X = _samples(N, (2, 6, 8))

    pasted = _changed(CutMix(1.0), X)[0].numpy()

    share = _share(CutMix(1.0), X, "image")[0]
    other = pasted[:, 0] != X[0, :, 0].numpy()
    expected = np.where(other[:, None], np.roll(X[0].numpy(), 1, axis=0), X[0].numpy())
    np.testing.assert_array_equal(pasted, expected)
    np.testing.assert_allclose(share, 1 - other.mean(axis=(1, 2)))
    heights, widths = other.any(axis=2).sum(axis=1), other.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(other.sum(axis=(1, 2)), heights * widths)
    assert other.any(axis=0).all()
    # Before clipping and rounding, half of the area on average.
    assert 0.5 < share.mean() < 0.8


def test_a_mixed_code_comes_from_one_of_both_samples():
    """The sample's code with a probability of its share, independently for each column."""
    X = _samples(N, (3,))
    X[..., 1:] = torch.arange(N).view(1, N, 1)

    codes = _augmented(Mixup(1.0), X, "table", codes=(1, 2)).X[0, :, 1:]

    kept = (codes == X[0, :, 1:]).double()
    assert torch.equal(codes, torch.where(kept > 0, X[0, :, 1:], X[0].roll(1, 0)[:, 1:]))
    residuals = (kept - _share(Mixup(1.0), X)[0].unsqueeze(1)).T
    assert residuals.mean(dim=1).numpy() == pytest.approx(0, abs=5 * 0.5 / N**0.5)
    assert abs(torch.corrcoef(residuals)[0, 1]) < 5 / N**0.5


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_mixed_classes_is_the_weighted_mean_of_both(weighted):
    """Each label counts by its share and its sample's weight (Zhang et al. 2018)."""
    X, y = _samples(), torch.arange(40).remainder(3).unsqueeze(0)
    weight = _samples(shape=(), seed=1) if weighted else None
    share, outputs = _share(Mixup(1.0), X)[0], _samples(shape=(3,), seed=3)[0]

    seen = _augmented(Mixup(1.0), X, "table", y, weight)

    first = share * (1 if weight is None else weight[0])
    second = (1 - share) * (1 if weight is None else weight[0].roll(1))
    losses = [F.cross_entropy(outputs, t, reduction="none") for t in (y[0], y[0].roll(1))]
    expected = (first * losses[0] + second * losses[1]).sum() / (first + second).sum()
    ours = F.cross_entropy(outputs.repeat(2, 1), seen.y[0], reduction="none")
    got = (ours * seen.weight[0]).sum() / seen.weight[0].sum()
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [F.mse_loss, F.binary_cross_entropy_with_logits])
def test_averaged_targets_have_the_derivatives_of_both_losses(loss, weighted):
    """For real-valued targets and for labels of 0 and 1."""
    X, y = _samples(), (_samples(shape=(2,), seed=4) - 1).round()
    weight = _samples(shape=(), seed=1) if weighted else None
    share = _share(Mixup(1.0), X)[0]
    outputs = _samples(shape=(2,), seed=3)[0].requires_grad_()

    seen = _augmented(Mixup(1.0), X, "table", y, weight)

    first = share * (1 if weight is None else weight[0])
    second = (1 - share) * (1 if weight is None else weight[0].roll(1))

    def gradient(*parts):
        total = sum(
            (loss(outputs, t, reduction="none").mean(dim=1) * w).sum() for t, w in parts
        )
        (derivative,) = torch.autograd.grad(total, outputs)
        return derivative.numpy()

    total = seen.weight[0] if weighted else torch.ones(40, dtype=torch.float64)
    assert (seen.weight is None) == (weight is None)
    np.testing.assert_allclose(
        gradient((seen.y[0], total)),
        gradient((y[0], first), (y[0].roll(1, dims=0), second)),
        atol=1e-12,
    )


@pytest.mark.parametrize("augmentation", [Mixup(1.0), CutMix()])
def test_a_single_sample_is_mixed_with_itself(augmentation):
    """A batch of one sample is unchanged."""
    X = _samples(1, (1, 5, 5))

    np.testing.assert_allclose(_changed(augmentation, X), X)
