"""Greedy selection against a direct reading of the paper, and what it must hold to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_tune.ensemble._greedy import GreedyOptions, greedy_weights
from sk_tune.ensemble._objective import RowObjective

SQUARED = RowObjective(kind="squared")
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
    """On the rows that choose, one bag has no more loss than the best candidate."""
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
    """Equal generators give equal weights, and bags of rows spread the weight."""
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


def test_bags_of_many_rows_are_smaller():
    """A bag has at most 5,000 rows, and chooses what all rows would."""
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
