"""Tables of a page."""

import math

from sk_tune.report import number_cells


def test_numbers_below_each_other_have_equally_many_decimals():
    """They are sorted by the whole number; what is none has no key."""
    rows = [0.123456, 0.7, math.nan]

    cells = [number_cells(rows, float)(row) for row in rows]

    assert [cell.text for cell in cells] == ["0.1235", "0.7000", "n/a"]
    assert [cell.key for cell in cells] == ["0.123456", "0.7", None]
