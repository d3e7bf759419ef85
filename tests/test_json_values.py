"""Plain values as JSON and back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune._json_values import decode, encode

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_values_and_their_types_are_restored(value):
    """Through JSON text, with infinities and NaN."""
    again = decode(json.loads(json.dumps(encode(value))))

    # repr distinguishes 1, 1.0 and True, and NaN equals itself.
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, 2], dtype=np.int8),
        np.array([[0.5], [np.inf]], dtype=np.float32),
        np.array(["a", "bc"]),
        np.array(["2020-01-02"], dtype="datetime64[D]"),
        np.zeros((0, 3)),
        np.array([0.5], dtype=np.longdouble),
        np.array([(1, 2), (3, 4), None], dtype=object)[:2],
    ],
    ids=lambda array: f"{array.dtype.name} {array.shape}",
)
def test_arrays_are_restored(array):
    """With dtype and shape."""
    again = decode(json.loads(json.dumps(encode(array))))

    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype
    assert repr(again) == repr(array)


def test_records_are_refused_when_they_are_written():
    """Later, they could not be read."""
    with pytest.raises(TypeError, match="It must consist of"):
        encode(np.zeros(2, dtype=[("a", int)]))


def test_code_is_refused():
    """The message names the value."""
    with pytest.raises(TypeError, match="Got <function"):
        encode([test_code_is_refused])


@pytest.mark.parametrize(
    "value",
    [
        {"array": ["a"], "dtype": "<U1000000000"},
        {"array": [1], "dtype": "|V1000000000"},
        {"array": [1], "dtype": "i4,(1000000000)f8"},
        {"array": [1], "dtype": [["a", "i4"]]},
        {"ticks": [1], "dtype": "<i8"},
    ],
    ids=str,
)
def test_arrays_of_more_bytes_than_their_values_need_are_refused(value):
    """A few bytes of JSON must not allocate gigabytes."""
    with pytest.raises((ValueError, TypeError)):
        decode(value)
