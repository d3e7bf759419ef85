"""Optimizers over rows: one object of torch.optim for each row is the reference."""

import math
from itertools import pairwise

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, RMSprop

from sk_tune.engine.fleet import _stacked_optimizers
from sk_tune.engine.fleet._stacked_optimizers import (
    Settings,
    StackedOptimizer,
    StackedTensors,
)

SHAPES = {"weight": (3, 2), "bias": (3,), "kernel": (2, 1, 3, 2), "scale": (1,)}
N_STEPS = 12
# Rows with all different numbers; what a kind does not use has no effect on it.
SETTINGS = [
    Settings(momentum=0.9, beta_2=0.999, eps=1e-8, weight_decay=0.0),
    Settings(momentum=0.5, beta_2=0.9, eps=1e-3, weight_decay=0.1),
    Settings(momentum=0.0, beta_2=0.99, eps=1e-5, weight_decay=1e-3),
    Settings(momentum=0.8, beta_2=0.95, eps=1e-1, weight_decay=0.5),
]
RATES = [0.01, 0.3, 0.002, 0.05]
KINDS = {
    "sgd": ("sgd", False),
    "nesterov": ("sgd", True),
    "adam": ("adam", False),
    "adamw": ("adamw", False),
    "rmsprop": ("rmsprop", False),
}

kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=["fused", "tensors"])
def path(request, monkeypatch):
    """Both ways to take a step: torch's kernel where there is one, and tensors."""
    if request.param == "tensors":
        monkeypatch.setattr(_stacked_optimizers, "_FUSED", {})
    return request.param


def _normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _torch_optimizer(kind, parameters, rate, settings):
    name, nesterov = KINDS[kind]
    s = settings
    if name == "sgd":
        return SGD(
            parameters,
            lr=rate,
            momentum=s.momentum,
            nesterov=nesterov and s.momentum > 0,
            weight_decay=s.weight_decay,
        )
    if name == "rmsprop":
        return RMSprop(
            parameters,
            lr=rate,
            alpha=s.beta_2,
            eps=s.eps,
            momentum=s.momentum,
            weight_decay=s.weight_decay,
        )
    kind = Adam if name == "adam" else AdamW
    betas = (s.momentum, s.beta_2)
    return kind(parameters, lr=rate, betas=betas, eps=s.eps, weight_decay=s.weight_decay)


class Lone:
    """One network's parameters and its optimizer of torch.optim."""

    def __init__(self, kind, settings, rate, seed):
        self.settings, self.rate = settings, rate
        self.parameters = [
            _normal(*shape, seed=100 * seed + i).requires_grad_()
            for i, shape in enumerate(SHAPES.values())
        ]
        self.optimizer = _torch_optimizer(kind, self.parameters, rate, settings)

    def weights(self):
        return {n: p.detach() for n, p in zip(SHAPES, self.parameters, strict=True)}

    def state(self):
        """Return the optimizer's state as arrays, as a stored training has it."""
        state = self.optimizer.state_dict()["state"]
        return {
            i: {n: v.numpy().copy() for n, v in own.items() if isinstance(v, torch.Tensor)}
            for i, own in state.items()
        }

    def step(self, gradients, rate=None):
        self.optimizer.param_groups[0]["lr"] = self.rate if rate is None else rate
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        self.optimizer.step()


class Rows:
    """The rows of a fleet and, side by side with them, the lone networks."""

    def __init__(self, kind, lone):
        name, nesterov = KINDS[kind]
        self.optimizer = StackedOptimizer(name, nesterov=nesterov)
        self.lone = []
        self.parameters = None
        self.add(lone)

    def add(self, lone):
        new = StackedTensors.stacked([row.weights() for row in lone])
        settings, states = [r.settings for r in lone], [r.state() for r in lone]
        self.optimizer.extend(new, settings, states)
        if self.parameters is None:
            self.parameters = new
        else:
            self.parameters.extend(new)
        self.lone += lone

    def keep(self, positions):
        self.parameters.select(torch.tensor(positions))
        self.optimizer.select(torch.tensor(positions))
        self.lone = [self.lone[i] for i in positions]

    def epoch(self, n_steps, seed=0, *, rates=None, parts=None):
        """Take steps with random gradients, in parts of neighbouring rows if given."""
        k = len(self.lone)
        rates = rates or [[row.rate] * n_steps for row in self.lone]
        self.optimizer.begin_epoch(rates)
        for step in range(n_steps):
            gradients = [
                _normal(k, *shape, seed=10_000 * seed + 10 * step + i)
                for i, shape in enumerate(SHAPES.values())
            ]
            for position, row in enumerate(self.lone):
                row.step([g[position] for g in gradients], rates[position][step])
            for start, stop in pairwise([0, *(parts or []), k]):
                part = slice(start, stop)
                self.optimizer.step(
                    part,
                    [p[part] for p in self.parameters.tensors.values()],
                    [g[part].clone() for g in gradients],
                    [own[step] for own in rates[part]],
                )

    def assert_same(self):
        for position, row in enumerate(self.lone):
            for name, expected in row.weights().items():
                _close(self.parameters.tensors[name][position], expected)
            _same_state(self.optimizer.network(position), row.state())


