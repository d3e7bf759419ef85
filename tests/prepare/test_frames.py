"""Tables of any library as tables of pandas."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sk_tune.prepare._frames import as_pandas

COLUMNS = {"a": [1.5, 2.0], "b": ["x", "y"], "c": [True, False]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_tables_keep_their_values(make):
    """And the order of their columns."""
    own = as_pandas(make(COLUMNS))

    assert own.to_dict("list") == COLUMNS


def test_missing_values_of_arrow_stay_missing():
    """Also of a dictionary; what pandas noted in the file is a column like others."""
    towns = pa.array(["A", "B", None, "C"]).dictionary_encode()
    source = pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="key"))

    own = as_pandas(pa.table({"town": towns, "n": pa.array([1, None, 3, 4])}))

    assert own["town"].isna().tolist() == [False, False, True, False]
    assert own["town"].astype(object).tolist()[:2] == ["A", "B"]
    assert own["n"].isna().tolist() == [False, True, False, False]
    assert as_pandas(pa.Table.from_pandas(source)).columns.tolist() == ["a", "key"]


def test_texts_of_polars_take_no_more_than_they_are():
    """One long text among many would else make all as long."""
    own = as_pandas(pl.DataFrame({"a": ["x", "y" * 1000]}))

    assert own["a"].to_numpy().dtype == object


@pytest.mark.parametrize("column", [pd.Series([1, 2]), pl.Series([1, 2])])
def test_a_column_is_a_table_of_one(column):
    """A target, for example."""
    assert as_pandas(column).to_numpy().tolist() == [[1], [2]]


def test_a_table_of_pandas_is_not_copied():
    """It may be large."""
    table = pd.DataFrame(COLUMNS)

    assert as_pandas(table) is table


@pytest.mark.parametrize("values", [[1, 2], np.eye(2), None, "text"])
def test_what_is_no_table_is_none(values):
    """Arrays and lists are taken as they are."""
    assert as_pandas(values) is None
