"""Images, one network's at a time: against numpy's and scipy's own operations."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from sk_tune.augment._operations import (
    StepNumbers,
    cut_out,
    flipped,
    inside_box,
    rotated,
    shifted,
)


def _images(n=60, shape=(2, 7, 9), k=1):
    generator = torch.Generator().manual_seed(0)
    # From 1 on, so that 0 is nothing but what was cut out.
    return 1 + torch.rand(k, n, *shape, generator=generator, dtype=torch.float64)


def _numbers_of(seeds, n):
    numbers = StepNumbers(seeds, 1, torch.device("cpu"))
    numbers.begin_epoch([0] * len(seeds), 1)
    return numbers.numbers(0, slice(0, len(seeds)), 0, n)


def _numbers(n=60, k=1):
    return _numbers_of(range(k), n)


def _strength(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_images_are_mirrored_left_to_right_or_not_at_all():
    """About the wanted share of them, all channels together."""
    X = _images(2000)

    turned = flipped(X, _numbers(2000), _strength(0.3))[0]

    mirrored = np.flip(X[0].numpy(), axis=-1)
    is_turned = (turned.numpy() == mirrored).all(axis=(1, 2, 3))
    is_kept = (turned == X[0]).flatten(1).all(dim=1).numpy()
    assert (is_turned ^ is_kept).all()
    assert is_turned.mean() == pytest.approx(0.3, abs=5 * (0.21 / 2000) ** 0.5)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_of_the_probability_are_never_and_always(p):
    """No image, or each."""
    X = _images()

    assert torch.equal(flipped(X, _numbers(), _strength(p)), X.flip(-1) if p else X)


def test_a_shifted_image_is_a_window_of_the_padded_one():
    """Each distance is as likely as the others; what comes in is the edge."""
    X, n = _images(5000), 5000
    padded = np.pad(X[0].numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")

    moved = shifted(X, _numbers(n), _strength(2))[0].numpy()

    counts = []
    for top in range(5):
        for left in range(5):
            window = padded[:, :, top : top + 7, left : left + 9]
            counts.append((window == moved).all(axis=(1, 2, 3)).sum())
    assert sum(counts) == n
    expected = n / 25
    assert np.abs(np.array(counts) - expected).max() < 5 * expected**0.5


def test_a_rotated_image_is_that_of_scipy():
    """Turned about the centre by the angle that was drawn, linearly interpolated."""
    X = _images(20, (2, 7, 9))
    angles = np.deg2rad((_numbers(20).uniform()[0, :, 0].numpy() * 2 - 1) * 40)

    turned = rotated(X, _numbers(20), _strength(40.0))[0].numpy()

    rows, columns = np.mgrid[:7, :9]
    y, x = rows - 3, columns - 4
    for image, angle, own in zip(X[0].numpy(), angles, turned, strict=True):
        source = (
            3 + np.sin(angle) * x + np.cos(angle) * y,
            4 + np.cos(angle) * x - np.sin(angle) * y,
        )
        for channel, result in zip(image, own, strict=True):
            expected = ndimage.map_coordinates(channel, source, order=1, mode="nearest")
            np.testing.assert_allclose(result, expected, atol=1e-10)


def test_angles_lie_on_both_sides_of_0():
    """A bar that was level leans to either side about equally often."""
    X = torch.zeros(1, 400, 1, 9, 9, dtype=torch.float64)
    X[..., 4, :] = 1

    turned = rotated(X, _numbers(400), _strength(20.0))[0, :, 0]

    lean = turned[:, :4, 6:].sum(dim=(1, 2)) - turned[:, 5:, 6:].sum(dim=(1, 2))
    assert (lean > 0).double().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / 20)


def test_what_is_cut_out_is_a_square_that_may_stick_out():
    """0 in all channels in a square; everything else is as it was."""
    X = _images(500)

    cut = cut_out(X, _numbers(500), _strength(3))[0]

    gone = cut[:, 0] == 0
    assert torch.equal(cut, torch.where(gone.unsqueeze(1), torch.zeros(()), X[0]))
    heights, widths = gone.any(dim=2).sum(dim=1), gone.any(dim=1).sum(dim=1)
    assert torch.equal(gone.sum(dim=(1, 2)), heights * widths)
    assert heights.max() == widths.max() == 3
    assert heights.min() == widths.min() == 2
    # Every pixel is the centre of some.
    assert gone.any(dim=0).all()


def test_an_even_square_is_whole_where_it_fits():
    """Four pixels a side."""
    cut = cut_out(_images(300), _numbers(300), _strength(4))[0, :, 0]

    assert (cut == 0).sum(dim=(1, 2)).max() == 16


def test_inside_of_a_rectangle_is_from_its_start_to_before_its_stop():
    """Rectangles that reach beyond the image are cut off."""
    start = torch.tensor([[[1, 2], [-2, 3]]])
    stop = torch.tensor([[[3, 4], [1, 9]]])

    inside = inside_box(start, stop, 4, 5)

    expected = torch.zeros(1, 2, 4, 5, dtype=torch.bool)
    expected[0, 0, 1:3, 2:4] = True
    expected[0, 1, :1, 3:] = True
    assert torch.equal(inside, expected)


@pytest.mark.parametrize("operation", [flipped, shifted, rotated, cut_out])
def test_strength_0_changes_nothing(operation):
    """Up to rounding, where pixels are interpolated."""
    X = _images()

    same = operation(X, _numbers(), _strength(0))

    np.testing.assert_allclose(same, X, rtol=1e-12)


@pytest.mark.parametrize(
    ("operation", "strengths"),
    [(flipped, (0.2, 0.9)), (shifted, (1, 3)), (rotated, (5, 30)), (cut_out, (2, 5))],
)
def test_networks_have_their_own_strengths(operation, strengths):
    """Two at a time give what each gives alone, and the images stay as they were."""
    X = _images(k=2)
    before = X.clone()

    both = operation(X, _numbers(k=2), _strength(*strengths))

    for row in range(2):
        numbers = _numbers_of([row], 60)
        alone = operation(X[row : row + 1], numbers, _strength(strengths[row]))
        np.testing.assert_allclose(both[row], alone[0], rtol=1e-12)
    assert torch.equal(X, before)
