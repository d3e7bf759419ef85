"""Numbers and parameters as text and JSON."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sk_tune.report._value_texts import number_text, plain, value_text


class Broken:
    """An object that cannot show itself."""

    def __repr__(self):
        raise OSError


@given(st.floats(-1e300, 1e300), st.integers(2, 6))
def test_a_number_reads_back_to_its_digits(value, digits):
    """What is shown differs from the value by less than its last digit."""
    shown = float(number_text(value, digits))

    assert shown == pytest.approx(value, rel=0.5 * 10.0 ** (1 - digits), abs=1e-320)


@given(st.floats(1, 999_999) | st.floats(-999_999, -1), st.integers(2, 6))
@example(9999.7, 4)
def test_usual_numbers_have_no_exponent(value, digits):
    """Scores of thousands are read at a glance."""
    assert "e" not in number_text(value, digits)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (np.bool_(False), "False"),
        (np.int64(12), "12"),
        (np.float32(0.5), "0.5"),
        (math.nan, "n/a"),
        ("a\n b", "a b"),
        (np.tanh, "tanh"),
        (np.ndarray, "ndarray"),
        (Broken(), "<Broken without repr: OSError>"),
        ([1] * 99, "[" + "1, " * 26 + "…"),
    ],
)
def test_values_are_one_short_line(value, text):
    """Whatever a parameter is, its cell is readable."""
    assert value_text(value) == text


def test_json_takes_what_plain_returns():
    """Arrays, numpy numbers, infinities, records and objects all have a form."""
    value = {
        1: np.arange(2),
        "a": [np.float64(math.inf), (np.bool_(True), None)],
        "b": Broken(),
    }

    text = json.dumps(plain(value), allow_nan=False)

    assert json.loads(text) == {
        "1": [0, 1],
        "a": [None, [True, None]],
        "b": "<Broken without repr: OSError>",
    }
