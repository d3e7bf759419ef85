"""Reproduction of a search: versions, seeds, folds, data and code."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import loguniform, randint, uniform
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss, make_scorer
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skopt.space import Categorical, Integer, Real
from skorch.callbacks import EarlyStopping, LRScheduler

from sk_tune import BayesSearchCV, MLPClassifier, NetClassifier, RandomizedSearchCV
from sk_tune._augment import Noise
from sk_tune._report import data_description, fit_code
from sk_tune._report._gathering import gather
from sk_tune._space import Choice


def import_lines(value):
    """Return the lines before the empty line in front of the code."""
    lines = fit_code(value, "made").splitlines()
    return lines[: lines.index("")]


def python_text(value):
    """Return the code between the name and the call of fit."""
    code = fit_code(value, "made").partition("made = ")[2]
    return code.removesuffix("\nmade.fit(X, y)")


class Holder(BaseEstimator):
    """An estimator with a nested object."""

    def __init__(self, part=None):
        self.part = part


def test_a_report_has_all_that_reproduction_needs(grid, iris):
    """The best candidate's code predicts as the search does."""
    found = gather(grid, *iris).reproduction

    assert {"sk_tune", "python", "torch", "scikit-learn", "numpy"} <= set(found.versions)
    assert found.seeds["estimator__net__random_state"] == "0"
    assert found.seeds["cv.random_state"] == "1"
    assert found.cv == "StratifiedKFold(n_splits=3, random_state=1, shuffle=True)"
    assert found.data["X"].startswith("shape (150, 4), float64, sha256 ")
    # The estimator alone, because the search trains candidates that fail.
    code = found.code.replace("search.fit(X, y)", "")
    script = {"X": iris.X, "y": iris.y}
    exec(code.replace("clone(search", "model = clone(search"), script)
    np.testing.assert_allclose(
        script["model"].predict_proba(iris.X), grid.predict_proba(iris.X), atol=1e-6
    )


def test_the_code_of_a_report_runs_as_it_is(iris):
    """In a script with X and y, it gives the same candidates and scores."""
    net = make_pipeline(StandardScaler(), MLPClassifier(max_epochs=2, random_state=0))
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    options = {"n_iter": 2, "cv": folds, "random_state": 0}
    name = "mlpclassifier__learning_rate"
    for search in (
        RandomizedSearchCV(net, {name: loguniform(1e-3, 1e-1)}, **options),
        BayesSearchCV(net, {name: Real(1e-3, 1e-1, prior="log-uniform")}, **options),
    ):
        search.fit(*iris)
        script = {"X": iris.X, "y": iris.y}

        exec(gather(search).reproduction.code, script)

        assert script["search"].best_params_ == search.best_params_
        assert script["search"].best_score_ == search.best_score_


def test_the_code_passes_groups_and_weights_to_fit(iris):
    """As the fit did."""
    net = MLPClassifier(max_epochs=1, random_state=0)
    search = RandomizedSearchCV(net, {"width": [4]}, n_iter=1, cv=GroupKFold(2))
    values = np.arange(len(iris.y)) // 2

    by_group = search.fit(*iris, groups=values)
    code = gather(by_group).reproduction.code
    weighted = gather(search.fit(*iris, groups=values, sample_weight=values))

    assert "search.fit(X, y, groups=groups)" in code
    assert "fit(X, y, sample_weight=sample_weight, groups=" in weighted.reproduction.code


