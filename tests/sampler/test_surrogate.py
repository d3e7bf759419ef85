"""Predictions of models, against scikit-optimize and scikit-learn."""

import os

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from sk_tune._sampler import BoostedQuantiles
from sk_tune._sampler._surrogate import GaussianProcess, other, quiet_and_single, surrogate

RNG = np.random.RandomState


@pytest.fixture(autouse=True)
def _quiet():
    """Fit as samplers do, which let no ConvergenceWarning out."""
    with quiet_and_single():
        yield


@pytest.fixture
def data():
    """25 rows of three features with a smooth score of mean 0 and deviation 1."""
    X = RNG(0).uniform(size=(25, 3))
    y = np.sin(4 * X[:, 0]) + X[:, 1] ** 2
    return X, (y - y.mean()) / y.std()


@pytest.fixture
def pool():
    """40 other rows."""
    return RNG(1).uniform(size=(40, 3))


def test_a_gaussian_process_predicts_like_scikit_optimize(data, pool):
    """Mean, deviation and covariance equal the fitted regressor."""
    surrogate = GaussianProcess(RNG(0))
    surrogate.fit(*data)
    belief = surrogate.believe(pool)
    mean, std = surrogate._model.predict(pool, return_std=True)
    _, covariance = surrogate._model.predict(pool, return_cov=True)

    np.testing.assert_allclose(belief.mean, mean, atol=1e-8)
    # With the inverse of the kernel, scikit-optimize loses digits of small variances.
    np.testing.assert_allclose(belief.std, std, atol=1e-4)
    np.testing.assert_allclose(belief.std**2, np.diag(covariance), atol=1e-8)
    np.testing.assert_allclose(belief.covariance(7), covariance[7], atol=1e-8)
    assert belief.noise > 0


def test_later_fits_of_a_process_are_as_likely_as_fresh_ones(data):
    """Starting from the last kernel does not lower the likelihood."""
    X, y = data
    surrogate = GaussianProcess(RNG(0))
    for n_rows in (10, 15, 20, 25):
        surrogate.fit(X[:n_rows], y[:n_rows])
    fresh = GaussianProcess(RNG(1))
    fresh.fit(X, y)

    likelihood = surrogate._model.log_marginal_likelihood_value_

    assert likelihood >= fresh._model.log_marginal_likelihood_value_ - 0.5


@pytest.mark.parametrize("kind", ["ET", "RF"])
def test_trees_predict_like_scikit_optimize(kind, data, pool):
    """Mean and deviation equal the fitted forest."""
    forest = surrogate(kind, None, RNG(0))
    forest.fit(*data)
    belief = forest.believe(pool)
    mean, std = forest._model.predict(pool, return_std=True)

    np.testing.assert_allclose(belief.mean, mean, atol=1e-6)
    np.testing.assert_allclose(belief.std, std, atol=1e-6)


@pytest.mark.parametrize(
    "surrogate",
    [
        GaussianProcess(RNG(0)),
        surrogate("ET", None, RNG(0)),
        surrogate("RF", None, RNG(0)),
        other(GaussianProcessRegressor(RBF(0.3), optimizer=None), RNG(0)),
    ],
    ids=["GP", "ET", "RF", "other"],
)
def test_covariances_are_positive_semidefinite(surrogate, data, pool):
    """The matrix is symmetric, has variances on its diagonal, no eigenvalue below 0."""
    surrogate.fit(*data)
    belief = surrogate.believe(pool)
    matrix = np.stack([belief.covariance(row) for row in range(len(pool))])

    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    np.testing.assert_allclose(np.diag(matrix), belief.std**2, atol=1e-9)
    assert np.linalg.eigvalsh(matrix).min() > -1e-8


def test_a_users_regressor_is_cloned_and_seeded(data):
    """The user's object stays unfitted and unseeded."""
    given = GaussianProcessRegressor()
    surrogate = other(given, RNG(0))
    surrogate.fit(*data)

    assert not hasattr(given, "X_train_")
    assert given.random_state is None
    assert surrogate._model.random_state is not None


@pytest.mark.parametrize("regressor", ["DUMMY", LogisticRegression(), 3])
def test_what_is_no_regressor_is_refused(regressor):
    """scikit-optimize's broken names too, in scikit-learn's wording."""
    with pytest.raises(ValueError, match="'base_estimator' parameter of BayesSampler"):
        other(regressor, RNG(0))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one thread is all there is")
def test_matrix_kernels_use_one_thread_in_the_block():
    """BLAS is held to one thread inside, and has its threads back after."""

    def n_threads():
        return [
            lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"
        ]

    with threadpool_limits(2, user_api="blas"):
        with quiet_and_single():
            inside = n_threads()
        after = n_threads()

    assert set(inside) == {1}
    assert set(after) == {2}


def test_boosted_quantiles_know_the_noise():
    """On normal noise, the deviation is the noise's, within a fifth."""
    rng = np.random.RandomState(0)
    X = rng.uniform(size=(2000, 1))
    y = 2 * X[:, 0] + 0.3 * rng.normal(size=2000)

    mean, std = BoostedQuantiles(random_state=0).fit(X, y).predict(X, return_std=True)

    assert np.abs(mean - 2 * X[:, 0]).mean() < 0.1
    assert abs(np.median(std) - 0.3) < 0.06
