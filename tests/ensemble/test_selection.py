"""Choosing, and a score that the choice has not flattered."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, r2_score

from sk_tune.ensemble._greedy import GreedyOptions
from sk_tune.ensemble._library import Library
from sk_tune.ensemble._selection import Choice, Selector

GREEDY = GreedyOptions(max_rounds=20, n_start=5, min_gain=0.0, n_bags=3)


def make(library, **options):
    defaults = {
        "method": "greedy",
        "scoring": None,
        "greedy": GREEDY,
        "n_best": None,
        "calibrate": False,
        "random_state": 0,
    }
    return Selector(library, **{**defaults, **options})


every_method = pytest.mark.parametrize("method", ["greedy", "stack", "average"])


@every_method
def test_a_choice_of_independent_candidates_is_better_than_the_best(make_library, method):
    """Candidates that err independently average to less loss on other rows."""
    library = make_library(n_rows=600)
    inside = np.arange(600) < 300

    choice = make(library.take(inside), method=method).choose(library.take(inside))

    fresh = library.take(~inside)
    own = log_loss(fresh.y, choice.combine(fresh.predictions))
    alone = [log_loss(fresh.y, p) for p in fresh.predictions]
    assert own < min(alone)
    assert choice.weights.sum() == pytest.approx(1)
    assert (choice.weights >= 0).all()


@every_method
def test_no_row_is_predicted_by_a_choice_that_saw_it(make_library, method):
    """Labels of a part do not change what is predicted for this part."""
    library = make_library()
    own = library.part == 2
    y = library.y.copy()
    y[own] = (y[own] + 1) % 3

    before = make(library, method=method, calibrate=True).select()
    after = make(replace(library, y=y), method=method, calibrate=True).select()

    np.testing.assert_array_equal(before.predictions[own], after.predictions[own])
    assert not np.array_equal(before.predictions[~own], after.predictions[~own])


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        (None, lambda y, p: -log_loss(y, p)),
        ("accuracy", lambda y, p: accuracy_score(y, p.argmax(axis=1))),
    ],
)
def test_the_score_is_that_of_the_held_out_predictions(make_library, scoring, expected):
    """The score is the metric of predictions by choices on other rows, with an interval."""
    library = make_library()
    found = make(library, scoring=scoring).select()

    assert found.score.score == pytest.approx(expected(library.y, found.predictions))
    assert found.score.low < found.score.score < found.score.high
    assert str(found.score).startswith(f"{found.score.score:.3f} [")


def test_the_score_of_a_regressor_may_be_r2(make_library):
    """What is chosen by squared error is reported as the R^2 that was asked for."""
    library = make_library(is_classification=False)
    found = make(library, scoring="r2").select()

    assert found.score.score == pytest.approx(r2_score(library.y, found.predictions))


def test_the_interval_holds_the_score_on_new_rows(make_library):
    """Of 95 % intervals at most a few of 40 miss the score on very many rows."""
    n_inside = 0
    for seed in range(40):
        library = make_library(n_rows=5200, seed=seed)
        known = library.take(np.arange(200))
        found = make(known).select()
        fresh = library.take(np.arange(200, 5200))
        true = -log_loss(fresh.y, found.choice.combine(fresh.predictions))
        n_inside += found.score.low <= true <= found.score.high

    # With a chance of 0.95 each, 33 or fewer of 40 have a probability below 0.001.
    assert n_inside > 33


@every_method
def test_candidates_without_information_score_at_chance(method):
    """Over repetitions the score of choices from 30 guessers is that of a guess."""
    scores, naive = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        y = rng.integers(2, size=200)
        first = rng.uniform(0.05, 0.95, size=(30, 200))
        predictions = np.stack([first, 1 - first], axis=2)
        library = Library(
            candidates=np.arange(30),
            predictions=predictions,
            y=y,
            part=np.arange(200) % 5,
            classes=np.array([0, 1]),
        )
        selector = make(library, method=method, scoring="accuracy")
        found = selector.select()
        scores.append(found.score.score)
        own = found.choice.combine(predictions).argmax(axis=1)
        naive.append(accuracy_score(y, own))

    # The standard error of 40 means of 200 rows is 0.0056.
    assert abs(np.mean(scores) - 0.5) < 0.02
    assert np.mean(naive) > 0.53


def test_only_the_best_may_be_chosen(make_library):
    """With two best of six, no other candidate gets a weight."""
    library = make_library(is_classification=False)
    choice = make(library, n_best=2).choose(library)

    # The noise of candidates grows with their place.
    assert set(np.flatnonzero(choice.weights)) <= {0, 1}


def test_an_average_is_of_equal_weights(make_library):
    """The method "average" gives the best candidates equal weights, the others none."""
    library = make_library(noise=3.0)
    weights = make(library, method="average").choose(library).weights

    members = weights[weights > 0]
    np.testing.assert_allclose(members, 1 / len(members))


def test_a_temperature_is_applied_to_the_average():
    """Averaged probabilities are scaled; with temperature 1 they stay what they are."""
    predictions = np.array([[[0.9, 0.1]], [[0.7, 0.3]]])
    weights = np.array([0.5, 0.5])

    plain = Choice(weights=weights, temperature=1.0).combine(predictions)
    hot = Choice(weights=weights, temperature=2.0).combine(predictions)

    np.testing.assert_allclose(plain, [[0.8, 0.2]])
    # The root of the odds 4 is 2.
    np.testing.assert_allclose(hot, [[2 / 3, 1 / 3]])


def test_calibration_lowers_the_loss_of_overconfident_candidates(make_library):
    """Probabilities that are too sure get a temperature above 1 and a better score."""
    library = make_library(1, noise=2.5)
    sharp = library.predictions**3
    library = replace(library, predictions=sharp / sharp.sum(axis=2, keepdims=True))

    plain = make(library).select()
    scaled = make(library, calibrate=True).select()

    assert plain.choice.temperature == 1
    assert scaled.choice.temperature > 1
    assert scaled.score.score > plain.score.score
