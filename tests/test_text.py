"""Tables, times and bytes as text for people."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune._text import (
    bytes_text,
    error_line,
    interval_text,
    number_texts,
    seconds_text,
    text_table,
)
from sk_tune.exceptions import TableError


def test_numbers_are_aligned_right_and_words_left():
    """Digits of a column are aligned, and so are words."""
    table = text_table(["n", "word"], [[5, "a"], [120, "bcd"]])

    assert table.splitlines() == ["  n  word", "  5  a", "120  bcd"]
    assert text_table(["a", "b"], []) == "a  b"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (0.5, "0.50 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (86400, "24 h 00 min"),
    ],
)
def test_seconds_are_rounded_without_sixties(seconds, text):
    """No text says 60 seconds or 60 minutes."""
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        *((0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2**30, "1.0 GiB")),
        (2**50, "1024.0 TiB"),
    ],
)
def test_bytes_are_in_powers_of_1024(n_bytes, text):
    """The unit is the largest with a value of at least 1."""
    assert bytes_text(n_bytes) == text


@pytest.mark.parametrize(
    ("values", "digits", "texts"),
    [
        ([0.618, 0.77746, 0.0009], 4, ["0.6180", "0.7775", "0.0009"]),
        ([0.0, 1e-9], 4, ["0", "1e-09"]),
        ([0.02, 0.034, 0.000893], 2, ["0.020", "0.034", "0.001"]),
        ([-12345.6, 3.0, -98765.4], 4, ["-12346", "3", "-98765"]),
        ([1e9, 0.5, 0.25, 1e-12], 4, ["1e+09", "0.50", "0.25", "1e-12"]),
        ([0.0, 0.0], 4, ["0", "0"]),
        ([0.4, 0.85], 4, ["0.40", "0.85"]),
        ([float("nan"), 1.0, float("inf")], 2, ["n/a", "1", "inf"]),
        ([1e-9, 2e-9], 2, ["1e-09", "2e-09"]),
        ([], 4, []),
    ],
)
def test_numbers_of_a_column_have_equal_decimals(values, digits, texts):
    """Trailing zeros are digits, too; tiny and very long numbers have an exponent."""
    assert number_texts(values, digits) == texts


@given(
    values=st.lists(st.floats(1e-3, 1e5) | st.floats(-1e5, -1e-3), min_size=1),
    digits=st.integers(1, 6),
)
def test_numbers_of_a_column_are_rounded_to_the_median(values, digits):
    """The rounding error is at most half of the last digit of the median number."""
    sizes = sorted(abs(v) for v in values)
    middle = sizes[len(sizes) // 2]

    for value, text in zip(values, number_texts(values, digits), strict=True):
        assert (
            abs(float(text) - value) <= max(0.5, middle * 0.5 * 10 ** (1 - digits)) * 1.01
        )


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.0003, -0.52, 0.51), ["0.00", "-0.52", "0.51"]),
        ((0.83124, 0.7812, 0.8811), ["0.831", "0.781", "0.881"]),
        ((1.0, 1.0, 1.0), ["1.00", "1.00", "1.00"]),
        ((-2513.2, -2801.0, -2207.9), ["-2513", "-2801", "-2208"]),
        ((-0.04, -0.0499, -0.031), ["-0.0400", "-0.0499", "-0.0310"]),
        ((float("nan"),) * 3, ["n/a"] * 3),
        ((2e7, 1e7, 3e7), ["2e+07", "1e+07", "3e+07"]),
        ((1.0, 0.9999999, 1.0), ["1", "1", "1"]),
    ],
)
def test_an_interval_has_the_digits_of_its_width(values, texts):
    """Further digits are meaningless; the score is rounded like its ends."""
    assert interval_text(*values) == texts


def test_the_line_of_an_error_excludes_notes():
    """The first line is the error; a note that names a page follows it."""
    try:
        raise TableError("Column 'a' must hold numbers.")
    except TableError:
        told = traceback.format_exc()

    assert told.splitlines()[-1].startswith("See http")
    assert error_line(told).endswith("TableError: Column 'a' must hold numbers.")
    assert error_line("") == ""
