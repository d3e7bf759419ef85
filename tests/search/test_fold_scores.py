"""Scores by folds."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from sk_tune._metric import scorer_metric
from sk_tune.search import FoldScores

N = 60
FOLDS = np.arange(N) % 3 == np.arange(3)[:, np.newaxis]
CLASSES = np.array(["a", "b"])


def _scores(name, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.random((2, N))
    y = CLASSES[rng.integers(2, size=N)]
    metric = scorer_metric(name)
    predictions = np.stack([1 - p, p], axis=2)
    return FoldScores(metric, predictions, y, classes=CLASSES, folds=FOLDS), y, p


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("roc_auc", roc_auc_score),
        ("accuracy", lambda y, p: accuracy_score(y, CLASSES[(p > 0.5).astype(int)])),
        (
            "f1_macro",
            lambda y, p: f1_score(y, CLASSES[(p > 0.5).astype(int)], average="macro"),
        ),
    ],
)
def test_a_fold_has_the_score_of_its_own_samples(name, score):
    """Whether the metric is made of sums or has to be called."""
    own, y, p = _scores(name)

    expected = [[score(y[held], one[held]) for one in p] for held in FOLDS]

    assert own.on_all() == pytest.approx(np.array(expected))
    assert own.needs_calls == (name == "f1_macro")


@pytest.mark.parametrize("name", ["roc_auc", "f1_macro"])
def test_resamples_are_about_the_mean_over_folds(name):
    """They scatter more than means of all samples, of which each has 37 %."""
    own, _, _ = _scores(name)

    means = own.on_resamples(200, np.random.default_rng(0))

    assert means.shape == (200, 2)
    assert means.mean(axis=0) == pytest.approx(own.on_all().mean(axis=0), abs=0.04)
    assert (means.std(axis=0) > 0.03).all()


def test_a_metric_that_is_called_is_called_for_fifty_resamples_whatever_the_time():
    """Of fewer no interval could be made."""
    own, _, _ = _scores("f1_macro")

    assert len(own.on_resamples(300, np.random.default_rng(0), seconds=0.0)) == 50


def test_a_fold_without_a_class_has_no_area():
    """It is left out of the mean of a resample."""
    y = CLASSES[(np.arange(N) % 3 == 0) * (np.arange(N) % 2)]
    p = np.linspace(0, 1, N)
    predictions = np.stack([1 - p, p], axis=1)[np.newaxis]
    metric = scorer_metric("roc_auc")

    own = FoldScores(metric, predictions, y, classes=CLASSES, folds=FOLDS)

    assert np.isnan(own.on_all()[:, 0]).tolist() == [False, True, True]
    assert np.isfinite(own.on_resamples(20, np.random.default_rng(0))).all()
