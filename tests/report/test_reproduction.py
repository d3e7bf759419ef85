"""What it takes to get a search again."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from sk_tune.report._gathering import candidate_rows
from sk_tune.report._reproduction import data_fingerprint, reproduction
from sk_tune.report.displays import trials_of


def test_versions_seeds_and_folds_are_there(grid, iris):
    """Those of the search and of the estimator in it."""
    best = candidate_rows(grid, trials_of(grid))[grid.best_index_]

    own = reproduction(grid, best, *iris)

    assert {"sk_tune", "python", "torch", "scikit-learn", "numpy"} <= set(own.versions)
    assert own.seeds["estimator__net__random_state"] == "0"
    assert own.seeds["cv.random_state"] == "1"
    assert own.cv == "StratifiedKFold(n_splits=3, random_state=1, shuffle=True)"
    assert own.data["X"].startswith("shape (150, 4), float64, sha256 ")


def test_the_code_makes_the_best_candidate(grid, iris):
    """Run as it stands, it predicts as the search does."""
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    import sk_tune

    best = candidate_rows(grid, trials_of(grid))[grid.best_index_]
    own = reproduction(grid, best, *iris)
    # The estimator alone, because the search trains candidates that fail.
    code = own.code.replace("search.fit(X, y)", "")
    code = code.replace("clone(search", "model = clone(search")
    names = {
        **{name: getattr(sk_tune, name) for name in ("GridSearchCV", "MLPClassifier")},
        "clone": clone,
        "Pipeline": Pipeline,
        "StandardScaler": StandardScaler,
        "StratifiedKFold": StratifiedKFold,
        "X": iris.X,
        "y": iris.y,
    }

    exec(code, names)

    np.testing.assert_allclose(
        names["model"].predict_proba(iris.X), grid.predict_proba(iris.X), atol=1e-6
    )


def test_the_hash_is_of_the_values():
    """Not of how they lie in memory; of their type, shape and order."""
    X = np.arange(6.0).reshape(2, 3)

    same = data_fingerprint(X)

    assert data_fingerprint(np.asfortranarray(X)) == same
    assert data_fingerprint(X[:, ::-1][:, ::-1]) == same
    for other in (X.astype(np.float32), X.T, X[::-1], X + 1e-9):
        assert data_fingerprint(other) != same


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_tables_have_a_hash(make):
    """Of their columns' names too; types are counted."""
    table = make({"a": [1, 2], "b": ["x", "y"]})

    text = data_fingerprint(table)

    assert text.startswith("shape (2, 2), 1 int64, 1 ")
    assert text == data_fingerprint(make({"a": [1, 2], "b": ["x", "y"]}))
    assert text != data_fingerprint(make({"a": [1, 2], "c": ["x", "y"]}))
    assert text != data_fingerprint(make({"a": [1, 2], "b": ["x", "z"]}))


def test_other_containers_have_a_hash():
    """Sparse matrices, lists of texts, and columns whose cells cannot be hashed."""
    matrix = sparse.csr_array(np.eye(3))

    assert data_fingerprint(matrix).startswith("shape (3, 3), sparse float64")
    assert data_fingerprint(["a", "b"]) != data_fingerprint(["a", "c"])
    lists = pd.DataFrame({"a": [[1], [2]]})
    assert data_fingerprint(lists) == data_fingerprint(lists.copy())
