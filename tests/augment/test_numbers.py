"""Random numbers from counters.

Statistical bounds are those of chance for fixed seeds: five standard errors, or a
Kolmogorov-Smirnov test at 1e-4.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from sk_tune.augment._operations import StepNumbers

CPU = torch.device("cpu")


def _steps(seeds=(0,), n_operations=1, first_steps=None, n_steps=1):
    numbers = StepNumbers(seeds, n_operations, CPU)
    numbers.begin_epoch(first_steps or [0] * len(seeds), n_steps)
    return numbers


def _uniform(seed=0, operation=0, step=0, n_samples=500, n=20):
    steps = _steps((seed,), 3, n_steps=step + 1)
    return steps.numbers(operation, slice(0, 1), step, n_samples).uniform(n)[0]


def test_uniform_numbers_are_uniform():
    """Of one sample, of one position, and of all together."""
    drawn = _uniform(n_samples=2000, n=2000).numpy()

    assert drawn.min() >= 0
    assert drawn.max() < 1
    for part in (drawn[0], drawn[:, 0], drawn[:, -1], drawn[::7, ::11].ravel()):
        assert stats.kstest(part, "uniform").pvalue > 1e-4


def test_normal_numbers_are_normal():
    """Of one sample, of one position, and of all together."""
    steps = _steps((5,))
    drawn = steps.numbers(0, slice(0, 1), 0, 2000).normal(2000, torch.float64)[0].numpy()

    for part in (drawn[0], drawn[:, 0], drawn[::7, ::11].ravel()):
        assert stats.kstest(part, "norm").pvalue > 1e-4
    assert drawn.mean() == pytest.approx(0, abs=5 / 2000)
    assert drawn.std() == pytest.approx(1, abs=5 / 2000)


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"seed": 2**40}, {"operation": 1}, {"operation": 2}, {"step": 1}],
    ids=str,
)
def test_other_seeds_operations_and_steps_draw_other_numbers(other):
    """Their correlation over 10,000 numbers is that of chance."""
    pair = torch.stack([_uniform().flatten(), _uniform(**other).flatten()])

    assert abs(torch.corrcoef(pair)[0, 1]) < 5 / 100


def test_samples_and_positions_are_not_correlated():
    """Neither neighbouring samples nor neighbouring numbers of one."""
    drawn = _uniform(n_samples=3000, n=2)
    pairs = (
        torch.stack([drawn[:, 0], drawn[:, 1]]),
        torch.stack([drawn[1:, 0], drawn[:-1, 0]]),
        torch.stack([drawn[1:, 0], drawn[:-1, 1]]),
    )

    for pair in pairs:
        assert abs(torch.corrcoef(pair)[0, 1]) < 5 / 3000**0.5


def test_numbers_of_a_network_do_not_depend_on_the_networks_beside_it():
    """Three networks at unequal steps draw what each draws alone."""
    together = _steps((3, 1, 2), 2, first_steps=[0, 7, 100], n_steps=3)
    for row, (seed, first) in enumerate([(3, 0), (1, 7), (2, 100)]):
        alone = _steps((seed,), 2, first_steps=[first], n_steps=2)
        for step in (0, 1):
            ours = together.numbers(1, slice(0, 3), step, 9).uniform(4)[row]
            own = alone.numbers(1, slice(0, 1), step, 9).uniform(4)[0]

            assert torch.equal(ours, own)


def test_steps_are_counted_through():
    """Step 2 of an epoch that begins at 5 is step 0 of one that begins at 7."""
    first = _steps(first_steps=[5], n_steps=3).numbers(0, slice(0, 1), 2, 6).uniform(2)
    second = _steps(first_steps=[7]).numbers(0, slice(0, 1), 0, 6).uniform(2)

    assert torch.equal(first, second)


def test_numbers_of_a_sample_do_not_depend_on_the_size_of_the_batch():
    """Nor on how many numbers are drawn."""
    few = _steps().numbers(0, slice(0, 1), 0, 5).uniform(3)
    more = _steps().numbers(0, slice(0, 1), 0, 50).uniform(7)

    assert torch.equal(more[:, :5, :3], few)


def test_float32_and_float64_draw_the_same():
    """Normal numbers differ by rounding only."""
    numbers = _steps((12345,)).numbers(0, slice(0, 1), 0, 40)

    np.testing.assert_allclose(
        numbers.normal(10, torch.float32), numbers.normal(10, torch.float64), rtol=1e-7
    )


def test_no_generator_is_moved():
    """The numbers come from counters."""
    before = torch.get_rng_state()

    _uniform()

    assert torch.equal(torch.get_rng_state(), before)


def test_numbers_do_not_depend_on_the_order_in_which_batches_come():
    """Steps computed in blocks, of long and short batches, forwards and backwards."""
    steps = _steps((0, 1), first_steps=[0, 50], n_steps=2000)
    order = [(0, 60), (1, 60), (1, 61), (1999, 3), (1998, 60), (7, 60), (8, 12), (600, 60)]

    for step, n_samples in order:
        own = _steps((1,), first_steps=[50 + step]).numbers(0, slice(0, 1), 0, n_samples)
        ours = steps.numbers(0, slice(1, 2), step, n_samples)
        assert torch.equal(ours.uniform(3), own.uniform(3))
