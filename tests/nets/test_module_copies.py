"""Copies of modules, and keys of a module's state outside its weights."""

import copy
import threading
from collections import Counter, deque
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from sk_tune._nets import (
    loose_state,
    tensor_values,
    unchanged_tensors,
    with_parameters_of,
)


class Holder(nn.Module):
    """A module with an attribute."""

    def __init__(self, own=None):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.own = own


class Renewing(nn.Module):
    """Writes to a buffer in place and replaces another buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("written", torch.zeros(2))
        self.register_buffer("renewed", torch.zeros(2))

    def forward(self, x):
        self.written += x.mean(dim=0)
        self.renewed = self.renewed + 1
        return x


def test_tensors_changed_by_a_forward_pass_are_restored():
    """The same tensor objects have their previous values again."""
    module = nn.Sequential(Renewing(), nn.BatchNorm1d(2))
    initial = {n: (t, t.clone()) for n, t in module.state_dict(keep_vars=True).items()}

    with unchanged_tensors(module):
        module(torch.ones(2, 2))
        assert module[0].written.all()

    for name, tensor in module.state_dict(keep_vars=True).items():
        own, value = initial[name]
        assert tensor is own
        assert torch.equal(tensor, value)


class Slotted:
    """An object without a ``__dict__``."""

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
def test_changes_of_a_modules_contents_are_detected(name):
    """Nested containers, objects, iterators, functions and generators."""
    make, change = CHANGES[name]
    module = Holder(make())
    initial = loose_state(module)

    assert loose_state(module) == initial
    hash(initial)
    change(module.own)
    assert loose_state(module) != initial


def test_weights_are_not_part_of_the_key():
    """They belong to the ``state_dict``, even if another attribute refers to them."""
    module = Holder()
    module.own = [module.layer.weight, module]
    initial, values = loose_state(module), tensor_values(module)

    nn.init.zeros_(module.layer.weight)

    assert loose_state(module) == initial
    assert tensor_values(module) != values


@pytest.mark.parametrize("own", [threading.Lock(), [object()], lambda: 1])
def test_unreadable_objects_count_by_identity(own):
    """A lock counts by identity."""
    module = Holder(own)

    assert loose_state(module) == loose_state(module)


def test_cycles_and_huge_objects_are_read_in_part():
    """Reading ends for a cycle, a list of many objects, and a thousand nested lists."""
    round_about = [Slotted()]
    round_about[0].value = round_about
    huge = [[i] for i in range(20_000)]

    assert loose_state(Holder(round_about)) == loose_state(Holder(round_about))
    assert loose_state(Holder(huge))
    deep = []
    for _ in range(3000):
        deep = [deep]
    assert loose_state(Holder(deep)) == loose_state(Holder(deep))


def test_a_copy_has_the_trained_state_and_the_fresh_parameters():
    """An optimizer of the fresh module stays valid; the trained module is not changed."""
    trained, fresh = Holder({"n": [3]}), Holder({"n": [0]})
    weight = fresh.layer.weight

    copied = with_parameters_of(fresh, trained)
    copied.own["n"].append(4)

    assert copied.layer.weight is weight
    assert torch.equal(weight, trained.layer.weight)
    assert trained.own == {"n": [3]}
    assert copied.own == {"n": [3, 4]}
    assert copy.deepcopy(fresh).own == {"n": [0]}
