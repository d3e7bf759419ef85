# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Curves with known findings, and searches without training."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sk_tune import MLPClassifier, diagnose
from sk_tune._diagnosis import Curves


class FakeSearch(SimpleNamespace):
    """An object with the attributes of a fitted search of sk_tune."""

    learning_curves_ = None


def table_of(*candidates):
    """Return learning curves of candidates as the table of a search."""
    names = ("train_loss", "valid_loss", "valid_score")
    return pd.DataFrame([
        {"result_row": c, "fold": fold, "epoch": epoch + 1}
        | {name: getattr(curves, name)[fold, epoch] for name in names}
        for c, curves in enumerate(candidates)
        for fold in range(curves.n_folds)
        for epoch in range(curves.n_epochs)
    ])


def curve_table(losses, n_folds=2, n_epochs=4):
    """Return the table of candidates with constant losses."""
    flat = [np.full((n_folds, n_epochs), loss) for loss in losses]
    return table_of(*(Curves(train_loss=f, valid_loss=f, valid_score=-f) for f in flat))


@pytest.fixture
def rng():
    """A new generator for each test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def make_search() -> Any:
    """Return a function that makes an object with the attributes of a fitted search."""

    def make(params: list[dict[str, Any]], scores: Any, **rest: Any) -> FakeSearch:
        scores = np.asarray(scores, dtype=float)
        results = {"params": params, **rest.pop("results", {})}
        results["mean_test_score"] = means = scores.mean(axis=1)
        for fold, column in enumerate(scores.T):
            results[f"split{fold}_test_score"] = column
        space = rest.pop("space", None) or {
            name: sorted({p[name] for p in params}) for name in params[0]
        }
        return FakeSearch(**{
            "cv_results_": results,
            "best_index_": int(np.nan_to_num(means, nan=-np.inf).argmax()),
            "n_splits_": scores.shape[1],
            "estimator": MLPClassifier(),
            "param_distributions": space,
            "learning_curves_": curve_table(1 - np.nan_to_num(means)),
            "held_out_rows_": None,
            **rest,
        })

    return make


def of_folds(train, valid, n_folds=5, spread=0.02, **rest):
    """Return curves of folds with slightly different held-out losses."""
    train, valid = np.asarray(train, float), np.asarray(valid, float)
    levels = 1 + spread * np.linspace(-1, 1, n_folds)[:, None]
    rest = {"baseline_loss": 1.0, "n_samples": 1000, **rest}
    return Curves(
        train_loss=np.tile(train, (n_folds, 1)),
        valid_loss=levels * valid,
        valid_score=1 - levels * valid,
        **rest,
    )


def healthy(n_epochs=30, **rest):
    """Both losses fall to a plateau; the held-out loss is a little higher."""
    t = np.arange(1, n_epochs + 1)
    return of_folds(
        0.2 + 0.7 * np.exp(-t * 6 / n_epochs),
        0.25 + 0.65 * np.exp(-t * 6 / n_epochs),
        **rest,
    )


def overfitting(n_epochs=30, **rest):
    """The training loss goes to 0, while the held-out loss turns after a third."""
    t = np.arange(1, n_epochs + 1)
    return of_folds(
        np.exp(-t * 6 / n_epochs),
        0.4 + 0.5 * np.exp(-t * 9 / n_epochs) + 0.6 * t / n_epochs,
        **rest,
    )


def underfitting(n_epochs=30, **rest):
    """Both losses stay at the same high level."""
    t = np.arange(1, n_epochs + 1)
    return of_folds(
        0.7 + 0.3 * np.exp(-t * 9 / n_epochs),
        0.71 + 0.3 * np.exp(-t * 9 / n_epochs),
        **rest,
    )


def improving(n_epochs=6, **rest):
    """Both losses fall by a power law and are far from converged."""
    t = np.arange(1, n_epochs + 1)
    return of_folds(0.8 * t**-0.7, 0.82 * t**-0.7, **rest)


def creeping(n_epochs=30, **rest):
    """Both losses fall slowly in a straight line."""
    t = np.arange(1, n_epochs + 1)
    return of_folds(1.02 - 0.1 * t / n_epochs, 1.02 - 0.1 * t / n_epochs, **rest)


def jumping(n_epochs=30, **rest):
    """The training loss jumps far above its start."""
    t = np.arange(1, n_epochs + 1)
    thrown = 0.8 + 0.4 * (t % 2) + 20 * np.exp(-t.astype(float))
    return of_folds(thrown, 1.2 * thrown, **rest)


def one_fold_apart(**rest):
    """Four folds are healthy, the third has twice their held-out loss."""
    curves = healthy(**rest)
    curves.valid_loss[2] *= 2
    curves.valid_score[2] = 1 - curves.valid_loss[2]
    return curves


def few_rows(**rest):
    """Forty rows, and folds that disagree strongly."""
    return healthy(spread=0.6, **{"n_samples": 40, **rest})


def no_signal(n_epochs=30, **rest):
    """The training loss falls; the held-out loss stays above the baseline."""
    t = np.arange(1, n_epochs + 1)
    return of_folds(1.02 - 0.4 * t / n_epochs, 1.02 + 0.2 * t / n_epochs, **rest)


def found(name, source, **options):
    """Return the finding of one check."""
    return next(f for f in diagnose(source, **options) if f.name == name)


@pytest.fixture(scope="session")
def shapes() -> SimpleNamespace:
    """Return functions that make curves with known findings, and that run one check."""
    makers = (
        found,
        table_of,
        curve_table,
        of_folds,
        healthy,
        overfitting,
        underfitting,
        improving,
        creeping,
        jumping,
        one_fold_apart,
        few_rows,
        no_signal,
    )
    return SimpleNamespace(**{make.__name__: make for make in makers})
