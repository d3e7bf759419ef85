"""Batches of a history as columns, and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.engine._store import history_from_columns, history_to_columns

NAMES = st.sampled_from(["train_loss", "train_batch_size", "event_lr", "batches"])
VALUES = st.none() | st.integers() | st.floats(allow_nan=False) | st.text()
BATCHES = st.lists(st.dictionaries(NAMES, VALUES))
RECORDS = st.dictionaries(st.sampled_from(["epoch", "dur"]), VALUES)
HISTORIES = st.lists(
    st.builds(
        lambda record, batches: {**record, **batches},
        RECORDS,
        st.fixed_dictionaries({}, optional={"batches": BATCHES}),
    )
)


@given(history=HISTORIES)
def test_a_history_comes_back_as_it_was(history):
    """Values, names and their order."""
    columns = history_to_columns(history)

    again = history_from_columns(columns)

    assert again == history
    assert json.dumps(again) == json.dumps(history)


def test_names_are_written_once_for_a_run_of_batches():
    """Batches to train on, and those to validate on."""
    batches = [{"train_loss": 0.1 * i, "size": 32} for i in range(9)]
    batches += [{"valid_loss": 0.2 * i, "size": 32} for i in range(3)]

    (record,) = history_to_columns([{"epoch": 1, "batches": batches}])

    assert [list(run) for run in record["batches"]] == [
        ["train_loss", "size"],
        ["valid_loss", "size"],
    ]
    assert [len(run["size"]) for run in record["batches"]] == [9, 3]


def test_columns_of_different_lengths_are_refused():
    """No such thing was ever written."""
    damaged = [{"batches": [{"train_loss": [0.1, 0.2], "size": [32]}]}]

    with pytest.raises(ValueError, match="shorter"):
        history_from_columns(damaged)
