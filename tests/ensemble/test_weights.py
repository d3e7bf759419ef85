"""Losses that ensembles are chosen by, greedy selection, and the stacker."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    make_scorer,
    mean_squared_error,
    roc_auc_score,
)

from sk_tune.ensemble._weights import (
    STRENGTHS,
    GreedyOptions,
    MetricObjective,
    SampleObjective,
    greedy_weights,
    make_objective,
    stacked_weights,
    tuned_stacked_weights,
)

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


def test_the_error_of_a_mean_over_samples_is_that_of_paired_differences(make_library):
    """The standard error is the deviation of sample differences over the root of N."""
    library = make_library()
    objective = make_objective(None, library.y, LABELS)
    first, second = objective.statistics(library.predictions, library.y)[:2]

    difference, error = objective.difference(first, second, library.y)

    rows = np.log(second) - np.log(first)
    assert difference == pytest.approx(rows.mean())
    assert error == pytest.approx(rows.std(ddof=1) / np.sqrt(len(rows)))


def test_the_jackknife_agrees_with_the_error_of_a_mean(make_library):
    """For a metric that is a mean over samples blocks give about the same error."""
    library = make_library(n_rows=2000)
    by_rows = SampleObjective(kind="zero_one")
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


def test_samples_that_lack_a_class_are_scored_by_the_others(make_library):
    """A metric that wants to see every class gets the columns of those that there are."""
    library = make_library()
    objective = make_objective("roc_auc_ovr", library.y, LABELS)
    some = library.take(library.y != 1)

    for loss, own in zip(losses_of(objective, some), some.predictions, strict=True):
        two = own[:, 2] / (own[:, 0] + own[:, 2])
        assert loss == pytest.approx(-roc_auc_score(some.y == 2, two))


def test_samples_of_one_class_make_no_difference(make_library):
    """Where the metric says nothing, all candidates are alike."""
    library = make_library()
    objective = make_objective("roc_auc_ovr", library.y, LABELS)
    some = library.take(library.y == 1)

    assert losses_of(objective, some).tolist() == [0.0] * len(library.candidates)


SQUARED = SampleObjective(kind="squared")
PLAIN = GreedyOptions(max_rounds=30, n_start=1, min_gain=0.0, n_bags=1)


def plain_selection(predictions, y, n_rounds):
    """Return the weights of the best ensemble on the greedy path (Caruana 2004, 2.1)."""

    def loss(chosen):
        return np.mean((predictions[chosen].mean(axis=0) - y) ** 2)

    chosen = [min(range(len(predictions)), key=lambda i: loss([i]))]
    best = list(chosen)
    for _ in range(n_rounds):
        chosen.append(min(range(len(predictions)), key=lambda i: loss([*chosen, i])))
        if loss(chosen) < loss(best):
            best = list(chosen)
    return np.bincount(best, minlength=len(predictions)) / len(best)


@pytest.mark.parametrize("seed", range(5))
def test_one_bag_is_the_selection_of_the_paper(make_library, seed):
    """Without bags and with one to start from, the path is that of the paper."""
    library = make_library(is_classification=False, seed=seed)

    weights = greedy_weights(
        library.predictions, library.y, SQUARED, PLAIN, np.random.default_rng(0)
    )

    expected = plain_selection(library.predictions, library.y, 30)
    np.testing.assert_allclose(weights, expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n_bags=st.integers(1, 4), n_start=st.integers(1, 8))
def test_weights_are_an_average(seed, n_bags, n_start):
    """Weights are not negative and sum to 1, whatever the options."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=40)
    predictions = y + rng.normal(size=(5, 40))
    options = GreedyOptions(max_rounds=10, n_start=n_start, min_gain=0.5, n_bags=n_bags)

    weights = greedy_weights(predictions, y, SQUARED, options, rng)

    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


def test_it_is_never_worse_than_the_best_candidate(make_library):
    """On the samples that choose, one bag has no more loss than the best candidate."""
    for seed in range(10):
        library = make_library(is_classification=False, seed=seed)
        weights = greedy_weights(
            library.predictions, library.y, SQUARED, PLAIN, np.random.default_rng(0)
        )
        losses = SQUARED.losses(library.predictions, library.y)
        own = SQUARED.losses((weights @ library.predictions)[None], library.y)[0]

        assert own <= losses.min() + 1e-12


def test_copies_of_one_candidate_get_nothing():
    """Of candidates that predict alike only the first is chosen."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=50)
    predictions = np.repeat((y + rng.normal(size=50))[None], 4, axis=0)

    weights = greedy_weights(predictions, y, SQUARED, PLAIN, rng)

    np.testing.assert_array_equal(weights, [1, 0, 0, 0])


def test_a_gain_within_its_error_is_no_gain():
    """A candidate that helps by chance only is taken with no minimum, and not with one."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=200)
    good = y + 0.5 * rng.normal(size=200)
    # As good as the other but for nearly the same errors.
    alike = good + 0.02 * rng.normal(size=200)
    predictions = np.stack([good, alike])
    strict = GreedyOptions(max_rounds=30, n_start=1, min_gain=4.0, n_bags=1)

    free = greedy_weights(predictions, y, SQUARED, PLAIN, rng)
    held = greedy_weights(predictions, y, SQUARED, strict, rng)

    assert np.count_nonzero(held) == 1
    assert SQUARED.losses((free @ predictions)[None], y) <= SQUARED.losses(
        (held @ predictions)[None], y
    )


