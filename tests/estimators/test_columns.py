"""Which columns are categories, and the codes in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sk_tune.estimators._table_networks import (
    bin_edges,
    categorical_mask,
    check_codes,
    known_codes,
)

NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, []),
        ([], []),
        ("from_dtype", [1]),
        ([0, 2], [0, 2]),
        (np.array([2]), [2]),
        ((True, False, True), [0, 2]),
        (np.array([False, False, True]), [2]),
        (["c", "a"], [0, 2]),
        (np.array(["b"]), [1]),
    ],
    ids=str,
)
def test_columns_are_named_as_in_scikit_learn(given_, expected):
    """Positions, names, a mask or the columns' type."""
    mask = categorical_mask(given_, 3, NAMES, [1])

    assert mask.dtype == bool
    assert np.flatnonzero(mask).tolist() == expected


@given(mask=hnp.arrays(bool, st.integers(1, 9)))
def test_a_mask_and_its_positions_mean_the_same(mask):
    """Any mask is returned as it is, and its positions give it back."""
    n_features = len(mask)

    by_mask = categorical_mask(mask, n_features, None, ())
    by_position = categorical_mask(np.flatnonzero(mask), n_features, None, ())

    np.testing.assert_array_equal(by_mask, mask)
    np.testing.assert_array_equal(by_position, mask)


@pytest.mark.parametrize(
    ("given_", "names", "message"),
    [
        ([3], NAMES, r"positions below 3. Got \[3\]"),
        ([-1], NAMES, r"positions of at least 0, names or a mask. Got \[-1\]"),
        ([0.5], NAMES, r"positions of at least 0, names or a mask. Got \[0.5\]"),
        ([0, "a"], NAMES, "positions of at least 0, names or a mask"),
        ([True, False], NAMES, "a mask of 3 values, one for each column of X"),
        (["a", "d"], NAMES, r"names of columns of X. Got \['d'\]"),
        (["a"], None, "positions or a mask where X has no names"),
    ],
)
def test_columns_that_are_not_there_are_refused(given_, names, message):
    """The message says what was asked for and what was given."""
    with pytest.raises(ValueError, match="'categorical_features' parameter must hold") as e:
        categorical_mask(given_, 3, names, ())

    assert e.match(message)


@pytest.mark.parametrize("value", [0.5, -1.0])
@pytest.mark.parametrize("names", [NAMES, None])
def test_what_is_no_code_is_refused(value, names):
    """The column and its values are named; other columns may hold anything."""
    X = np.array([[value, 1.0, 0.0], [0.3, 2.0, value]])

    check_codes(X, [1], names)
    with pytest.raises(ValueError, match="codes: integers of at least 0") as error:
        check_codes(X, [1, 2], names)

    assert error.match(f"Got \\[{value}\\] in column {'2' if names is None else chr(39)}")


def test_known_codes_are_those_that_occur():
    """Sorted and once each, column by column in the order asked for."""
    X = np.array([[3.0, 9.0], [0.0, 2.0], [3.0, 9.0]], dtype=np.float32)

    first, second = known_codes(X, [1, 0], None)

    assert (first.tolist(), second.tolist()) == ([2, 9], [0, 3])
    assert first.dtype == np.int64


def test_codes_too_large_to_be_dense_are_refused():
    """An id as a code would ask for a matrix of billions of vectors."""
    with pytest.raises(ValueError, match="codes below 65536. Got 65536 in column 'b'"):
        known_codes(np.array([[1.0, 65536.0]]), [0, 1], ["a", "b"])


COLUMNS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 30), st.just(2)),
    elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0]),
)


@given(X=COLUMNS, n_bins=st.integers(1, 9))
def test_edges_rise_from_the_least_to_the_greatest_value(X, n_bins):
    """There are no more than asked for, and none of a width that has no inverse."""
    for column, edges in zip(X.T, bin_edges(X, [0, 1], n_bins), strict=True):
        assert edges.dtype == X.dtype
        assert 1 <= len(edges) <= n_bins + 1
        assert edges[0] == column.min()
        assert edges[-1] == pytest.approx(column.max(), abs=1e-30)
        assert np.isin(edges, column).all()
        assert np.isfinite(1 / np.diff(edges)).all()
        assert (np.diff(edges) > 0).all()


@given(X=COLUMNS, n_bins=st.integers(1, 9), data=st.data())
def test_a_weight_of_k_is_a_row_k_times(X, n_bins, data):
    """Bins do not depend on how a data set is written, nor on its rows' order."""
    counts = data.draw(hnp.arrays(np.int64, len(X), elements=st.integers(1, 4)))
    order = data.draw(st.permutations(range(len(X))))
    repeated = X.repeat(counts, axis=0)

    weighted = bin_edges(X[order], [0, 1], n_bins, counts[order].astype(float))

    for ours, reference in zip(weighted, bin_edges(repeated, [0, 1], n_bins), strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_bins_hold_equally_many_rows():
    """As numpy's quantiles of this method; equal values share one edge."""
    X = np.column_stack([np.arange(100.0) ** 2, np.repeat([0.0, 5.0], [90, 10])])

    first, second = bin_edges(X, [0, 1], 4)

    expected = np.quantile(X[:, 0], np.linspace(0, 1, 5), method="inverted_cdf")
    np.testing.assert_array_equal(first, expected)
    assert second.tolist() == [0.0, 5.0]
