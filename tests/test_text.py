"""Tables, seconds and bytes as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune._text import bytes_text, seconds_text, text_table


def test_numbers_stand_to_the_right_and_words_to_the_left():
    """Digits of one column are below each other, as are first letters."""
    table = text_table(["n", "word"], [[5, "a"], [120, "bcd"]])

    assert table.splitlines() == ["  n  word", "  5  a", "120  bcd"]


def test_a_table_without_rows_is_its_header():
    """Nothing to show is shown as such."""
    assert text_table(["a", "b"], []) == "a  b"


@given(cells=st.lists(st.integers(-(10**6), 10**6), min_size=1))
def test_lines_of_numbers_are_equally_long(cells):
    """A column of numbers ends in one place."""
    lines = text_table(["x"], [[cell] for cell in cells]).splitlines()

    assert len({len(line) for line in lines}) == 1


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
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2**30, "1.0 GiB")],
)
def test_bytes_are_in_powers_of_1024(n_bytes, text):
    """The unit is the largest that leaves at least one."""
    assert bytes_text(n_bytes) == text


def test_the_largest_unit_is_a_tebibyte():
    """More than 1024 TiB are still counted in TiB."""
    assert bytes_text(2**50) == "1024.0 TiB"
