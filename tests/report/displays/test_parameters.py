"""Parameters as columns: values, scales, categories."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.report.displays._search_trials import (
    chosen_parameters,
    parameters_of,
    short_names,
)


def _column(values):
    return parameters_of([{"a": value} for value in values])[0]


@pytest.mark.parametrize(
    ("values", "is_log"),
    [
        ([1e-4, 1e-3, 1e-2], True),
        ([1e-3, 1e-1], True),
        ([8, 16, 32, 64], True),
        ([1, 2, 3], False),
        ([0.0, 0.25, 0.5], False),
        ([-10.0, 1.0, 100.0], False),
        (np.linspace(0.01, 0.5, 30), False),
        (np.geomspace(1e-5, 1.0, 30), True),
    ],
)
def test_the_scale_is_the_one_on_which_values_are_even(values, is_log):
    """Evenly drawn values are linear, those drawn evenly in the logarithm are not."""
    assert _column(values).is_log is is_log


def test_values_that_are_no_numbers_are_categories():
    """Numbers come first by size, then names; True is no number."""
    column = _column([None, 10, "auto", 2, None])
    truth = _column([True, False])

    assert column.categories == ("2", "10", "None", "auto")
    assert column.values.tolist() == [2.0, 1.0, 3.0, 0.0, 2.0]
    assert truth.categories == ("False", "True")


def test_values_that_cannot_be_hashed_or_have_long_texts_are_categories():
    """Lists, tuples, functions and estimators are told apart by their text."""
    column = _column([[1, 2], (3,), np.tanh])

    assert set(column.categories) == {"[1, 2]", "(3,)", "tanh"}


def test_a_parameter_that_some_lack_is_inactive_there():
    """Momentum exists only with sgd."""
    rows = [
        {"opt": "sgd", "momentum": 0.5},
        {"opt": "adamw"},
        {"opt": "sgd", "momentum": 0.9},
    ]

    momentum = next(p for p in parameters_of(rows) if p.name == "momentum")

    assert momentum.is_active.tolist() == [True, False, True]
    np.testing.assert_array_equal(momentum.codes, [0.0, np.nan, 1.0])


def test_what_does_not_vary_is_left_out_unless_nothing_does():
    """A single candidate keeps all its parameters."""
    rows = [{"a": 1, "b": 2}, {"a": 1, "b": 3}]

    assert [p.name for p in parameters_of(rows)] == ["b"]
    assert [p.name for p in parameters_of(rows[:1])] == ["a", "b"]


def test_names_lose_what_tells_nothing_apart():
    """The step's name stays where two steps have such a parameter."""
    names = ["pca__n", "net__n", "net__optimizer__lr", "net__width"]

    assert list(short_names(names).values()) == ["pca__n", "net__n", "lr", "width"]


@given(
    st.lists(st.text("ab_", min_size=1, max_size=8), min_size=1, max_size=6, unique=True)
)
def test_short_names_are_distinct_ends_of_the_names(names):
    """Whatever the names, labels do not collide."""
    short = short_names(names)

    assert len(set(short.values())) == len(names)
    assert all(name.endswith(label) for name, label in short.items())


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=20),
)
def test_codes_keep_the_order_of_values_within_0_and_1(values):
    """A scale never turns two values round."""
    column = _column(values)
    order = np.argsort(column.values, kind="stable")

    codes = column.codes[order]

    assert np.all(np.diff(codes) >= 0)
    assert codes.min() >= 0
    assert codes.max() <= 1


def test_logarithmic_codes_are_even_in_the_logarithm():
    """0.01 is in the middle of 0.0001 and 1."""
    np.testing.assert_allclose(_column([1e-4, 1e-2, 1.0]).codes, [0.0, 0.5, 1.0])


def test_a_user_may_choose_by_label_or_name():
    """An unknown name is refused with those that there are."""
    rows = [{"net__width": 8, "net__lr": 0.1}, {"net__width": 16, "net__lr": 0.2}]

    chosen = chosen_parameters(rows, ["lr", "net__width"])

    assert [p.name for p in chosen] == ["net__lr", "net__width"]
    with pytest.raises(ValueError, match=r"\['net__width', 'net__lr'\]. Got \['depth'\]"):
        chosen_parameters(rows, ["depth"])


def test_texts_of_values_have_three_digits():
    """Categories are themselves."""
    assert [_column([0.1, 1 / 3]).text(v) for v in (1 / 3, 12345.0)] == ["0.333", "1.2e+04"]
    assert _column(["a", "b"]).text(1.0) == "b"
