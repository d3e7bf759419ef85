"""Digests of data: every value, type and name counts, and nothing of how they lie."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sk_tune.engine._digest import data_digest, value_digest

A = np.arange(12, dtype=np.float64).reshape(4, 3)


def _digest(data):
    return data_digest(data, value_digest)


def _payload(bits):
    return np.array([bits], dtype=np.uint64).view(np.float64)


def _frame(column, **options):
    return pd.DataFrame({"a": pd.Series(column, **options)})


def _categories(values, categories, ordered=None):
    return _frame(pd.Categorical(values, categories=categories, ordered=ordered))


DIFFERENT = {
    "values": (A, A + 1),
    "types": (A, A.astype(np.float32)),
    "order of bytes": (A, A.astype(">f8")),
    "shapes": (A, A.reshape(3, 4)),
    "signs of zero": (np.array([0.0]), np.array([-0.0])),
    "bits of NaN": (_payload(0x7FF8000000000000), _payload(0x7FF8000000000001)),
    "units of time": (
        np.array([1], dtype="M8[s]"),
        np.array([1], dtype="M8[ms]"),
    ),
    "fields of records": (
        np.zeros(2, dtype=[("a", "i4"), ("b", "i4")]),
        np.zeros(2, dtype=[("b", "i4"), ("a", "i4")]),
    ),
    "masks": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    "objects": (np.array([1, "1"], dtype=object), np.array(["1", "1"], dtype=object)),
    "missing objects": (np.array([None, 1], object), np.array([np.nan, 1], object)),
    "cuts between texts": (np.array(["ab", "c"], object), np.array(["a", "bc"], object)),
    "tensors": (torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16)),
    "gradients": (torch.zeros(2), torch.zeros(2, requires_grad=True)),
    "names of columns": (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    "types of names": (pd.DataFrame({0: [1]}), pd.DataFrame({"0": [1]})),
    "order of columns": (
        pd.DataFrame({"a": [1], "b": [1]}),
        pd.DataFrame({"b": [1], "a": [1]}),
    ),
    "types of columns": (_frame([1, 2]), _frame([1, 2], dtype="Int64")),
    "small columns": (_frame([1], dtype="int8"), _frame([1], dtype="int16")),
    "columns of objects": (
        _frame([1, "a"], dtype=object),
        _frame(["1", "a"], dtype=object),
    ),
    "missing in columns of objects": (
        _frame([None, "a"], dtype=object),
        _frame([np.nan, "a"], dtype=object),
    ),
    "missing numbers": (
        _frame([1, None], dtype="Int64"),
        _frame([1, 0], dtype="Int64"),
    ),
    "large whole numbers": (
        _frame([2**60, None], dtype="Int64"),
        _frame([2**60 + 1, None], dtype="Int64"),
    ),
    "categories": (_categories(["x"], ["x", "y"]), _categories(["x"], ["x", "z"])),
    "order of categories": (_categories(["x"], ["x", "y"]), _categories(["x"], ["y", "x"])),
    "ordered categories": (
        _categories(["x"], ["x", "y"], ordered=False),
        _categories(["x"], ["x", "y"], ordered=True),
    ),
    "zones of time": (
        _frame(pd.DatetimeIndex(["2026-01-01"], tz="UTC")),
        _frame(pd.DatetimeIndex(["2026-01-01"], tz="Europe/Berlin")),
    ),
    "intervals": (
        _frame(pd.arrays.IntervalArray.from_breaks([0, 1])),
        _frame(pd.arrays.IntervalArray.from_breaks([0, 2])),
    ),
    "names of series": (pd.Series([1], name="a"), pd.Series([1], name="b")),
    "frames and series": (_frame([1]), pd.Series([1], name="a")),
    "frames and arrays": (_frame([1]), np.array([[1]])),
    "values of polars": (pl.DataFrame({"a": [1, None]}), pl.DataFrame({"a": [1, 0]})),
    "places of polars' nulls": (
        pl.DataFrame({"a": [1, None]}),
        pl.DataFrame({"a": [None, 1]}),
    ),
    "large numbers of polars": (
        pl.DataFrame({"a": [2**60, None]}),
        pl.DataFrame({"a": [2**60 + 1, None]}),
    ),
    "polars and pandas": (pl.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})),
    "series of polars": (pl.Series("a", [1]), pl.Series("a", [2])),
    "tables": (pa.table({"a": [1]}), pa.table({"a": [2]})),
    "sparse values": (scipy.sparse.csr_array(A), scipy.sparse.csr_array(A + 1)),
    "sparse types": (scipy.sparse.csr_array(A), scipy.sparse.csr_matrix(A)),
    "sparse shapes": (
        scipy.sparse.csr_array((2, 3)),
        scipy.sparse.csr_array((3, 2)),
    ),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_different_data_differ(pair):
    """Of each pair."""
    one, other = map(_digest, pair)

    assert None not in {one, other}
    assert one != other


def _memmap(folder):
    path = folder / "data"
    mapped = np.memmap(path, dtype=A.dtype, shape=A.shape, mode="w+")
    mapped[:] = A
    mapped.flush()
    return np.memmap(path, dtype=A.dtype, shape=A.shape, mode="r")


EQUAL = {
    "columns first": (A, np.asfortranarray(A)),
    "every other row": (A, np.repeat(A, 2, axis=0)[::2]),
    "backwards": (A, np.ascontiguousarray(A[::-1])[::-1]),
    "read-only": (A, np.frombuffer(A.tobytes()).reshape(A.shape)),
    "transposed tensors": (torch.arange(4).view(2, 2), torch.tensor([[0, 2], [1, 3]]).T),
    "empty arrays": (np.empty((0, 3)), np.empty((0, 3))),
    "empty tensors": (torch.empty(0, 3), torch.empty(0, 3)),
    "no dimension": (np.array(3.0), np.array(3.0)),
    "rows of a frame": (_frame([1, 2]), _frame([1, 2]).set_index(np.array([5, 6]))),
    "texts": (_frame(["a", None]), _frame(["a", np.nan])),
    "dates": (
        _frame(pd.DatetimeIndex(["2026-01-01", None], tz="UTC")),
        _frame(pd.DatetimeIndex(["2026-01-01", None], tz="UTC")),
    ),
    "arrow's types": (
        _frame([1, None], dtype="int64[pyarrow]"),
        _frame([1, None], dtype="int64[pyarrow]"),
    ),
    "sparse memory": (scipy.sparse.csr_array(A), scipy.sparse.csr_array(A.copy())),
    "sparse order": (
        scipy.sparse.csr_array(([1.0, 2.0], [0, 1], [0, 2]), shape=(1, 2)),
        scipy.sparse.csr_array(([2.0, 1.0], [1, 0], [0, 2]), shape=(1, 2)),
    ),
    "types of sparse indices": (
        scipy.sparse.csr_array(([1.0], ([0], [1])), shape=(2, 2)),
        scipy.sparse.csr_array(
            ([1.0], np.array([1], np.int64), np.array([0, 1, 1], np.int64)), shape=(2, 2)
        ),
    ),
}


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_equal_data_have_equal_digests(pair):
    """However they lie in memory, and whatever index a frame has."""
    one, other = map(_digest, pair)

    assert one is not None
    assert one == other


def test_sparse_data_stay_as_they_are():
    """Entries of one place are added up in a copy."""
    data = scipy.sparse.coo_array((np.ones(2), (np.zeros(2, dtype=int),)), shape=(3,))

    assert _digest(data) is not None
    assert data.nnz == 2


def test_a_memmap_is_an_array(tmp_path):
    """joblib sends large arrays as such to workers."""
    assert _digest(_memmap(tmp_path)) == _digest(A)


def test_what_is_no_data_has_no_digest():
    """It is for others to read."""
    assert [_digest(value) for value in (None, 3, [1, 2], {"a": 1}, object())] == [None] * 5


FLOATS = arrays(np.float64, st.integers(0, 4), elements=st.floats(width=64))


@given(FLOATS, FLOATS)
def test_digests_of_arrays_are_equal_if_all_bytes_are(one, other):
    """Neither NaN nor the sign of zero is an exception."""
    assert (_digest(one) == _digest(other)) == (one.tobytes() == other.tobytes())


TEXTS = st.lists(st.none() | st.text() | st.integers(), max_size=4)


@given(TEXTS, TEXTS)
def test_digests_of_columns_of_objects_are_equal_if_all_values_are(one, other):
    """With their types."""
    one_digest, other_digest = (_digest(_frame(v, dtype=object)) for v in (one, other))

    assert (one_digest == other_digest) == (one == other)