def test_the_hash_depends_on_values_only():
    """On type, shape and order, but not on the layout in memory."""
    X = np.arange(6.0).reshape(2, 3)

    same = data_description(X)

    assert data_description(np.asfortranarray(X)) == same
    assert data_description(X[:, ::-1][:, ::-1]) == same
    for other in (X.astype(np.float32), X.T, X[::-1], X + 1e-9):
        assert data_description(other) != same
    assert data_description(sparse.csr_array(np.eye(3))).startswith("shape (3, 3), sparse")
    assert data_description(["a", "b"]) != data_description(["a", "c"])


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_tables_have_a_hash(make):
    """It includes column names; types are counted, cells may be unhashable."""
    text = data_description(make({"a": [1, 2], "b": ["x", "y"]}))

    assert text.startswith("shape (2, 2), 1 int64, 1 ")
    assert text == data_description(make({"a": [1, 2], "b": ["x", "y"]}))
    assert text != data_description(make({"a": [1, 2], "c": ["x", "y"]}))
    assert text != data_description(make({"a": [1, 2], "b": ["x", "z"]}))
    lists = {"a": [[1], [2]]}
    assert data_description(make(lists)) == data_description(make(lists))


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
    """With any nesting and line breaks."""
    assert eval(python_text(value), {"inf": np.inf}) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (FunctionTransformer(str.lower), "FunctionTransformer(func=lower)"),
        # Estimators by what differs from their defaults, a parameter a line if it is long.
        (
            Pipeline([
                ("scale", StandardScaler(with_mean=False)),
                ("model", LogisticRegression(C=np.float64(0.5), max_iter=2000)),
            ]),
            "Pipeline(\n"
            "    steps=[\n"
            "        ('scale', StandardScaler(with_mean=False)),\n"
            "        ('model', LogisticRegression(C=0.5, max_iter=2000)),\n"
            "    ],\n"
            ")",
        ),
        # Distributions by their arguments, not by their address.
        (loguniform(1e-3, 1), "loguniform(0.001, 1)"),
        (uniform(loc=0, scale=0.5), "uniform(loc=0, scale=0.5)"),
        (randint(1, 9), "randint(1, 9)"),
        (Choice({"s": {"m": [0.5]}, "a": {}}), "Choice({'s': {'m': [0.5]}, 'a': {}})"),
        (np.tanh, "tanh"),
        (StandardScaler, "StandardScaler"),
        ((1,), "(1,)"),
        (object(), "<object object>"),
    ],
)
def test_spaces_and_objects_are_written_as_code(value, text):
    """As constructor calls, or as text without addresses."""
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
        *("array", "matrix", "score", "loss", "ufunc", "numpy function", "callbacks"),
        *("many categories", "weighted categories"),
    ],
)
def test_the_code_of_parts_of_searches_runs(value):
    """With the listed imports, it makes equal objects."""
    names = {}

    exec("\n".join(import_lines(value)), names)
    made = eval(python_text(value), names)

    assert python_text(made) == python_text(value)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(made, value)
    if isinstance(value, Categorical):
        assert (made.categories, made.prior) == (value.categories, value.prior)


def test_recursive_estimators_are_written():
    """Defaults are compared no deeper than parameters are written."""
    holder = Holder()
    holder.part = holder

    assert python_text(holder).split()[:3] == ["Holder(", "part=Holder(", "part=Holder("]
    assert "..." in python_text(holder)
    assert len(import_lines([holder, FunctionTransformer()])) == 2


def test_long_lists_are_wrapped_and_cut():
    """Also recursive lists."""
    circle: list = []
    circle.append(circle)

    text = python_text({"names": [f"column {k}" for k in range(20)]})

    assert text.count("\n") == 7
    assert max(map(len, text.splitlines())) <= 80
    assert python_text(list(range(1000))).count(",") < 70
    assert "..." in python_text(circle)
    assert import_lines([circle, FunctionTransformer()]) == [
        "from sklearn.preprocessing import FunctionTransformer"
    ]


def test_names_are_imported_from_public_modules():
    """Not from the private modules that define them."""
    net = NetClassifier(torch.nn.Linear, augmentation=[Noise(0.1)])
    space = [
        {"width": randint(1, 9)},
        {"a": Choice({"b": {"c": loguniform(1, 2)}}), "d": [1, 2, None, "text"]},
        {"e": Real(0.1, 1.0), "f": Integer(1, 3), "g": np.arange(3)},
    ]

    assert import_lines([make_pipeline(StandardScaler(), net), space]) == [
        "from scipy.stats import loguniform, randint",
        "from sk_tune import Choice, NetClassifier",
        "from sk_tune.augment import Noise",
        "from sklearn.pipeline import Pipeline",
        "from sklearn.preprocessing import StandardScaler",
        "from skopt.space import Integer, Real",
        "from torch.nn import Linear",
    ]
