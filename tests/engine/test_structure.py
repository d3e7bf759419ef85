"""Whether users' modules are equal but for weights and dropout."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sk_tune.engine._estimator_fits import has_hooks, module_structure


class Configurable(nn.Module):
    """A module with attributes of many kinds."""

    def __init__(self, **attributes):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.1))
        for name, value in attributes.items():
            setattr(self, name, value)


def _layers(**changes):
    own = {"width": 4, "p": 0.1, "norm": nn.BatchNorm1d, "activation": nn.ReLU} | changes
    return nn.Sequential(
        nn.Linear(3, own["width"]),
        own["norm"](own["width"]),
        own["activation"](),
        nn.Dropout(own["p"]),
        nn.Linear(own["width"], 2),
    )


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_weights_and_dropout_may_differ(p):
    """Modules built under other seeds with other probabilities share a structure."""
    first, second = _layers(), _layers(p=p)

    assert not torch.equal(first[0].weight, second[0].weight)
    assert module_structure(first) == module_structure(second)
    assert hash(module_structure(first)) == hash(module_structure(second))


def test_a_copy_in_another_mode_is_equal():
    """Evaluation mode, gradients and running means are no structure."""
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
    ids=[
        "width",
        "norm",
        "activation",
        "inplace",
        "identity",
        "eps",
        "momentum",
        "affine",
        "nested",
    ],
)
def test_layers_and_their_options_count(change):
    """Whatever changes what a layer computes, beside its weights, splits a fleet."""
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
    ids=[
        "numbers",
        "texts",
        "None",
        "tuples",
        "lists",
        "list or tuple",
        "dictionaries",
        "keys",
        "arrays",
        "types of arrays",
        "shapes of arrays",
        "tensors",
        "sets",
        "functions",
        "layers",
    ],
)
def test_attributes_of_a_module_count(first, second):
    """A module that holds another number, array, function or layer computes otherwise."""
    modules = [Configurable(own=value) for value in (first, copy.deepcopy(first), second)]

    structures = [module_structure(module) for module in modules]

    assert structures[0] != structures[2]
    # A set has no hash, and is compared by identity, which is safe.
    if not isinstance(first, set):
        assert structures[0] == structures[1]


def test_what_is_not_trained_counts():
    """A frozen weight is a buffer of a fleet."""
    frozen = _layers()
    frozen[0].weight.requires_grad_(requires_grad=False)

    assert module_structure(frozen) != module_structure(_layers())


def test_types_of_numbers_count():
    """Rows of one fleet have one type."""
    assert module_structure(_layers().double()) != module_structure(_layers())


def test_shapes_of_buffers_count():
    """Their values may differ, as running means do."""
    modules = [Configurable() for _ in range(3)]
    for module, buffer in zip(
        modules, (torch.zeros(2), torch.ones(2), torch.zeros(3)), strict=True
    ):
        module.register_buffer("own", buffer)

    structures = [module_structure(module) for module in modules]

    assert structures[0] == structures[1] != structures[2]


@pytest.mark.parametrize(
    "hook",
    [
        lambda m: m[0].register_forward_hook(lambda layer, inputs, output: 2 * output),
        lambda m: m[0].register_forward_pre_hook(lambda layer, inputs: (2 * inputs[0],)),
        lambda m: m[0].weight.register_hook(torch.zeros_like),
    ],
    ids=["forward", "before forward", "gradient"],
)
def test_hooks_are_found(hook):
    """They change what a module computes, which no fleet would."""
    hooked = _layers()
    hook(hooked)

    assert has_hooks(hooked)
    assert not has_hooks(_layers())
