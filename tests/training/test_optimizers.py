"""Optimizers and schedules of the learning rate."""

import itertools
import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from sk_tune._schedule import LR_SCHEDULES, learning_rate_factor
from sk_tune._training import build_optimizer

HYPERPARAMETERS = {
    "learning_rate": 0.02,
    "momentum": 0.8,
    "weight_decay": 0.1,
}


def _parameters():
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 2), (3,)]
    return [
        nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64))
        for s in shapes
    ]


def test_nesterov_needs_a_momentum():
    """Without momentum SGD is plain, where torch would refuse Nesterov."""
    optimizer = build_optimizer(
        "sgd", _parameters(), **{**HYPERPARAMETERS, "momentum": 0.0}
    )

    assert optimizer.param_groups[0]["nesterov"] is False


def test_an_unknown_optimizer_is_refused():
    """An unknown name must not train with another optimizer."""
    with pytest.raises(ValueError, match=r"optimizer must be one of .* Got 'lion' instead"):
        build_optimizer("lion", _parameters(), **HYPERPARAMETERS)


N_STEPS = 200


def _torch_rates(make_scheduler):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(N_STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def _our_rates(schedule):
    return [learning_rate_factor(schedule, step / N_STEPS) for step in range(N_STEPS)]


MILESTONES = [N_STEPS // 2, 3 * N_STEPS // 4]


@pytest.mark.parametrize(
    ("name", "torchs"),
    [
        ("cosine", partial(lr_scheduler.CosineAnnealingLR, T_max=N_STEPS)),
        ("step", partial(lr_scheduler.MultiStepLR, milestones=MILESTONES)),
    ],
)
def test_factors_equal_torchs_schedules(name, torchs):
    """Cosine annealing over the same steps; a tenth at half and at three quarters."""
    assert _our_rates(name) == pytest.approx(_torch_rates(torchs), abs=1e-9)


def test_one_cycle_follows_torchs_up_to_its_grid():
    """Torch's cycle has N - 1 steps, this one N: factors differ by at most a step."""
    expected = _torch_rates(
        lambda o: lr_scheduler.OneCycleLR(
            o, max_lr=1.0, total_steps=N_STEPS + 1, cycle_momentum=False
        )
    )

    largest_step = max(abs(b - a) for a, b in itertools.pairwise(expected))

    assert _our_rates("one_cycle") == pytest.approx(expected, abs=largest_step)


def test_one_cycle_has_the_published_corners():
    """It starts at 1/25, peaks at 30 % and ends four decades below the start."""
    assert learning_rate_factor("one_cycle", 0.0) == pytest.approx(1 / 25)
    assert learning_rate_factor("one_cycle", 0.3) == pytest.approx(1.0)
    assert learning_rate_factor("one_cycle", 1.0) == pytest.approx(1 / 25e4)


@given(schedule=st.sampled_from(LR_SCHEDULES), progress=st.floats(0, 100))
def test_factor_is_between_0_and_1_and_constant_after_the_end(schedule, progress):
    """For any length of training, the rate stays between 0 and its peak."""
    factor = learning_rate_factor(schedule, progress)

    assert 0 <= factor <= 1
    assert math.isfinite(factor)
    if progress >= 1:
        assert factor == learning_rate_factor(schedule, 1.0)
