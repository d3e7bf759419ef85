"""Augmentations as values, their names and strengths, and the samples that they suit."""

import copy
import dataclasses
import pickle
import re

import numpy as np
import pytest
from sklearn.base import clone

from sk_tune._augment import (
    AUGMENTATIONS,
    Brightness,
    Contrast,
    CutMix,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    Saturation,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
    as_augmentations,
    check_row_shape,
    kinds_of,
)

KINDS = list(AUGMENTATIONS.values())
COUNTS = {Shift: "pixels", Cutout: "pixels", TimeShift: "steps"}
SHARES = {Flip: "p", TimeMask: "share"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_augmentation_is_a_value(kind):
    """It equals its copies, is hashable, and is immutable."""
    own = kind(1)

    assert own == kind(1) == copy.deepcopy(own) == pickle.loads(pickle.dumps(own))
    assert clone(own, safe=False) == own
    assert hash(own) == hash(kind(1))
    assert own != kind(2 if kind in COUNTS else 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(own, dataclasses.fields(own)[0].name, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_repr_recreates_the_augmentation(kind):
    """``repr`` is valid Python."""
    assert eval(repr(kind()), {kind.__name__: kind}) == kind()


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_numbers_become_python_numbers(kind):
    """Strengths drawn by a search are printed, hashed and saved like a user's."""
    value = np.int64(1) if kind in COUNTS else np.float64(0.5)

    (strength,) = dataclasses.astuple(kind(value))

    assert type(strength) is (int if kind in COUNTS else float)
    assert kind(value) == kind(value.item())


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
    """In scikit-learn's wording, at construction."""
    name = dataclasses.fields(kind)[0].name

    expected = f"The {name!r} parameter of {kind.__name__} must be {wanted}. Got {value!r}"

    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        kind(value)


SHAPES = {
    "table": (5,),
    "sequence": (9, 2),
    "signal": (2, 9),
    "image": (3, 8, 9),
    "volume": (1, 4, 4, 4),
    "other": (2, 2, 2, 2, 2),
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ([], ()),
        ("flip", (Flip(),)),
        (Shift(3), (Shift(3),)),
        (["flip", Shift(3)], (Flip(), Shift(3))),
        ((Shift(3), "flip", "flip"), (Shift(3), Flip(), Flip())),
        (np.str_("noise"), (Noise(),)),
    ],
    ids=str,
)
def test_names_and_instances_may_be_mixed(value, expected):
    """A name stands for the default strength, and the order is kept."""
    assert as_augmentations(value) == expected


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_name_stands_for_its_augmentation(name):
    """Names are the keys of ``kinds_of``."""
    assert kinds_of(as_augmentations(name)) == (name,)


@pytest.mark.parametrize("value", ["flipp", ["flip", 3], {"flip": 1}, Flip, 0.5, [None]])
def test_anything_else_is_refused(value):
    """The message lists the names."""
    with pytest.raises(ValueError, match=r"among \{.*'flip'.*\} or an instance of .* Got"):
        as_augmentations(value)


def test_rows_are_mixed_at_most_once():
    """Targets of a row mixed twice are not defined."""
    with pytest.raises(
        ValueError, match=r"at most one entry that mixes rows\. Got \[Mixup"
    ):
        as_augmentations([Mixup(), "flip", CutMix()])


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("kind", [*KINDS, type("Own", (Flip,), {})])
def test_rows_must_suit_an_augmentation(kind, layout):
    """Images can be flipped, sequences masked; noise and mixing suit all rows."""
    shape = SHAPES[layout]
    args = ([kind()], shape, layout, "Net")

    if layout in kind.layouts:
        check_row_shape(*args)
    else:
        message = rf"augmentation='{kind.name}' of Net needs .*s \(?.*{{0}}"
        with pytest.raises(ValueError, match=message.format(r"Got rows of shape")):
            check_row_shape(*args)


def test_the_message_names_suitable_rows():
    """A flip requires images; a mask in time requires sequences or signals."""
    with pytest.raises(
        ValueError, match=r"needs images \(n_channels, height, width\)\. Got"
    ):
        check_row_shape([Flip()], (5,), "table", "MLPClassifier")
    with pytest.raises(ValueError, match=r"sequences \(.*\) or signals \(.*\)\. Got rows"):
        check_row_shape([TimeMask()], (5,), "table", "MLPClassifier")


@pytest.mark.parametrize(
    ("own", "shape", "layout", "size"),
    [
        (Shift(8), (3, 8, 9), "image", 8),
        (Cutout(9), (3, 10, 9), "image", 9),
        (TimeShift(9), (9, 20), "sequence", 9),
        (TimeShift(9), (20, 9), "signal", 9),
    ],
)
def test_distances_must_be_less_than_the_size_of_the_row(own, shape, layout, size):
    """A shift by the whole image would leave no pixel."""
    check_row_shape([type(own)(size - 1)], shape, layout, "Net")
    with pytest.raises(ValueError, match=rf"must be less than {size}, since rows have"):
        check_row_shape([own], shape, layout, "Net")


@pytest.mark.parametrize(
    ("kind", "n_channels", "wanted"),
    [(Contrast, 2, "1 or 3"), (Saturation, 1, "3"), (Saturation, 4, "3")],
)
def test_colours_require_three_channels(kind, n_channels, wanted):
    """Grey is a mean of three channels, or the only channel; others have no colours."""
    check_row_shape([Brightness(), kind()], (3, 8, 8), "image", "Net")
    message = rf"{kind.name}' of Net needs images with {wanted} channels\. Got"
    with pytest.raises(ValueError, match=message):
        check_row_shape([kind()], (n_channels, 8, 8), "image", "Net")
