"""A report as text and JSON, and numbers and parameters as text."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sk_tune.report import to_json, to_text
from sk_tune.report._value_texts import number_text, plain, value_text


def test_the_text_begins_with_the_answer(grid):
    """Then come scores, findings, the best candidates and the ledger."""
    text = to_text(grid)

    head, answer = text.split("\n\n")[:2]
    assert head == "GridSearchCV over StandardScaler → MLPClassifier"
    assert answer.startswith(
        f"The best of 6 candidates is row {grid.best_index_} of cv_results_."
    )
    assert "best, corrected" in text
    assert "epochs trained" in text
    assert max(map(len, answer.splitlines())) <= 88


def test_json_has_the_results_in_full(hyperband):
    """A program reads the same numbers that the search has."""
    content = json.loads(to_json(hyperband))

    scores = [row["score"] for row in content["candidates"]]
    assert scores == hyperband.cv_results_["mean_test_score"].tolist()
    assert content["best"]["row"] == hyperband.best_index_
    assert content["corrected"]["score"] == hyperband.corrected_score_.score
    assert content["ledger"]["epochs_trained"] == hyperband.ledger_.epochs_trained
    assert len(content["curves"]["train_loss"]) == 3


def test_what_json_lacks_is_null_or_text(hostile, grid):
    """Objects, failed scores and markup."""
    content = json.loads(to_json(hostile))
    shown = [row["params"]["scale"] for row in content["candidates"]]
    assert shown[0] == "StandardScaler()"

    failed = [row for row in json.loads(to_json(grid))["candidates"] if row["reason"]]
    assert [row["score"] for row in failed] == [None, None]


class Broken:
    """An object that cannot show itself."""

    def __repr__(self):
        raise OSError


@given(st.floats(-1e300, 1e300), st.integers(2, 6))
def test_a_number_reads_back_to_its_digits(value, digits):
    """What is shown differs from the value by less than its last digit."""
    shown = float(number_text(value, digits))

    assert shown == pytest.approx(value, rel=0.5 * 10.0 ** (1 - digits), abs=1e-320)


@given(st.floats(1, 999_999) | st.floats(-999_999, -1), st.integers(2, 6))
@example(9999.7, 4)
def test_usual_numbers_have_no_exponent(value, digits):
    """Scores of thousands are read at a glance."""
    assert "e" not in number_text(value, digits)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (np.bool_(False), "False"),
        (np.int64(12), "12"),
        (np.float32(0.5), "0.5"),
        (math.nan, "n/a"),
        ("a\n b", "a b"),
        (np.tanh, "tanh"),
        (np.ndarray, "ndarray"),
        (Broken(), "<Broken without repr: OSError>"),
        ([1] * 99, "[" + "1, " * 26 + "…"),
    ],
)
def test_values_are_one_short_line(value, text):
    """Whatever a parameter is, its cell is readable."""
    assert value_text(value) == text


def test_json_takes_what_plain_returns():
    """Arrays, numpy numbers, infinities, records and objects all have a form."""
    value = {
        1: np.arange(2),
        "a": [np.float64(math.inf), (np.bool_(True), None)],
        "b": Broken(),
    }

    text = json.dumps(plain(value), allow_nan=False)

    assert json.loads(text) == {
        "1": [0, 1],
        "a": [None, [True, None]],
        "b": "<Broken without repr: OSError>",
    }
