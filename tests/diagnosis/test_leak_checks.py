"""The table that the leak guard looks at."""

import numpy as np
import pandas as pd

from sk_tune.diagnosis._leak_copies import LEAK_CHECKS, as_leak_table


def _table(X):
    return as_leak_table(X, np.zeros(len(X)), is_classification=True, folds=[])


def test_codes_are_stable():
    """A code is never given to another check."""
    assert {name: check.code for name, check in LEAK_CHECKS.items()} == {
        "duplicates across folds": "SKT201",
        "near duplicates across folds": "SKT202",
        "groups across folds": "SKT203",
        "future in the training rows": "SKT204",
        "target among the features": "SKT205",
        "feature that gives the target away": "SKT206",
        "scaled over all rows": "SKT207",
        "outliers": "SKT208",
    }


def test_arrays_get_names_and_frames_lose_their_index():
    """Columns are counted from 0; rows are positions."""
    table = _table(np.ones((3, 2, 2)))
    frame = _table(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[7, 7]))

    assert list(table.X.columns) == ["column 0", "column 1", "column 2", "column 3"]
    assert list(frame.X.index) == [0, 1]
    assert list(frame.numbers.columns) == ["a"]
