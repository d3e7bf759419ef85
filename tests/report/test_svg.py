"""Elements, scales and paths of pictures."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sk_tune.report._svg import AxisScale, element, line_path, scale_of

_values = st.lists(
    st.floats(-1e12, 1e12, allow_nan=False, allow_infinity=False), min_size=1, max_size=20
)


@given(st.text())
def test_text_cannot_leave_its_element(text):
    """Whatever a user wrote, the element is well formed and says just that."""
    # Control characters and surrogates are not allowed in XML at all.
    assume(all(c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe" for c in text))

    own = ET.fromstring(element("g", text, title=text))

    assert own.text == (text or None)
    # Attributes read line breaks and the like as blanks.
    assert own.attrib["title"].split() == text.split()


@given(_values)
def test_a_scale_shows_all_values_in_order(values):
    """Within its ends, less before more."""
    scale = scale_of(values, 10, 110)

    at = [scale(value) for value in sorted(values)]

    assert at == sorted(at)
    assert 10 <= at[0] <= at[-1] <= 110


@given(_values, st.booleans())
def test_ticks_are_on_the_axis_and_round(values, is_count):
    """At least one, rising, and none outside."""
    scale = scale_of(values, 0, 100, is_count=is_count)

    ticks = scale.ticks()

    assert ticks
    assert ticks == sorted(ticks)
    assert all(scale.low <= tick <= scale.high for tick in ticks)


def test_ticks_of_usual_axes():
    """What a person would write on them."""
    unit = AxisScale(low=0, high=1, first=0, last=1)
    learning_rates = AxisScale(low=1e-4, high=1e-1, first=0, last=1, is_log=True)
    epochs = AxisScale(low=0.5, high=4.5, first=0, last=1, is_count=True)

    assert unit.ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert learning_rates.ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert epochs.ticks() == [1, 2, 3, 4]
    losses = AxisScale(low=0.004, high=0.4, first=0, last=1, is_log=True)
    assert losses.ticks() == pytest.approx([0.01, 0.03, 0.1, 0.3])
    assert scale_of([7], 0, 1, is_count=True).ticks() == [7]


def test_equal_factors_have_equal_lengths_on_a_log_scale():
    """It is taken where positive values are far apart."""
    scale = scale_of([1e-4, 1e-2, 1.0], 0, 100)

    assert scale.is_log
    assert scale(1e-2) == pytest.approx((scale(1e-4) + scale(1.0)) / 2)
    assert not scale_of([-1.0, 1000.0], 0, 1).is_log
    assert not scale_of([1.0, 2.0], 0, 1).is_log


def test_a_gap_breaks_a_line():
    """Where a fold has no value."""
    assert line_path([0, 1, 2], [1, math.nan, 2]) == "M0 1M2 2"
    assert line_path([], []) == ""
