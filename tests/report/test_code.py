"""Python that makes a search again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import loguniform, randint, uniform
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss, make_scorer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skopt.space import Categorical
from skorch.callbacks import EarlyStopping, LRScheduler

from sk_tune.report._value_texts import import_lines, python_text
from sk_tune.space import Choice

_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_plain)
def test_plain_values_read_back(value):
    """However they are nested and broken into lines."""
    assert eval(python_text(value), {"inf": np.inf}) == value


def test_an_estimator_is_written_by_what_differs_from_its_defaults():
    """A parameter a line where one line is too long."""
    model = Pipeline([
        ("scale", StandardScaler(with_mean=False)),
        ("model", LogisticRegression(C=np.float64(0.5), max_iter=2000)),
    ])

    text = python_text(model)

    assert text == (
        "Pipeline(\n"
        "    steps=[\n"
        "        ('scale', StandardScaler(with_mean=False)),\n"
        "        ('model', LogisticRegression(C=0.5, max_iter=2000)),\n"
        "    ],\n"
        ")"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (loguniform(1e-3, 1), "loguniform(0.001, 1)"),
        (uniform(loc=0, scale=0.5), "uniform(loc=0, scale=0.5)"),
        (randint(1, 9), "randint(1, 9)"),
        (
            Choice({"sgd": {"m": [0.5]}, "adam": {}}),
            "Choice({'sgd': {'m': [0.5]}, 'adam': {}})",
        ),
        (np.tanh, "tanh"),
        (StandardScaler, "StandardScaler"),
        ((1,), "(1,)"),
    ],
)
def test_spaces_and_objects_have_a_form(value, text):
    """Distributions by their arguments, not by their address."""
    assert python_text(value) == text


@pytest.mark.parametrize(
    "value",
    [
        np.logspace(-4, -1, 7),
        np.array([[1, 2], [3, 4]]),
        make_scorer(f1_score, average="macro", zero_division=0.0),
        make_scorer(log_loss, greater_is_better=False, response_method="predict_proba"),
        FunctionTransformer(np.log1p),
        FunctionTransformer(np.nan_to_num, kw_args={"nan": 1.0}),
        [EarlyStopping(patience=3), ("lr", LRScheduler("StepLR", step_size=2))],
        Categorical(list("abcdefghij")),
        Categorical([1, 2, 3], prior=[0.5, 0.25, 0.25]),
    ],
    ids=[
        "array",
        "matrix",
        "score",
        "loss",
        "ufunc",
        "numpy function",
        "callbacks",
        "many categories",
        "weighted categories",
    ],
)
def test_the_code_of_what_searches_are_made_of_runs(value):
    """With the imports that are given for it, and makes the same again."""
    names = {}

    exec("\n".join(import_lines(value)), names)
    made = eval(python_text(value), names)

    assert python_text(made) == python_text(value)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(made, value)
    if isinstance(value, Categorical):
        assert (made.categories, made.prior) == (value.categories, value.prior)


def test_plain_items_share_lines():
    """A list of names is no column of its own; addresses in memory are left out."""
    text = python_text({"names": [f"column {k}" for k in range(20)], "f": object()})

    assert text.count("\n") == 8
    assert max(map(len, text.splitlines())) <= 80
    assert text.endswith("    'f': <object object>,\n}")


def test_long_lists_are_cut_and_circles_end():
    """A page is no place for data."""
    circle: list = []
    circle.append(circle)

    assert python_text(list(range(1000))).count(",") < 70
    assert "..." in python_text(circle)
