"""Small problems for AutoML."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, StratifiedKFold

from sk_tune._automl import _models
from sk_tune._automl._models import network_models
from sk_tune._automl._problem import Problem


def mixed_frame(n=120, seed=0):
    """Return a table with all kinds of columns, and labels that depend on two of them."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    town = rng.choice(["Bern", "Köln", "Ulm"], n)
    frame = pd.DataFrame({
        "size": size,
        "town": town,
        "open": rng.random(n) < 0.5,
        "since": pd.date_range("2020-01-01", periods=n),
        "constant": 1,
    })
    frame.loc[::7, "size"] = np.nan
    frame.loc[::11, "town"] = None
    return frame, np.where(size + (town == "Ulm") > 0.3, "yes", "no")


@pytest.fixture
def mixed():
    """Return the frame and its labels."""
    return mixed_frame()


@pytest.fixture
def make_problem():
    """Return a function that makes a problem from a table."""

    def make(X, y, *, is_classification=True, n_folds=3, **changes):
        kind = StratifiedKFold if is_classification else KFold
        splitter = kind(n_folds, shuffle=True, random_state=0)
        return Problem(**{
            "X": X,
            "y": y,
            "kind": "table",
            "is_classification": is_classification,
            "folds": list(splitter.split(np.zeros(len(y)), y)),
            "scoring": None,
            "sample_weight": None,
            "seed": 0,
            **changes,
        })

    return make


@pytest.fixture
def few_linear(monkeypatch):
    """Train two linear models instead of fourteen."""
    monkeypatch.setattr(_models, "_REGULARISATION", [0.1, 1.0])
    monkeypatch.setattr(_models, "_LINEAR_NUMERIC", {})


@pytest.fixture(scope="session")
def small_network():
    """Return a function that makes a small network for a table, with six epochs."""

    def make(problem, **changes):
        model = replace(network_models(problem)[-1], is_fallback=False)
        model.estimator.set_params(net__width=8)
        space = {"net__dropout": [0.0, 0.2, 0.4]}
        return replace(model, space=space, most_resources=6, make=None, **changes)

    return make
