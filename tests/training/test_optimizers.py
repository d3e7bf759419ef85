"""Optimizers by name, against torch.optim, and the L1 penalty against its gradient."""

import pytest
import torch
from torch import nn

from sk_tune.training import OPTIMIZERS, add_l1_gradient, build_optimizer

HYPERPARAMETERS = {
    "learning_rate": 0.02,
    "momentum": 0.8,
    "nesterovs_momentum": True,
    "weight_decay": 0.1,
}
REFERENCES = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.8, 0.999), weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.999), weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(
        p, lr=0.02, momentum=0.8, nesterov=True, weight_decay=0.1
    ),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.02, momentum=0.8, weight_decay=0.1),
}


def _parameters():
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 2), (3,)]
    return [
        nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64))
        for s in shapes
    ]


def _run(optimizer, parameters):
    for _ in range(5):
        optimizer.zero_grad()
        sum((p**2 - p).sum() for p in parameters).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_is_torchs_of_that_name(name):
    """Five steps end where torch's own, not fused, end."""
    ours, theirs = _parameters(), _parameters()

    got = _run(build_optimizer(name, ours, **HYPERPARAMETERS), ours)
    expected = _run(REFERENCES[name](theirs), theirs)

    # Fused kernels order the same operations differently.
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_nesterov_needs_a_momentum():
    """Without a momentum SGD is plain, where torch would refuse Nesterov's."""
    optimizer = build_optimizer(
        "sgd", _parameters(), **{**HYPERPARAMETERS, "momentum": 0.0}
    )

    assert optimizer.param_groups[0]["nesterov"] is False


def test_l1_gradient_is_that_of_the_penalty_on_weight_matrices():
    """Matrices get the gradient of l1 * sum(|w|); vectors, such as biases, get none."""
    parameters = _parameters()
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    twin = _parameters()[0]
    (0.3 * twin.abs().sum()).backward()

    add_l1_gradient(parameters, 0.3)

    assert torch.equal(parameters[0].grad, twin.grad)
    assert not parameters[1].grad.any()
