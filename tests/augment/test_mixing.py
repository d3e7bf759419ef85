"""Mixed samples and their targets."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from sk_tune.augment._operations import (
    StepNumbers,
    cut_and_mixed,
    mixed,
    mixed_codes,
    mixed_targets,
    share_quantiles,
)

N = 3000


def _samples(n=40, shape=(6,), k=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(k, n, *shape, generator=generator, dtype=torch.float64)


def _numbers_of(seeds, n):
    numbers = StepNumbers(seeds, 1, torch.device("cpu"))
    numbers.begin_epoch([0] * len(seeds), 1)
    return numbers.numbers(0, slice(0, len(seeds)), 0, n)


def _numbers(n=40, k=1):
    return _numbers_of(range(k), n)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 5.0])
def test_shares_are_the_larger_of_beta_and_its_complement(alpha):
    """The distribution is scipy's."""
    share = mixed(_samples(N), _numbers(N), share_quantiles([alpha]))[1][0].numpy()

    def larger(x):
        beta = stats.beta(alpha, alpha)
        return np.where(x < 0.5, 0.0, beta.cdf(x) - beta.cdf(1 - x))

    assert stats.kstest(share, larger).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 4, 4)])
def test_a_sample_is_averaged_with_the_one_before_it(shape):
    """By its share; the first one with the last."""
    X = _samples(shape=shape)

    averaged, share = mixed(X, _numbers(), share_quantiles([1.0]))

    own = share[0].numpy().reshape(-1, *[1] * len(shape))
    expected = own * X[0].numpy() + (1 - own) * np.roll(X[0].numpy(), 1, axis=0)
    np.testing.assert_allclose(averaged[0], expected, rtol=1e-12)


def test_a_mixed_sequence_ends_where_the_shorter_one_does():
    """Padding of either is padding of both."""
    X = _samples(shape=(5, 2))
    for length, sequence in zip(np.arange(40) % 5 + 1, X[0], strict=True):
        sequence[length:] = torch.nan

    averaged = mixed(X, _numbers(), share_quantiles([1.0]))[0]

    assert torch.equal(averaged.isnan(), X.isnan() | X.roll(1, dims=1).isnan())


def test_a_rectangle_comes_from_the_image_before():
    """All channels; the share is the area that is the image's own."""
    X = _samples(N, (2, 6, 8))

    pasted, share = cut_and_mixed(X, _numbers(N), share_quantiles([1.0]))

    other = (pasted[0, :, 0] != X[0, :, 0]).numpy()
    expected = np.where(other[:, None], np.roll(X[0].numpy(), 1, axis=0), X[0].numpy())
    np.testing.assert_array_equal(pasted[0], expected)
    np.testing.assert_allclose(share[0], 1 - other.mean(axis=(1, 2)))
    heights, widths = other.any(axis=2).sum(axis=1), other.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(other.sum(axis=(1, 2)), heights * widths)
    assert other.any(axis=0).all()
    # Before anything sticks out and sides are rounded down, half of the area on average.
    assert 0.5 < share.mean() < 0.8


def test_codes_are_those_of_one_of_the_two():
    """The sample's own with the probability of its share, each column for itself."""
    codes = torch.arange(N).view(1, N, 1).expand(1, N, 2)
    share = torch.full((1, N), 0.7, dtype=torch.float64)

    own = (mixed_codes(codes, _numbers(N), share) == codes)[0].double()

    assert torch.equal(mixed_codes(codes, _numbers(N), 0 * share), codes.roll(1, dims=1))
    assert own.mean(dim=0).numpy() == pytest.approx(0.7, abs=5 * (0.21 / N) ** 0.5)
    first = _numbers(N).uniform()[0, :, 0]
    for pair in (own.T, torch.stack([own[:, 0], first]), torch.stack([own[:, 1], first])):
        assert abs(torch.corrcoef(pair)[0, 1]) < 5 / N**0.5


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_mixed_classes_is_the_weighted_mean_of_both(weighted):
    """Each label counts by its share and the weight of its row (Zhang et al. 2018)."""
    y = torch.arange(40).remainder(3).unsqueeze(0)
    weight = _samples(shape=(), seed=1) if weighted else None
    share = _samples(shape=(), seed=2)
    outputs = _samples(shape=(3,), seed=3)[0]

    targets, weights = mixed_targets(y, weight, share, torch.float64)

    own = share[0] * (1 if weight is None else weight[0])
    other = (1 - share[0]) * (1 if weight is None else weight[0].roll(1))
    losses = [F.cross_entropy(outputs, t, reduction="none") for t in (y[0], y[0].roll(1))]
    expected = (own * losses[0] + other * losses[1]).sum() / (own + other).sum()
    ours = F.cross_entropy(outputs.repeat(2, 1), targets[0], reduction="none")
    got = (ours * weights[0]).sum() / weights[0].sum()
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [F.mse_loss, F.binary_cross_entropy_with_logits])
def test_averaged_targets_have_the_derivatives_of_both_losses(loss, weighted):
    """For real-valued targets and for labels of 0 and 1."""
    y = _samples(shape=(2,)).round()
    weight = _samples(shape=(), seed=1) if weighted else None
    share = _samples(shape=(), seed=2)
    outputs = _samples(shape=(2,), seed=3)[0].requires_grad_()

    targets, weights = mixed_targets(y, weight, share, torch.float64)

    own = share[0] * (1 if weight is None else weight[0])
    other = (1 - share[0]) * (1 if weight is None else weight[0].roll(1))

    def gradient(*parts):
        total = sum(
            (loss(outputs, t, reduction="none").mean(dim=1) * w).sum() for t, w in parts
        )
        (derivative,) = torch.autograd.grad(total, outputs)
        return derivative.numpy()

    total = weights[0] if weighted else torch.ones(40, dtype=torch.float64)
    assert (weights is None) == (weight is None)
    np.testing.assert_allclose(
        gradient((targets[0], total)),
        gradient((y[0], own), (y[0].roll(1, dims=0), other)),
        atol=1e-12,
    )


@pytest.mark.parametrize("operation", [mixed, cut_and_mixed])
def test_networks_have_their_own_strengths(operation):
    """Two at a time give what each gives alone, and the samples stay as they were."""
    X = _samples(shape=(1, 5, 5), k=2)
    before, alphas = X.clone(), [0.2, 3.0]

    both = operation(X, _numbers(k=2), share_quantiles(alphas))

    for row in range(2):
        numbers = _numbers_of([row], 40)
        alone = operation(X[row : row + 1], numbers, share_quantiles(alphas[row : row + 1]))
        for ours, own in zip(both, alone, strict=True):
            np.testing.assert_allclose(ours[row], own[0], rtol=1e-12)
    assert torch.equal(X, before)


@pytest.mark.parametrize("operation", [mixed, cut_and_mixed])
def test_a_lone_sample_is_mixed_with_itself(operation):
    """A batch of one row stays what it is."""
    X = _samples(1, (1, 5, 5))

    np.testing.assert_allclose(operation(X, _numbers(1), share_quantiles([1.0]))[0], X)
