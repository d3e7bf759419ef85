"""Why fleets cannot train a module, and which modules may share a fleet."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sk_tune._fleets import module_structure, plan

X = torch.rand(100, 64, generator=torch.Generator().manual_seed(0))


class Users(nn.Module):
    """A user's module with a given function between two layers."""

    def __init__(self, act=torch.tanh):
        super().__init__()
        self.hidden, self.output = nn.Linear(64, 8), nn.Linear(8, 3)
        self.act = act

    def forward(self, x):
        return self.output(self.act(self.hidden(x)))


def _reason(module, X=X):
    """Return why networks like this are trained alone, None if they are not."""
    result = plan(module, X)
    return result.reason if result.way == "alone" else None


def _branching(h):
    return h if h.sum() > 0 else -h


@pytest.mark.parametrize(
    "act",
    [
        _branching,
        lambda h: torch.as_tensor(h.detach().numpy()),
        lambda h: h + torch.randn_like(h),
        lambda h: F.dropout(h, 0.5),
    ],
    ids=["branching", "numpy", "noise", "dropout"],
)
def test_unsupported_operations_are_a_reason(act):
    """Branches on data, calls outside of torch, and unknown random numbers."""
    reason = _reason(Users(act))

    assert reason.startswith("torch.func.vmap cannot batch its module (")
    assert "\n" not in reason


@pytest.mark.parametrize("in_place", [True, False])
def test_replaced_buffers_are_a_reason(in_place):
    """A fleet would not see the new buffer; buffers that change in place work."""

    class Centred(Users):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(64))

        def forward(self, x):
            if self.training:
                with torch.no_grad():
                    moved = 0.9 * self.mean + 0.1 * x.mean(0)
                    if in_place:
                        self.mean.copy_(moved)
                    else:
                        self.mean = moved
            return super().forward(x - self.mean)

    module = Centred()

    reason = _reason(module)

    assert (reason is None) is in_place
    assert in_place or "replaces a buffer" in reason
    assert not module.mean.any()


@pytest.mark.parametrize("is_constant", [True, False])
def test_changing_buffers_outside_the_state_dict_are_a_reason(is_constant):
    """Training could not be resumed with them; constants are harmless."""

    class Counting(Users):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()), persistent=False)

        def forward(self, x):
            if self.training and not is_constant:
                self.calls.add_(1)
            return super().forward(x)

    reason = _reason(Counting())

    assert (reason is None) is is_constant
    assert is_constant or "changes its state" in reason


def test_outputs_that_depend_on_other_samples_are_a_reason():
    """Batch norm without running means depends on the size of a chunk."""
    norm = nn.BatchNorm1d(8, track_running_stats=False)
    module = nn.Sequential(nn.Linear(64, 8), norm, nn.Linear(8, 3))

    assert _reason(module) == "its outputs depend on other samples of a batch"


class Frozen(Users):
    """The first layer does not learn, because it runs without gradients."""

    def forward(self, x):
        with torch.no_grad():
            h = self.hidden(x)
        return self.output(torch.tanh(h))


def _patched():
    module = Users()
    forward = module.hidden.forward
    module.hidden.forward = lambda x: 2 * forward(x)
    return module


@pytest.mark.parametrize("module", [Frozen(), _patched()], ids=["no_grad", "patched"])
def test_frozen_and_patched_calls_are_trained_alone(module):
    """A fleet would train weights that a plain loop does not, or ignore a patch."""
    assert _reason(module) is not None


def test_a_forward_in_another_precision_is_not_a_chain():
    """Written-out layers compute in the type of their weights."""

    class Mixed(Users):
        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x)

    assert plan(Mixed(), X).way != "layers"


def test_samples_may_be_scalars():
    """Skorch nets with an embedding of single codes take them."""
    module = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))

    assert _reason(module, torch.arange(9)) is None


def test_group_normalisation_of_flat_samples_runs_in_a_fleet():
    """Only images and volumes are checked for their memory order."""
    module = nn.Sequential(nn.Linear(64, 6), nn.GroupNorm(2, 6), nn.Linear(6, 2))

    assert _reason(module) is None


