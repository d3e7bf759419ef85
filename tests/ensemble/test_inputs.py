"""Rows on their way into the networks of an ensemble."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from sk_tune.ensemble._groups import Member
from sk_tune.ensemble._inputs import Inputs, common_bases, ways_of


@pytest.fixture
def make_ways(make_estimator, iris):
    """Return a function that fits transformers and a network on some of the rows."""

    def make(steps, folds=(slice(0, None, 2), slice(1, None, 2)), **params):
        pipes = [
            make_pipeline(*steps(), make_estimator("MLPClassifier", **params)).fit(
                iris.X[rows], iris.y[rows]
            )
            for rows in folds
        ]
        members = [Member(pipe, 1.0) for pipe in pipes]
        return ways_of([pipe[-1] for pipe in pipes], members), pipes

    return make


def _base(ways):
    (base,) = common_bases(ways).values()
    return base


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ways_that_differ_by_scalers_have_a_base(make_ways, iris, dtype):
    """What the base gives leads to the input of each network, by scale and shift."""
    ways, pipes = make_ways(lambda: [StandardScaler()], dtype=dtype)
    base = _base(ways)

    scale, shift = base.relative(ways)
    rows = base(Inputs(iris.X))

    assert rows.dtype is getattr(torch, dtype)
    atol = 1e-6 if dtype == "float32" else 1e-13
    for k, pipe in enumerate(pipes):
        np.testing.assert_allclose(
            rows * scale[k] + shift[k], pipe[:-1].transform(iris.X), atol=atol
        )
        np.testing.assert_array_equal(
            ways[k](Inputs(iris.X)), pipe[:-1].transform(iris.X).astype(dtype)
        )


def test_other_transformers_in_front_must_be_equal(make_ways, iris):
    """Polynomials are the same in all folds, whitened ones are not."""
    ways, _ = make_ways(lambda: [PolynomialFeatures(), StandardScaler()])
    assert _base(ways).relative(ways) is not None
    assert _base(ways)(Inputs(iris.X)).shape == (150, 15)

    ways, _ = make_ways(lambda: [StandardScaler(), PolynomialFeatures(), StandardScaler()])
    assert len(common_bases(ways)) == 2
    assert common_bases(ways)[ways[0].head_key].relative(ways) is None


def test_scalers_far_from_each_other_have_no_base_in_common(make_ways, iris):
    """A shift by many deviations would cost digits."""
    _, pipes = make_ways(lambda: [StandardScaler()])
    pipes[1][0].mean_ = pipes[1][0].mean_ + 1000

    moved = ways_of([pipe[-1] for pipe in pipes], [Member(pipe, 1.0) for pipe in pipes])

    assert _base(moved).relative(moved) is None
    assert _base(moved).relative(moved[:1]) is not None


def test_equal_ways_are_gone_once(make_ways, iris):
    """Scalers that were fitted on the same rows have one key, and one result."""
    ways, _ = make_ways(lambda: [StandardScaler()], folds=(slice(None), slice(None)))
    inputs = Inputs(iris.X)

    assert ways[0].key == ways[1].key
    assert ways[0](inputs) is ways[1](inputs)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("missing", lambda X: np.where(np.arange(len(X))[:, None] == 3, np.nan, X)),
        ("infinite", lambda X: np.where(np.arange(len(X))[:, None] == 3, np.inf, X)),
        ("sparse", csr_array),
        ("objects", lambda X: X.astype(object)),
        ("half precision", lambda X: X.astype(np.float16)),
    ],
)
def test_rows_that_depend_on_the_scalers_code_have_no_base(make_ways, iris, kind, change):
    """Scikit-learn decides what becomes of them."""
    ways, _ = make_ways(lambda: [SimpleImputer(), StandardScaler()])

    assert _base(ways)(Inputs(change(iris.X))) is None


def test_float32_rows_are_scaled_in_float32_by_scikit_learn(make_ways, iris):
    """For networks in float64 that matters, for others it does not."""
    X = iris.X.astype(np.float32)
    wide, _ = make_ways(lambda: [StandardScaler()], dtype="float64")
    narrow, _ = make_ways(lambda: [StandardScaler()])

    assert _base(wide)(Inputs(X)) is None
    assert _base(narrow)(Inputs(X)) is not None


def test_rows_are_checked_as_the_first_scaler_would(make_ways, iris):
    """Frames with other columns, and rows of another width, are refused in its words."""
    ways, _ = make_ways(lambda: [StandardScaler()])
    base = _base(ways)

    with pytest.raises(ValueError, match="StandardScaler is expecting 4 features"):
        base(Inputs(iris.X[:, :3]))
    frame = pd.DataFrame(iris.X, columns=list("abcd"))
    with pytest.warns(UserWarning, match="fitted without feature names"):
        base(Inputs(frame))


def test_things_are_made_once():
    """The second time what was made is returned."""
    inputs, calls = Inputs(np.eye(3)), []

    for _ in range(2):
        assert inputs.made("a", lambda: calls.append(1)) is None

    assert calls == [1]
    np.testing.assert_array_equal(inputs.columns(np.array([2, 0])), np.eye(3)[:, [2, 0]])
    assert inputs.columns(None) is inputs.X
