"""The parameter input_shape, as a tuple and against the shape of X."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.estimators._validation import check_input_shape, reshaped


@pytest.mark.parametrize(
    ("given_shape", "expected"),
    [
        (None, None),
        (8, (8,)),
        ((2, 4), (2, 4)),
        ([2, 4], (2, 4)),
        (np.array([2, 4]), (2, 4)),
        (np.int64(8), (8,)),
    ],
    ids=repr,
)
def test_any_sequence_of_integers_is_a_shape(given_shape, expected):
    """A number, a tuple, a list and an array become a tuple of Python's integers."""
    shape = check_input_shape(SimpleNamespace(input_shape=given_shape), least=1, most=3)

    assert shape == expected
    assert shape is None or all(type(size) is int for size in shape)


@pytest.mark.parametrize(
    "bad",
    [(), (0,), (-1, 4), (1.5, 2), (True, 2), "ab", (1, 1, 1, 1), ("2", "3")],
    ids=repr,
)
def test_other_shapes_are_refused(bad):
    """The message has the numbers that may be given, and what was."""
    with pytest.raises(ValueError, match="1 to 3 integers of at least 1") as raised:
        check_input_shape(SimpleNamespace(input_shape=bad), least=1, most=3)

    assert repr(bad) in str(raised.value)


@pytest.mark.parametrize(
    ("shape", "wanted", "is_taken"),
    [
        ((3, 8, 8), (3, 8, 8), True),
        ((8, 8), (1, 8, 8), True),
        ((8, 8, 1), (1, 8, 8), True),
        ((192,), (3, 8, 8), True),
        ((3, 64), (3, 8, 8), True),
        ((8, 8, 3), (3, 8, 8), False),
        ((5, 9), (9, 5), False),
    ],
)
def test_axes_in_another_order_are_not_taken_for_others(shape, wanted, is_taken):
    """Channels that come last would be mixed up with rows; an axis of 1 is no matter."""
    estimator = SimpleNamespace(input_shape=wanted)
    if is_taken:
        assert reshaped(estimator, shape, wanted) == wanted
        return
    with pytest.raises(ValueError, match="in the order of input_shape.*numpy.moveaxis"):
        reshaped(estimator, shape, wanted)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 3))
def test_rows_fold_to_any_shape_of_as_many_values(sizes, position):
    """A shape is taken if the number of values agrees, and refused with one more."""
    wanted = tuple(sizes)
    flat = (int(np.prod(sizes)),)
    estimator = SimpleNamespace(input_shape=wanted)

    assert reshaped(estimator, flat, wanted) == wanted
    larger = list(sizes)
    larger[position % len(sizes)] += 1
    with pytest.raises(ValueError, match=f"must have {np.prod(larger)} values"):
        reshaped(estimator, flat, tuple(larger))