def _close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def _same_state(got, expected):
    # Torch has no entry for a parameter of which there is nothing to remember.
    assert {i for i, own in got.items() if own} == {i for i, own in expected.items() if own}
    for i, own in expected.items():
        assert got[i].keys() == own.keys()
        for name, array in own.items():
            assert got[i][name].shape == array.shape
            _close(torch.as_tensor(got[i][name]), torch.as_tensor(array))


def _lone(kind, *, seeds=range(4)):
    return [Lone(kind, SETTINGS[i % 4], RATES[i % 4], seed=i) for i in seeds]


@kinds
@pytest.mark.usefixtures("path")
def test_rows_are_torchs_optimizers(kind):
    """After 12 steps parameters and state of each row are those of torch.optim."""
    rows = Rows(kind, _lone(kind))

    rows.epoch(N_STEPS)

    rows.assert_same()


@kinds
@pytest.mark.usefixtures("path")
def test_each_row_follows_its_own_schedule(kind):
    """Rates that change from step to step, another way in each row, are torch's."""
    rows = Rows(kind, _lone(kind))
    rates = [
        [rate * (1 + math.cos(math.pi * step / (6 + row))) / 2 for step in range(N_STEPS)]
        for row, rate in enumerate(RATES)
    ]

    rows.epoch(N_STEPS, rates=rates)

    rows.assert_same()


@kinds
@pytest.mark.usefixtures("path")
def test_rows_may_leave_and_change_places(kind):
    """Those that stay keep their moments and counters, in whatever order."""
    rows = Rows(kind, _lone(kind, seeds=[0, 1]))
    rows.epoch(4)
    rows.add(_lone(kind, seeds=[2, 3]))

    rows.keep([3, 0, 2])
    rows.epoch(4, seed=1)
    rows.keep([1, 2])
    rows.epoch(4, seed=2)

    rows.assert_same()


@kinds
@pytest.mark.usefixtures("path")
def test_rows_may_come_late(kind):
    """New rows begin with step 1 beside rows that have made several."""
    rows = Rows(kind, _lone(kind, seeds=[0, 1]))
    rows.epoch(5)

    rows.add(_lone(kind, seeds=[2, 3, 4, 5]))
    rows.epoch(7, seed=1)

    rows.assert_same()


@kinds
@pytest.mark.usefixtures("path")
def test_rows_go_on_from_a_stored_state(kind):
    """A row made from a torch optimizer's state is at once where that one is."""
    stored = _lone(kind, seeds=[2, 1])
    for step in range(3):
        for row in stored:
            row.step([_normal(*s, seed=step + 50) for s in SHAPES.values()])
    rows = Rows(kind, [*_lone(kind, seeds=[0]), *stored])
    rows.assert_same()

    rows.epoch(N_STEPS)

    rows.assert_same()


@kinds
@pytest.mark.usefixtures("path")
def test_state_of_a_row_serves_torch(kind):
    """Torch's optimizer goes on from what a row exports as from its own state."""
    rows = Rows(kind, _lone(kind))
    rows.epoch(3)
    gradients = [_normal(*s, seed=77) for s in SHAPES.values()]

    for position, row in enumerate(rows.lone):
        heir = Lone(kind, row.settings, row.rate, seed=position)
        state = {
            i: {n: torch.tensor(a) for n, a in own.items()}
            for i, own in rows.optimizer.network(position).items()
        }
        groups = heir.optimizer.state_dict()["param_groups"]
        heir.optimizer.load_state_dict({"state": state, "param_groups": groups})
        with torch.no_grad():
            for name, parameter in zip(SHAPES, heir.parameters, strict=True):
                parameter.copy_(rows.parameters.tensors[name][position])
        for lone in (row, heir):
            lone.step(gradients)

        for got, expected in zip(heir.parameters, row.parameters, strict=True):
            _close(got, expected)


@kinds
@pytest.mark.usefixtures("path")
def test_equal_neighbours_are_stepped_together_and_stay_apart(kind):
    """Runs of equal settings, rates and counters give each row its own result."""
    order = [0, 0, 0, 1, 1, 0]
    rows = Rows(
        kind, [Lone(kind, SETTINGS[s], RATES[s], seed=i) for i, s in enumerate(order)]
    )

    rows.epoch(N_STEPS)
    rows.add([Lone(kind, SETTINGS[0], RATES[0], seed=9)])
    rows.epoch(3, seed=1)

    rows.assert_same()


@kinds
@pytest.mark.parametrize("parts", [[2], [1, 3], [1, 2, 3, 4, 5]], ids=str)
@pytest.mark.usefixtures("path")
def test_parts_of_the_rows_may_be_stepped_one_after_the_other(kind, parts):
    """Bounds that cut a run of equal rows change no result."""
    order = [0, 0, 0, 3, 3, 2]
    rows = Rows(
        kind, [Lone(kind, SETTINGS[s], RATES[s], seed=i) for i, s in enumerate(order)]
    )

    rows.epoch(6, parts=parts)

    rows.assert_same()


