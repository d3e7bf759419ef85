"""Augmentations as plain values."""

import copy
import dataclasses
import pickle
import re

import numpy as np
import pytest
from sklearn.base import clone

from sk_tune.augment import (
    AUGMENTATIONS,
    CutMix,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
)

KINDS = list(AUGMENTATIONS.values())
COUNTS = {Shift: "pixels", Cutout: "pixels", TimeShift: "steps"}
SHARES = {Flip: "p", TimeMask: "share"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_augmentation_is_a_value(kind):
    """It equals its copies, can be a key, and cannot be changed."""
    own = kind(1)

    assert own == kind(1) == copy.deepcopy(own) == pickle.loads(pickle.dumps(own))
    assert clone(own, safe=False) == own
    assert hash(own) == hash(kind(1))
    assert own != kind(2 if kind in COUNTS else 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(own, dataclasses.fields(own)[0].name, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_makes_it_again(kind):
    """``repr`` is Python."""
    assert eval(repr(kind()), {kind.__name__: kind}) == kind()


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_numbers_become_pythons(kind):
    """What a search draws is printed, hashed and saved like what a user writes."""
    given = np.int64(1) if kind in COUNTS else np.float64(0.5)

    (strength,) = dataclasses.astuple(kind(given))

    assert type(strength) is (int if kind in COUNTS else float)
    assert kind(given) == kind(given.item())


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        *((kind, -1, "an int in the range [0, inf)") for kind in COUNTS),
        *((kind, 1.5, "an int in the range [0, inf)") for kind in COUNTS),
        *((kind, 1.01, "a float in the range [0, 1.0]") for kind in SHARES),
        (Rotate, 181, "a float in the range [0, 180.0]"),
        (Noise, -0.1, "a float in the range [0, inf)"),
        (Scale, float("inf"), "a float in the range [0, inf)"),
        (Scale, float("nan"), "a float in the range [0, inf)"),
        (Mixup, 0, "a float in the range (0, inf)"),
        (CutMix, 0.0, "a float in the range (0, inf)"),
        (Shift, True, "an int in the range [0, inf)"),
        (Noise, "much", "a float in the range [0, inf)"),
        (Flip, None, "a float in the range [0, 1.0]"),
    ],
)
def test_strengths_out_of_range_are_refused(kind, value, wanted):
    """In scikit-learn's words, when the augmentation is made."""
    name = dataclasses.fields(kind)[0].name

    expected = f"The {name!r} parameter of {kind.__name__} must be {wanted}. Got {value!r}"

    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        kind(value)


def test_strengths_that_change_nothing_are_values_like_others():
    """A search may try 0."""
    for kind in set(KINDS) - {Mixup, CutMix}:
        assert dataclasses.astuple(kind(0)) == (0,)