def test_dropout_in_several_memory_orders_is_a_reason():
    """Its masks cannot be predicted."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRU(3, 3, batch_first=True)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.cell(self.drop(x))[0])[:, -1]

    assert "several memory layouts" in _reason(Twice(), torch.randn(4, 5, 3))


@pytest.mark.parametrize("act", [torch.tanh, _branching], ids=["good", "bad"])
def test_the_trial_does_not_change_the_module(act):
    """Weights, running means, mode and generators stay the same, also after a failure."""
    module = Users(act)
    module.output = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5), module.output)
    state = copy.deepcopy(module.state_dict())
    generator = torch.get_rng_state()

    _reason(module)

    assert module.training
    assert torch.equal(torch.get_rng_state(), generator)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name])


class Configurable(nn.Module):
    """A module with attributes of many kinds."""

    def __init__(self, **attributes):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.1))
        for name, value in attributes.items():
            setattr(self, name, value)


def _layers(**changes):
    options = {
        "width": 4,
        "p": 0.1,
        "norm": nn.BatchNorm1d,
        "activation": nn.ReLU,
    } | changes
    return nn.Sequential(
        nn.Linear(3, options["width"]),
        options["norm"](options["width"]),
        options["activation"](),
        nn.Dropout(options["p"]),
        nn.Linear(options["width"], 2),
    )


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_the_structure_ignores_weights_and_dropout(p):
    """Modules with other seeds and dropout probabilities share a structure."""
    first, second = _layers(), _layers(p=p)

    assert not torch.equal(first[0].weight, second[0].weight)
    assert module_structure(first) == module_structure(second)
    assert hash(module_structure(first)) == hash(module_structure(second))


def test_the_structure_ignores_the_mode():
    """Evaluation mode, gradients and running means are not part of it."""
    module = _layers()
    twin = copy.deepcopy(module).eval()
    twin(torch.ones(2, 3)).sum().backward()

    assert module_structure(twin) == module_structure(module)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 5},
        {"norm": nn.LayerNorm},
        {"activation": nn.Tanh},
        {"activation": lambda: nn.ReLU(inplace=True)},
        {"activation": nn.Identity},
        {"norm": lambda n: nn.BatchNorm1d(n, eps=1e-3)},
        {"norm": lambda n: nn.BatchNorm1d(n, momentum=0.5)},
        {"norm": lambda n: nn.BatchNorm1d(n, affine=False)},
        {"norm": lambda n: nn.Sequential(nn.BatchNorm1d(n))},
    ],
)
def test_the_structure_includes_layers_and_their_options(change):
    """Options that change the function of a layer separate fleets."""
    assert module_structure(_layers(**change)) != module_structure(_layers())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 2),
        ("a", "b"),
        (None, 0.5),
        ((1, 2), (1, 3)),
        ([1, 2], [2, 1]),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        ({"a": [1]}, {"b": [1]}),
        (np.zeros(2), np.ones(2)),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (np.zeros(4), np.zeros((2, 2))),
        (torch.zeros(2), torch.ones(2)),
        ({1}, {2}),
        (torch.relu, torch.tanh),
        (nn.Linear(2, 2), nn.Linear(2, 3)),
    ],
)
def test_the_structure_includes_attributes(first, second):
    """Another number, array, function or layer as an attribute separates fleets."""
    modules = [Configurable(own=value) for value in (first, copy.deepcopy(first), second)]

    structures = [module_structure(module) for module in modules]

    assert structures[0] != structures[2]
    # A set has no hash, and is compared by identity, which is safe.
    if not isinstance(first, set):
        assert structures[0] == structures[1]


@pytest.mark.parametrize(
    "change",
    [nn.Module.double, lambda module: module.apply(lambda m: m.requires_grad_(False))],
    ids=["networks of a fleet have one type", "a frozen weight is a buffer of a fleet"],
)
def test_the_structure_includes_dtypes_and_frozen_parameters(change):
    """The layers themselves are equal."""
    assert module_structure(change(_layers())) != module_structure(_layers())


def test_the_structure_includes_shapes_of_buffers():
    """Their values may differ, as running means do."""
    modules = [Configurable() for _ in range(3)]
    for module, buffer in zip(
        modules, (torch.zeros(2), torch.ones(2), torch.zeros(3)), strict=True
    ):
        module.register_buffer("own", buffer)

    structures = [module_structure(module) for module in modules]

    assert structures[0] == structures[1] != structures[2]
