"""Written-out members: sk_tune.nets and autograd are the reference, row by row."""

import pytest
import torch

from sk_tune.engine.fleet._layers import Batch
from sk_tune.engine.fleet._mlp_program import MemberHead, MemberLinear, Members
from sk_tune.nets import _mlp as nets

K, M, B, D, H = 3, 4, 5, 6, 2
ROWS = slice(0, K)


def _memory(name, like, *shape):
    return like.new_empty(shape)


def _numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _modules(kind):
    modules = [kind(D, H, M).double() for _ in range(K)]
    with torch.no_grad():
        for seed, module in enumerate(modules):
            for parameter in module.parameters():
                parameter.copy_(_numbers(*parameter.shape, seed=seed))
    return modules


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (nets.SharedLinear, lambda: MemberLinear("own", M, _memory, first=False)),
        (nets.SeparateHeads, lambda: MemberHead("own", M, _memory)),
    ],
    ids=["linear", "head"],
)
def test_outputs_and_derivatives_are_those_of_the_modules(kind, make):
    """By the parameters and by the input, for each row of the fleet."""
    modules, layer = _modules(kind), make()
    states = [module.state_dict() for module in modules]
    tensors = {f"own.{n}": torch.stack([s[n] for s in states]) for n in states[0]}
    batch = Batch(tensors, ROWS, 0, {})
    x, dy = _numbers(K, M * B, D), _numbers(K, M * B, H, seed=1)

    y = layer.forward(x, batch)
    dx = layer.backward(dy, batch, keep=True)

    assert set(batch.found) == set(tensors)
    for row, module in enumerate(modules):
        own = x[row].view(M, B, D).requires_grad_()
        alone = module(own)
        wanted = [own, *module.parameters()]
        found = torch.autograd.grad(alone, wanted, dy[row].view(M, B, H))
        torch.testing.assert_close(y[row].view(M, B, H), alone)
        torch.testing.assert_close(layer.evaluate(x, tensors)[row], y[row])
        torch.testing.assert_close(dx[row].view(M, B, D), found[0])
        for (name, _), expected in zip(module.named_parameters(), found[1:], strict=True):
            torch.testing.assert_close(batch.found[f"own.{name}"][row], expected)


def test_each_sample_comes_once_for_each_member():
    """Member by member; their derivatives are added up."""
    layer, x, dy = Members(M, first=False), _numbers(K, B, D), _numbers(K, M * B, D)

    y = layer.evaluate(x, {})
    dx = layer.backward(dy, Batch({}, ROWS, 0, {}), keep=True)

    torch.testing.assert_close(y.view(K, M, B, D), x.unsqueeze(1).expand(-1, M, -1, -1))
    torch.testing.assert_close(dx, dy.view(K, M, B, D).sum(dim=1))
