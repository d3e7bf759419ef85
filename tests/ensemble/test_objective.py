"""Losses that ensembles are chosen by."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    make_scorer,
    mean_squared_error,
    roc_auc_score,
)

from sk_tune.ensemble._objective import MetricObjective, RowObjective, make_objective

LABELS = np.array(["a", "b", "c"])


def losses_of(objective, library):
    statistics = objective.statistics(library.predictions, library.y)
    return objective.losses(statistics, library.y)


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        (None, lambda y, p: log_loss(y, p)),
        ("neg_log_loss", lambda y, p: log_loss(y, p)),
        ("accuracy", lambda y, p: 1 - accuracy_score(y, p.argmax(axis=1))),
        ("roc_auc_ovr", lambda y, p: -roc_auc_score(y, p, multi_class="ovr")),
    ],
)
def test_losses_of_classifiers_are_those_of_scikit_learn(make_library, scoring, expected):
    """Log loss, one minus accuracy, and the negative of any other score."""
    library = make_library()
    objective = make_objective(scoring, library.y, LABELS)

    for loss, own in zip(losses_of(objective, library), library.predictions, strict=True):
        assert loss == pytest.approx(expected(library.y, own), abs=1e-12)


@pytest.mark.parametrize(
    "scoring",
    [None, "r2", "neg_mean_squared_error", "neg_root_mean_squared_error"],
)
def test_r2_and_squared_errors_choose_alike(make_library, scoring):
    """R^2 and the root order as the squared error does, which is cheaper."""
    library = make_library(is_classification=False)
    objective = make_objective(scoring, library.y, None)

    for loss, own in zip(losses_of(objective, library), library.predictions, strict=True):
        assert loss == pytest.approx(mean_squared_error(library.y, own))


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc_ovr", "neg_log_loss"])
def test_an_exact_objective_is_the_negative_score(make_library, scoring):
    """What is reported is in the units of the scorer."""
    library = make_library()
    objective = make_objective(scoring, library.y, LABELS, is_exact=True)
    expected = {
        "accuracy": lambda y, p: accuracy_score(y, p.argmax(axis=1)),
        "roc_auc_ovr": lambda y, p: roc_auc_score(y, p, multi_class="ovr"),
        "neg_log_loss": lambda y, p: -log_loss(y, p),
    }[scoring]

    score = -losses_of(objective, library)[0]
    assert score == pytest.approx(expected(library.y, library.predictions[0]))


def test_the_loss_of_labels_is_the_mean_of_their_log_losses():
    """A multilabel problem has a log loss for each label."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(50, 3)).astype(float)
    predictions = rng.uniform(0.1, 0.9, size=(2, 50, 3))
    objective = make_objective(None, y, np.empty(0))

    losses = objective.losses(objective.statistics(predictions, y), y)

    for loss, own in zip(losses, predictions, strict=True):
        expected = [log_loss(y[:, i], own[:, i]) for i in range(3)]
        assert loss == pytest.approx(np.mean(expected))


def test_the_error_of_a_mean_over_rows_is_that_of_paired_differences(make_library):
    """The standard error is the deviation of row differences over the root of N."""
    library = make_library()
    objective = make_objective(None, library.y, LABELS)
    first, second = objective.statistics(library.predictions, library.y)[:2]

    difference, error = objective.difference(first, second, library.y)

    rows = np.log(second) - np.log(first)
    assert difference == pytest.approx(rows.mean())
    assert error == pytest.approx(rows.std(ddof=1) / np.sqrt(len(rows)))


def test_the_jackknife_agrees_with_the_error_of_a_mean(make_library):
    """For a metric that is a mean over rows blocks give about the same error."""
    library = make_library(n_rows=2000)
    by_rows = RowObjective(kind="zero_one")
    metric = make_objective("accuracy", library.y, LABELS, is_exact=True)
    assert isinstance(metric, MetricObjective)

    loss, error = metric.estimate(library.predictions[0], library.y)
    expected_loss, expected = by_rows.estimate(library.predictions[0], library.y)

    assert loss == pytest.approx(expected_loss - 1)
    # Twenty blocks estimate a deviation to 1 / sqrt(40) = 16 %; three times that.
    assert error == pytest.approx(expected, rel=0.5)


def test_a_metric_without_a_function_is_refused(make_library):
    """A callable of (estimator, X, y) cannot score averaged predictions."""
    library = make_library()

    with pytest.raises(ValueError, match="'scoring' parameter must be"):
        make_objective(lambda estimator, X, y: 0.0, library.y, LABELS)


def test_options_of_a_metric_are_kept(make_library):
    """A scorer with options is called with them."""
    library = make_library()
    scorer = make_scorer(accuracy_score, normalize=False)
    objective = make_objective(scorer, library.y, LABELS)

    right = accuracy_score(library.y, library.predictions[0].argmax(1), normalize=False)
    assert -losses_of(objective, library)[0] == right


def test_rows_that_lack_a_class_are_scored_by_the_others(make_library):
    """A metric that wants to see every class gets the columns of those that there are."""
    library = make_library()
    objective = make_objective("roc_auc_ovr", library.y, LABELS)
    some = library.take(library.y != 1)

    for loss, own in zip(losses_of(objective, some), some.predictions, strict=True):
        two = own[:, 2] / (own[:, 0] + own[:, 2])
        assert loss == pytest.approx(-roc_auc_score(some.y == 2, two))


def test_rows_of_one_class_make_no_difference(make_library):
    """Where the metric says nothing, all candidates are alike."""
    library = make_library()
    objective = make_objective("roc_auc_ovr", library.y, LABELS)
    some = library.take(library.y == 1)

    assert losses_of(objective, some).tolist() == [0.0] * len(library.candidates)
