"""Libraries of candidates, and a search that was fitted once."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from sk_tune import GridSearchCV
from sk_tune._ensemble import Library


@pytest.fixture(scope="session")
def make_library():
    """Return a function that makes candidates with independent errors."""

    def make(
        n_candidates=6, n_rows=300, *, noise=1.0, is_classification=True, seed=0, n_parts=5
    ):
        rng = np.random.default_rng(seed)
        part = np.arange(n_rows) % n_parts
        if not is_classification:
            y = rng.normal(size=n_rows)
            spread = noise * np.linspace(0.5, 1.5, n_candidates)[:, None]
            predictions = y + spread * rng.normal(size=(n_candidates, n_rows))
            classes = None
        else:
            y = rng.integers(3, size=n_rows)
            logits = 2 * np.eye(3)[y] + noise * rng.normal(size=(n_candidates, n_rows, 3))
            predictions = np.exp(logits)
            predictions /= predictions.sum(axis=2, keepdims=True)
            classes = np.array(["a", "b", "c"])
        return Library(
            candidates=np.arange(n_candidates) + 10,
            predictions=predictions,
            y=y,
            part=part,
            classes=classes,
        )

    return make


GRID = {"learning_rate": [0.001, 0.01, 0.03], "dropout": [0.0, 0.3]}


@pytest.fixture(scope="session")
def search(make_estimator, iris):
    """Six networks on three folds, all kept, in float64."""
    net = make_estimator("MLPClassifier", dtype="float64")
    cv = StratifiedKFold(3, shuffle=True, random_state=1)
    return GridSearchCV(net, GRID, cv=cv, keep_models="all").fit(*iris)
