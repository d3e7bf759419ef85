"""Pools and greedy batches, against closed forms and refitted processes."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.random import RandomState
from scipy.stats import norm, uniform
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from sk_tune._sampler._bayes import (
    ACQUISITIONS,
    Hedge,
    candidate_pool,
    greedy_batch,
    neighbours,
)
from sk_tune._space import Choice, as_space

RNG = np.random.RandomState


def test_acquisitions_are_the_textbooks():
    """EI, PI and the confidence bound by their formulas, for losses."""
    mean, std, y_opt = np.array([-1.0, 0.5]), np.array([0.5, 2.0]), 0.2
    xi, kappa = 0.1, 2.5
    z = (y_opt - xi - mean) / std
    expected = {
        "EI": std * (z * norm.cdf(z) + norm.pdf(z)),
        "PI": norm.cdf(z),
        "LCB": kappa * std - mean,
    }

    assert set(expected) == set(ACQUISITIONS)
    for name, value in expected.items():
        np.testing.assert_allclose(ACQUISITIONS[name](mean, std, y_opt, xi, kappa), value)


class ExactBelief:
    """A process with a fixed kernel, by scikit-learn."""

    noise = 1e-6

    def __init__(self, X, y, pool):
        kernel = RBF(0.2, "fixed")
        self.model = GaussianProcessRegressor(kernel, alpha=self.noise, optimizer=None)
        self.model.fit(X, y)
        self.mean, covariance = self.model.predict(pool, return_cov=True)
        self.std = np.sqrt(np.maximum(np.diag(covariance), 0))
        self.matrix = covariance

    def covariance(self, row):
        return self.matrix[row]


def _expected_improvement(mean, std, y_opt):
    return ACQUISITIONS["EI"](mean, std, y_opt, 0.0, 1.96)


def test_a_batch_is_that_of_a_process_refitted_with_its_own_predictions():
    """Conditioning in closed form makes the choices of the Kriging believer."""
    rng = RNG(0)
    X, pool = rng.uniform(size=(8, 2)), rng.uniform(size=(60, 2))
    y = np.sin(5 * X[:, 0]) + np.cos(5 * X[:, 1])

    rows = greedy_batch(
        ExactBelief(X, y, pool),
        _expected_improvement,
        float(y.min()),
        5,
        is_taken=lambda row: False,
        pending=range(2),
    )

    known_X, known_y, expected = X, y, []
    for chosen in [0, 1, *rows]:
        belief = ExactBelief(known_X, known_y, pool)
        if len(known_y) >= len(y) + 2:
            value = _expected_improvement(belief.mean, belief.std, known_y.min())
            value[expected] = -np.inf
            expected.append(int(np.argmax(value)))
        known_X = np.concatenate([known_X, pool[chosen : chosen + 1]])
        known_y = np.append(known_y, belief.mean[chosen])
    assert rows == expected


def test_rows_that_are_taken_are_passed_over():
    """A batch ends when the pool has no row left."""
    rng = RNG(0)
    X, pool = rng.uniform(size=(4, 1)), rng.uniform(size=(6, 1))

    rows = greedy_batch(
        ExactBelief(X, X[:, 0], pool),
        _expected_improvement,
        0.0,
        10,
        is_taken=lambda row: row % 2 == 1,
        pending=range(0),
    )

    assert sorted(rows) == [0, 2, 4]


SPACE = as_space({
    "lr": (0.0, 1.0),
    "n": (1, 5),
    "net": Choice({"cnn": {"kernel": [3, 5, 7]}, "mlp": {"drop": uniform(0, 0.5)}}),
})


def test_neighbours_are_candidates_that_differ_a_little():
    """Every neighbour is of the space; most parameters stay, some of each kind change."""
    centre = SPACE.encode([{"lr": 0.5, "n": 3, "net": "mlp", "drop": 0.25}])

    codes = neighbours(SPACE, centre, 400, 0.05, RNG(0))
    candidates = SPACE.decode(codes)

    np.testing.assert_allclose(SPACE.encode(candidates), codes)
    changed = codes != centre
    assert changed.any(axis=0).all()
    assert changed[:, 0].mean() < 0.7
    # A normal step of 0.05 stays below 0.3 except once in a billion.
    assert np.abs(codes[:, 0] - 0.5).max() < 0.3
    # A parameter that comes into being is drawn at random.
    assert {c["kernel"] for c in candidates if c["net"] == "cnn"} == {3, 5, 7}


def test_a_pool_comes_close_to_the_best_there_is():
    """For a function with one maximum, a row of the pool is within a hundredth of it."""
    space = as_space({"x": (0.0, 1.0), "y": (0.0, 1.0), "z": (0.0, 1.0)})
    top = np.array([0.31, 0.72, 0.0])

    pool = candidate_pool(
        space,
        space.random_codes(3, RNG(0)),
        lambda codes: -((codes - top) ** 2).sum(axis=1),
        RNG(0),
    )

    assert np.sqrt(((pool - top) ** 2).sum(axis=1)).min() == pytest.approx(0, abs=0.01)


def model_that_expects(losses):
    """Return a model that believes in a loss for each nominee."""
    return SimpleNamespace(believe=lambda X: SimpleNamespace(mean=np.array(losses)))


def nominate(hedge):
    """Let each function name a row of its own."""
    order = {"EI": 0, "LCB": 1, "PI": 2}
    hedge.nominate(np.eye(3), None, lambda name, belief: np.eye(3)[order[name]])


def test_gains_are_the_negated_losses_expected_of_the_nominees():
    """Summed over batches, as in Algorithm 2 of Hoffman et al."""
    hedge = Hedge(RandomState(0))
    for losses in ([1.0, 2.0, 3.0], [0.5, -1.0, 0.0]):
        nominate(hedge)
        hedge.choose(model_that_expects(losses))

    np.testing.assert_allclose(hedge.gains, [-1.5, -1.0, -3.0])


def test_functions_are_drawn_by_the_softmax_of_their_gains():
    """Frequencies of 4,000 draws are within four standard errors of the odds."""
    hedge = Hedge(RandomState(0))
    nominate(hedge)
    hedge.choose(model_that_expects([0.0, 1.0, 2.0]))

    drawn = [hedge.choose(None) for _ in range(4000)]

    odds = np.exp([0.0, -1.0, -2.0]) / np.exp([0.0, -1.0, -2.0]).sum()
    found = np.array([drawn.count(name) for name in ("EI", "LCB", "PI")]) / 4000
    assert np.all(np.abs(found - odds) < 4 * np.sqrt(odds * (1 - odds) / 4000))


def test_a_batch_without_news_keeps_the_gains():
    """Nominees count once, however often a function is chosen."""
    hedge = Hedge(RandomState(0))
    nominate(hedge)
    for _ in range(3):
        hedge.choose(model_that_expects([1.0, 1.0, 4.0]))

    np.testing.assert_allclose(hedge.gains, [-1.0, -1.0, -4.0])
