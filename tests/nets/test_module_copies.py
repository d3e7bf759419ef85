"""Copies of modules, and keys of what a module holds beside its weights."""

import copy
import threading
from collections import Counter, deque
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from sk_tune.nets import (
    MLP,
    empty_copy,
    fresh_copy,
    loose_state,
    tensor_values,
    with_parameters_of,
)


def _network(normalization="batch"):
    return MLP(
        3,
        2,
        hidden_layer_sizes=[4, 4],
        activation="relu",
        normalization=normalization,
        residual=True,
        dropout=0.2,
    ).double()


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_a_filled_copy_computes_what_the_original_computes(normalization, device):
    """Also if it was copied from a network without memory."""
    network = _network(normalization)
    network(torch.randn(8, 3, dtype=torch.float64))
    state = {name: value.clone() for name, value in network.state_dict().items()}

    copy = empty_copy(network.to(device), "cpu")
    copy.load_state_dict(state)

    expected = _network(normalization)
    expected.load_state_dict(state)
    X = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(copy.eval()(X), expected.eval()(X), rtol=0, atol=0)
    assert repr(copy) == repr(expected)


def test_a_copy_shares_nothing_with_the_original():
    """Neither tensors nor hooks nor layers that are added."""
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    copy = empty_copy(network, "cpu")
    with torch.no_grad():
        for tensor in [*copy.parameters(), *copy.buffers()]:
            tensor.fill_(7)
    copy.output.register_forward_hook(lambda *_: torch.zeros(1))
    copy.hidden.append(nn.Identity())
    copy.eval()

    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert network(torch.ones(2, 3, dtype=torch.float64)).shape == (2, 2)
    assert len(network.hidden) == 2
    assert network.training


def test_frozen_parameters_stay_frozen():
    """Whether a parameter is trained is part of the network."""
    network = _network()
    network.output.bias.requires_grad_(False)

    trained = [p.requires_grad for p in empty_copy(network, "cpu").parameters()]

    assert trained == [p.requires_grad for p in network.parameters()]


def test_no_number_is_drawn():
    """The global generator stays where it is."""
    network = _network()
    before = torch.get_rng_state()

    empty_copy(network, "cpu")

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_a_fresh_copy_has_the_weights_that_building_draws(normalization):
    """And draws as many numbers; whatever has become of the original."""
    with torch.device("meta"):
        pattern = _network(normalization).float()
    torch.manual_seed(0)
    expected = _network(normalization)
    after = torch.get_rng_state()

    torch.manual_seed(0)
    copy = fresh_copy(pattern)

    assert torch.equal(torch.get_rng_state(), after)
    # Drawn in single precision, as torch does, whatever they become.
    drawn, built = copy.double().state_dict(), expected.state_dict()
    assert drawn.keys() == built.keys()
    for name, values in built.items():
        assert torch.equal(drawn[name], values), name


class Holder(nn.Module):
    """A module that holds something."""

    def __init__(self, own=None):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.own = own


class Slotted:
    """An object without a dictionary."""

    __slots__ = ("value",)


def _slotted(value):
    made = Slotted()
    made.value = value
    return made


def _counting():
    n = 0

    def step():
        nonlocal n
        n += 1
        return n

    return step


def _nested():
    inner = Slotted()
    inner.value = {"a": [deque([Counter("x")])]}
    return {"outer": (inner,)}


CHANGES = {
    "list": (lambda: [1], lambda own: own.append(2)),
    "set": (lambda: {1}, lambda own: own.add(2)),
    "array": (lambda: np.zeros(2), lambda own: own.fill(1)),
    "tensor": (lambda: torch.zeros(2), lambda own: own.fill_(1)),
    "slots": (lambda: _slotted(1), lambda own: setattr(own, "value", 2)),
    "deep": (_nested, lambda own: own["outer"][0].value["a"][0][0].update("x")),
    "iterator": (count, next),
    "closure": (_counting, lambda own: own()),
    "partial": (lambda: partial(_counting()), lambda own: own()),
    "method": (lambda: np.random.RandomState(0).rand, lambda own: own()),
    "generator": (lambda: np.random.default_rng(0), lambda own: own.random()),
    "module": (lambda: [nn.Linear(2, 2)], lambda own: own[0].bias.data.fill_(7)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_of_all_that_a_module_holds_are_seen(name):
    """Containers, objects, iterators, functions and generators, all the way down."""
    make, change = CHANGES[name]
    module = Holder(make())
    before = loose_state(module)

    assert loose_state(module) == before
    hash(before)
    change(module.own)
    assert loose_state(module) != before


def test_weights_are_no_part_of_it():
    """They are told by the ``state_dict``, also where something else holds them."""
    module = Holder()
    module.own = [module.layer.weight, module]
    before, values = loose_state(module), tensor_values(module)

    nn.init.zeros_(module.layer.weight)

    assert loose_state(module) == before
    assert tensor_values(module) != values


@pytest.mark.parametrize("own", [threading.Lock(), [object()], lambda: 1])
def test_what_cannot_be_read_counts_as_itself(own):
    """A lock tells nothing, and never changes."""
    module = Holder(own)

    assert loose_state(module) == loose_state(module)


def test_what_holds_itself_and_what_is_huge_is_read_in_part():
    """A cycle ends, and so do a list of many objects and one of a thousand lists."""
    round_about = [Slotted()]
    round_about[0].value = round_about
    huge = [[i] for i in range(20_000)]

    assert loose_state(Holder(round_about)) == loose_state(Holder(round_about))
    assert loose_state(Holder(huge))
    deep = []
    for _ in range(3000):
        deep = [deep]
    assert loose_state(Holder(deep)) == loose_state(Holder(deep))


def test_a_copy_has_the_state_of_one_and_the_parameters_of_the_other():
    """An optimizer of the other goes on; what was trained is not touched."""
    trained, fresh = Holder({"n": [3]}), Holder({"n": [0]})
    weight = fresh.layer.weight

    copied = with_parameters_of(fresh, trained)
    copied.own["n"].append(4)

    assert copied.layer.weight is weight
    assert torch.equal(weight, trained.layer.weight)
    assert trained.own == {"n": [3]}
    assert copied.own == {"n": [3, 4]}
    assert copy.deepcopy(fresh).own == {"n": [0]}
