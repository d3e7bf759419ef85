"""Counting of rungs."""

from hypothesis import given
from hypothesis import strategies as st

from sk_tune.schedule._halving import Rung, n_reductions, rung_table


@given(k=st.integers(0, 20), factor=st.integers(2, 10))
def test_exact_powers_are_counted_exactly(k, factor):
    """factor**k can be reduced k times, and one less only k - 1 times."""
    assert n_reductions(factor**k, factor) == k
    assert k == 0 or n_reductions(factor**k - 1, factor) == k - 1


@given(ratio=st.integers(1, 10**6), factor=st.floats(1.05, 10))
def test_the_count_is_the_largest_that_fits(ratio, factor):
    """The definition, for factors that are no integers too."""
    k = n_reductions(ratio, factor)

    assert factor**k <= ratio < factor ** (k + 1)


def test_rungs_print_as_a_table():
    """One line per rung."""
    rungs = (Rung(n_candidates=12, n_resources=1), Rung(n_candidates=4, n_resources=3))

    assert rung_table(rungs).splitlines() == [
        "rung  candidates  resources",
        "   0          12          1",
        "   1           4          3",
    ]