def test_the_start_is_the_best_prefix():
    """With as many to start from as there are, equal good ones start together."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=4000)
    good = y + rng.normal(size=(3, 4000))
    bad = y + 10 * rng.normal(size=(2, 4000))
    options = GreedyOptions(max_rounds=1, n_start=5, min_gain=50.0, n_bags=1)

    weights = greedy_weights(np.concatenate([bad, good]), y, SQUARED, options, rng)

    np.testing.assert_allclose(weights, [0, 0, 1 / 3, 1 / 3, 1 / 3])


def test_bags_are_drawn_from_the_generator(make_library):
    """Equal generators give equal weights, and bags of samples spread the weight."""
    library = make_library(is_classification=False)
    options = GreedyOptions(max_rounds=30, n_start=1, min_gain=0.0, n_bags=20)

    first, second = (
        greedy_weights(
            library.predictions, library.y, SQUARED, options, np.random.default_rng(3)
        )
        for _ in range(2)
    )
    one = greedy_weights(
        library.predictions, library.y, SQUARED, PLAIN, np.random.default_rng(3)
    )

    np.testing.assert_array_equal(first, second)
    assert np.count_nonzero(first) >= np.count_nonzero(one)


def test_bags_of_many_samples_are_smaller():
    """A bag has at most 5,000 samples, and chooses what all samples would."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=20_000)
    predictions = y + np.array([[0.5], [0.5], [5.0]]) * rng.normal(size=(3, 20_000))
    sizes = []

    class Watched:
        def losses(self, statistics, y):
            sizes.append(len(y))
            return SQUARED.losses(statistics, y)

    options = GreedyOptions(max_rounds=5, n_start=1, min_gain=0.0, n_bags=3)
    weights = greedy_weights(predictions, y, Watched(), options, rng)

    assert set(sizes) == {5000}
    np.testing.assert_allclose(weights[:2], 0.5, atol=0.1)
    assert weights[2] < 0.02


LOG = SampleObjective(kind="log_loss")


def test_squared_error_is_that_of_constrained_least_squares(make_library):
    """Weights equal those of non-negative least squares with a sample for their sum."""
    library = make_library(is_classification=False)
    weights = stacked_weights(library.predictions, library.y, SQUARED, 0.0)

    # A sample of great weight holds the sum at 1.
    big = 1e5
    A = np.vstack([library.predictions.T, big * np.ones((1, len(library.predictions)))])
    expected = nnls(A, np.append(library.y, big))[0]
    np.testing.assert_allclose(weights, expected, atol=2e-3)


@pytest.mark.parametrize("strength", [0.0, 0.1])
def test_log_loss_is_at_its_minimum(make_library, strength):
    """Where a weight is positive all slopes are equal, elsewhere they are greater."""
    library = make_library()
    p = library.predictions[:, np.arange(len(library.y)), library.y]
    weights = stacked_weights(library.predictions, library.y, LOG, strength)

    unit = -np.log(p.mean(axis=0)).mean()
    slopes = -(p / (weights @ p)).mean(axis=1) / unit
    slopes += 2 * strength * (weights - 1 / len(p))
    least = slopes[weights > 0].min()
    np.testing.assert_allclose(slopes[weights > 0], least, atol=2e-2)
    assert (slopes[weights == 0] >= least - 2e-2).all()


def test_a_strong_pull_gives_equal_weights(make_library):
    """The penalty is on the distance from equal weights."""
    library = make_library(is_classification=False)
    weights = stacked_weights(library.predictions, library.y, SQUARED, 1e6)

    np.testing.assert_allclose(weights, 1 / 6, atol=1e-4)


def test_labels_have_their_own_log_losses():
    """Of a perfect and a useless candidate for labels the perfect one is taken."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(100, 2)).astype(float)
    good, bad = np.where(y > 0.5, 0.9, 0.1), np.full(y.shape, 0.5)

    weights = stacked_weights(
        np.stack([bad, good]), y, SampleObjective(kind="label_log_loss"), 0.0
    )

    np.testing.assert_allclose(weights, [0, 1], atol=1e-3)


def test_the_strength_is_one_of_the_listed(make_library):
    """Weights are those of the strength that is best on held-out parts."""
    library = make_library(is_classification=False, n_rows=40, n_candidates=10)
    tuned = tuned_stacked_weights(
        library.predictions, library.y, library.part, SQUARED, SQUARED
    )

    listed = [
        stacked_weights(library.predictions, library.y, SQUARED, strength)
        for strength in STRENGTHS
    ]
    assert any(np.array_equal(tuned, weights) for weights in listed)


def test_one_part_is_cut_in_two(make_library):
    """With one fold only there are still samples to choose the strength by."""
    library = make_library(is_classification=False, n_parts=1)
    weights = tuned_stacked_weights(
        library.predictions, library.y, library.part, SQUARED, SQUARED
    )

    assert weights.sum() == pytest.approx(1)


def test_a_lone_candidate_has_all_weight(make_library):
    """There is nothing to choose from one."""
    library = make_library(1, is_classification=False)
    weights = tuned_stacked_weights(
        library.predictions, library.y, library.part, SQUARED, SQUARED
    )

    np.testing.assert_array_equal(weights, [1])