@kinds
@pytest.mark.usefixtures("path")
def test_rows_with_fewer_steps_rest(kind):
    """A row whose epoch is shorter is left alone, its counter too, by the last steps."""
    rows = Rows(kind, _lone(kind))
    rows.epoch(2)
    short = rows.lone.pop()
    rows.parameters.tensors = {n: t[:] for n, t in rows.parameters.tensors.items()}
    rates = [[row.rate] * 3 for row in rows.lone] + [[short.rate] * 2]
    rows.optimizer.begin_epoch(rates)
    for step in range(3):
        gradients = [_normal(4, *s, seed=900 + step) for s in SHAPES.values()]
        active = [*rows.lone, short] if step < 2 else rows.lone
        for position, row in enumerate(active):
            row.step([g[position] for g in gradients])
        part = slice(0, len(active))
        rows.optimizer.step(
            part,
            [p[part] for p in rows.parameters.tensors.values()],
            [g[part].clone() for g in gradients],
            [own[step] for own in rates[part]],
        )

    rows.lone.append(short)

    rows.assert_same()


@kinds
@pytest.mark.usefixtures("path")
def test_gradients_may_lie_in_the_same_memory_at_every_step(kind):
    """Tensors that are filled anew for each step are read anew."""
    rows = Rows(kind, _lone(kind, seeds=[0, 0, 3]))
    rows.optimizer.begin_epoch([[row.rate] * 5 for row in rows.lone])
    memory = [torch.empty(3, *s, dtype=torch.float64) for s in SHAPES.values()]
    parameters = list(rows.parameters.tensors.values())

    for step in range(5):
        for i, gradient in enumerate(memory):
            gradient.copy_(_normal(*gradient.shape, seed=10 * step + i))
        for position, row in enumerate(rows.lone):
            row.step([g[position] for g in memory])
        rows.optimizer.step(slice(0, 3), parameters, memory, [r.rate for r in rows.lone])

    rows.assert_same()


@kinds
@pytest.mark.usefixtures("path")
def test_single_precision_is_torchs_to_its_precision(kind):
    """In float32 the parameters agree to four digits after 12 steps."""
    lone = [Lone(kind, SETTINGS[i], RATES[i], seed=i) for i in range(4)]
    for row in lone:
        row.parameters = [p.detach().float().requires_grad_() for p in row.parameters]
        row.optimizer = _torch_optimizer(kind, row.parameters, row.rate, row.settings)
    rows = Rows(kind, lone)
    rates = [[row.rate] * N_STEPS for row in lone]
    rows.optimizer.begin_epoch(rates)

    for step in range(N_STEPS):
        gradients = [
            _normal(4, *s, seed=10 * step + i).float()
            for i, s in enumerate(SHAPES.values())
        ]
        for position, row in enumerate(lone):
            row.step([g[position] for g in gradients])
        parameters = list(rows.parameters.tensors.values())
        rows.optimizer.step(slice(0, 4), parameters, gradients, RATES)

    for position, row in enumerate(lone):
        for name, expected in row.weights().items():
            got = rows.parameters.tensors[name][position]
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@kinds
def test_state_before_the_first_step_is_torchs(kind):
    """A row that has made no step has no state, as torch's optimizers."""
    (lone,) = _lone(kind, seeds=[1])
    rows = Rows(kind, [lone])

    assert rows.optimizer.network(0) == lone.state() == {}


@kinds
def test_exported_state_is_a_copy(kind):
    """Later steps do not change what has been handed out."""
    rows = Rows(kind, _lone(kind, seeds=[0]))
    rows.epoch(2)
    before, expected = rows.optimizer.network(0), rows.lone[0].state()

    rows.epoch(2, seed=1)

    _same_state(before, expected)


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("size", [3, 10, 33, 48])
def test_a_row_does_not_depend_on_its_neighbours_to_the_bit(kind, size):
    """Its numbers may fill no whole vector, and lie anywhere among those of others."""
    start = _normal(12, size, seed=0).float()
    gradients = [_normal(12, size, seed=i).float() for i in range(1, 60)]

    def trained(rows):
        weights = StackedTensors({"w": start[rows].clone()})
        n = len(start[rows])
        optimizer = StackedOptimizer(kind, nesterov=False)
        optimizer.extend(weights, [Settings(momentum=0.9)] * n, [{}] * n)
        optimizer.begin_epoch([[0.01] * len(gradients)] * n)
        for gradient in gradients:
            own = gradient[rows].clone()
            optimizer.step(slice(0, n), [weights.tensors["w"]], [own], [0.01] * n)
        return weights.tensors["w"]

    alone = torch.cat([trained(slice(i, i + 1)) for i in range(12)])
    for n in (2, 5, 11, 12):
        assert torch.equal(trained(slice(0, n)), alone[:n])
