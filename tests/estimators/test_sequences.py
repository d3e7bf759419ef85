"""Lists of sequences as one array."""

import numpy as np
import pytest

from sk_tune.estimators._recurrent_networks import as_sequences


@pytest.mark.parametrize(
    "X",
    [[[1.0, 2.0], [3.0, 4.0]], np.eye(2), [1.0, 2.0], ["ab", "c"], [], None],
    ids=["equal lengths", "array", "numbers", "text", "nothing", "None"],
)
def test_what_is_no_list_of_unequal_sequences_stays_what_it_is(X):
    """The very object."""
    assert as_sequences(X) is X


def test_whole_numbers_become_real_ones():
    """Because NaN is no whole number."""
    found = as_sequences([np.array([[1], [2]]), np.array([[3]])])

    np.testing.assert_array_equal(found[:, :, 0], [[1.0, 2.0], [3.0, np.nan]])
