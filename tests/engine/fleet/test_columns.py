"""Convolution by columns: torch's own is the reference."""

import pytest
import torch
from torch.nn import functional as F

from sk_tune.engine.fleet import _columns
from sk_tune.engine.fleet._columns import convolve, input_gradient, weight_gradient

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
SIZES = {1: (7,), 2: (5, 4), 3: (4, 5, 4)}


def draw(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("limit", [1, 150, 2000, _columns._MAX_COLUMNS])
@pytest.mark.parametrize("n_in", [2, 16])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_outputs_and_derivatives_are_torchs(dims, n_in, limit, monkeypatch):
    """Whatever part of the columns is made at a time, and few channels or many."""
    monkeypatch.setattr(_columns, "_MAX_COLUMNS", limit)
    x = draw(4, n_in, *SIZES[dims], 2, seed=0)
    weight, bias = draw(4, 3, n_in, *[3] * dims, seed=1), draw(4, 3, seed=2)
    padding = ((1, 1),) * dims
    leaves = [t.clone().requires_grad_() for t in (x, weight)]
    rows = zip(*leaves, bias, strict=True)
    expected = torch.stack([
        CONV[dims](i.movedim(-1, 0), w, b, padding=1).movedim(0, -1) for i, w, b in rows
    ])
    grad = draw(*expected.shape, seed=3)
    by_x, by_weight = torch.autograd.grad(expected, leaves, grad)

    torch.testing.assert_close(convolve(x, padding, weight, bias), expected.detach())
    torch.testing.assert_close(input_gradient(x, padding, grad, weight), by_x)
    found = weight_gradient(x, padding, grad, weight.shape[3:])
    torch.testing.assert_close(found, by_weight)


def test_a_kernel_larger_than_the_image_is_refused():
    """As by torch, and with the sizes."""
    with pytest.raises(RuntimeError, match=r"a kernel of \(4,\) over inputs of \(3,\)"):
        convolve(draw(1, 2, 3, 2, seed=0), ((0, 0),), draw(1, 3, 2, 4, seed=1), None)
