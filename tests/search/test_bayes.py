"""Bayesian search, and its results for scikit-optimize."""

import warnings

import numpy as np
import pytest
from scipy.stats import loguniform, uniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import KFold, StratifiedKFold
from skopt.space import Integer, Real
from skopt.utils import expected_minimum

from sk_tune import BayesSearchCV
from sk_tune._space import Choice
from sk_tune.exceptions import ParameterWarning
from sk_tune.sampler import BayesSampler

CV = StratifiedKFold(2, shuffle=True, random_state=1)


class Hill(ClassifierMixin, BaseEstimator):
    """Scores 1 at x = 0.3 and less elsewhere; fails on request."""

    def __init__(self, x=0.0, fails_below=-1.0):
        self.x = x
        self.fails_below = fails_below

    def fit(self, X, y):
        if self.x < self.fails_below:
            raise ArithmeticError("x is too small")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def score(self, X, y):
        return 1.0 - (self.x - 0.3) ** 2


def fit_with_failures(search, X, y):
    """Fit a search with expected failures and undefined scores."""
    with warnings.catch_warnings(action="ignore", category=FitFailedWarning):
        warnings.filterwarnings("ignore", message="One or more of the test scores")
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        search.fit(X, y)


def hill(**params):
    """Return a search on the hill."""
    settings = {"n_iter": 24, "cv": KFold(2), "random_state": 0, "n_points": 4, **params}
    settings.setdefault("search_spaces", {"x": (-1.0, 1.0)})
    return BayesSearchCV(Hill(fails_below=settings.pop("fails_below", -1.0)), **settings)


@pytest.mark.parametrize("sampler", ["bayes", "tpe"])
def test_the_model_comes_closer_to_the_top_than_chance(iris, sampler):
    """24 candidates of a model end within 0.05 of the best x."""
    search = hill(sampler=sampler).fit(*iris)

    assert abs(search.best_params_["x"] - 0.3) < 0.05
    last = [p["x"] for p in search.cv_results_["params"][-8:]]
    assert np.median(np.abs(np.array(last) - 0.3)) < 0.3


@pytest.mark.parametrize("n_points", [1, 4])
def test_failures_do_not_end_the_search(iris, n_points):
    """Half of the range fails; the model gets the worst score and continues."""
    search = hill(fails_below=0.0, n_points=n_points)
    fit_with_failures(search, *iris)

    failed = np.isnan(search.cv_results_["mean_test_score"])
    assert len(failed) == 24
    assert 0 < failed.sum() < 16
    assert all("x is too small" in r for r in search.cv_results_["failure_reason"][failed])
    assert abs(search.best_params_["x"] - 0.3) < 0.1


def test_any_kind_of_dimension_is_searched(net, iris):
    """Dimensions of scikit-optimize and scipy, short forms, tuples, conditions."""
    space = {
        "learning_rate": Real(1e-4, 1e-1, prior="log-uniform"),
        "batch_size": Integer(8, 32),
        "dropout": (0.0, 0.5),
        "weight_decay": loguniform(1e-6, 1e-2),
        "hidden_layer_sizes": [(4,), (6, 3)],
        "optimizer": Choice({"sgd": {"momentum": uniform(0, 0.9)}, "adamw": {}}),
    }
    search = BayesSearchCV(net, space, n_iter=14, n_points=7, cv=CV, random_state=0)

    search.fit(*iris)

    candidates = search.cv_results_["params"]
    assert len(candidates) == 14
    assert all(("momentum" in c) == (c["optimizer"] == "sgd") for c in candidates)
    assert all(c["hidden_layer_sizes"] in {(4,), (6, 3)} for c in candidates)
    assert all(
        type(c["batch_size"]) is int and 8 <= c["batch_size"] <= 32 for c in candidates
    )
    assert all(type(c["learning_rate"]) is float for c in candidates)


def test_each_dict_gets_its_own_number_of_candidates(iris):
    """As in scikit-optimize, (dict, n) asks for n candidates of that dict."""
    spaces = [({"x": (-1.0, 0.0)}, 3), {"x": (0.5, 1.0)}]

    search = BayesSearchCV(Hill(), spaces, n_iter=5, cv=KFold(2), random_state=0).fit(*iris)

    x = np.array([c["x"] for c in search.cv_results_["params"]])
    assert [(x <= 0).sum(), (x >= 0.5).sum()] == [3, 5]
    assert len(search.samplers_) == 2
    assert search.plan().n_candidates == 8


def test_a_finite_space_ends_the_search(iris):
    """Without repeated evaluations, and with the warning of a random search."""
    search = BayesSearchCV(Hill(), {"x": [0.0, 0.1, 0.2]}, n_iter=9, cv=KFold(2))
    with pytest.warns(ParameterWarning, match="has 3 candidates, fewer than n_iter=9"):
        search.fit(*iris)

    assert sorted(c["x"] for c in search.cv_results_["params"]) == [0.0, 0.1, 0.2]


def test_failures_of_several_rounds_give_one_warning_of_each_kind(iris):
    """scikit-learn's, which a single call gives once."""
    search = hill(n_iter=12, fails_below=0.0)

    with warnings.catch_warnings(record=True, action="always") as caught:
        search.fit(*iris)

    is_failed = np.isnan(search.cv_results_["mean_test_score"]).reshape(3, 4)
    assert is_failed.any(axis=1).sum() > 1
    messages = [str(warning.message) for warning in caught]
    assert sum("test scores are non-finite" in message for message in messages) == 1
    assert sum("fits failed out of a total of 24" in message for message in messages) == 1


def test_a_custom_sampler_asks_and_learns(iris):
    """It gets mean scores, NaN for failures, and earlier results."""

    class Listed:
        def __init__(self, space, random_state):
            self.names, self.seed, self.told = space.names, random_state, {}

        def ask(self, n_points):
            return [] if 0.3 in self.told else [{"x": 0.3}, {"x": -0.5}]

        def tell(self, candidates, scores):
            self.told |= {c["x"]: s for c, s in zip(candidates, scores, strict=True)}

    earlier = [({"x": 0.125}, 0.5), ({"x": 0.25}, 0.9)]
    search = BayesSearchCV(
        Hill(fails_below=0.0), {"x": (-1.0, 1.0)}, n_iter=9, cv=KFold(2),
        sampler=Listed, warm_start_from=earlier, random_state=7,
    )  # fmt: skip
    fit_with_failures(search, *iris)

    assert search.cv_results_["params"] == [{"x": x} for x in (0.25, 0.3, -0.5)]
    earlier = {0.125: 0.5, 0.25: pytest.approx(0.9975), 0.3: 1.0}
    (sampler,) = search.samplers_
    assert (sampler.names, sampler.seed) == (["x"], 7)
    assert sampler.told == {**earlier, -0.5: pytest.approx(np.nan, nan_ok=True)}


def test_one_of_several_metrics_guides_the_search(iris):
    """The model gets the metric that refit names."""
    scoring = {
        "above": lambda e, X, y: e.score(X, y),
        "below": lambda e, X, y: -e.score(X, y),
    }

    search = hill(scoring=scoring, refit="below").fit(*iris)

    assert np.median([p["x"] for p in search.cv_results_["params"][-8:]]) < -0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer_kwargs": {"n_random_starts": 3}}, "n_random_starts"),
        ({"optimizer_kwargs": {"acq_func": "nonsense"}}, "acq_func"),
        ({"n_points": 0}, "n_points"),
        ({"n_iter": 0}, "n_iter"),
    ],
)
def test_wrong_options_are_refused_by_name(iris, options, message):
    """Before any training."""
    with pytest.raises(ValueError, match=message):
        hill(**options).fit(*iris)


def test_options_of_scikit_optimize_reach_the_model(iris):
    """The model is trees, and the first five candidates are initial points."""
    search = hill(
        n_iter=8,
        optimizer_kwargs={
            "base_estimator": "ET",
            "acq_func_kwargs": {"xi": 0.1},
            "n_initial_points": 5,
        },
    ).fit(*iris)

    (sampler,) = search.samplers_
    assert (sampler.base_estimator, sampler.xi, sampler.n_initial_points) == ("ET", 0.1, 5)


def test_every_callback_is_called(iris):
    """If one returns true the search ends, but all callbacks get the round."""
    heard = []

    def stop(result):
        heard.append("first")
        return True

    hill(n_iter=8, n_points=4).fit(*iris, callback=[stop, lambda _: heard.append("second")])

    assert heard == ["first", "second"]


def test_invalid_callbacks_are_refused(iris):
    """As in scikit-optimize."""
    with pytest.raises(ValueError, match="list of callables"):
        hill().fit(*iris, callback="stop")


def test_a_callback_of_scikit_optimize_ends_the_search_of_its_dict(iris):
    """It gets the candidates of its dict so far; the next dict is searched anyway."""
    X, y = iris
    results = []

    def stop_after_two_rounds(result):
        results.append((len(result.x_iters), result.fun))
        return len(result.x_iters) >= 8

    spaces = [({"x": (0.0, 1.0)}, 16), ({"x": (0.5, 1.0)}, 4)]
    search = hill(search_spaces=spaces).fit(X, y, callback=stop_after_two_rounds)

    assert [n for n, _ in results] == [4, 8, 4]
    assert len(search.cv_results_["params"]) == 12
    assert results[1][1] == -search.cv_results_["mean_test_score"][:8].max()


def test_results_for_scikit_optimizes_plots(iris):
    """One result for each dict, with its candidates and a model, best first."""
    X, y = iris
    search = hill(search_spaces=[({"x": (0.0, 1.0)}, 12), ({"x": (0.5, 1.0)}, 8)])

    first, second = search.fit(X, y).optimizer_results_

    assert (len(first.x_iters), len(second.x_iters)) == (12, 8)
    assert first.x == [search.best_params_["x"]]
    assert first.fun == -search.best_score_
    assert len(first.models) == 1
    assert search.optimizer_results_[0] is first
    (x,), _ = expected_minimum(first, n_random_starts=20, random_state=0)
    assert abs(x - 0.3) < 0.1


def test_failures_count_as_the_worst_in_scikit_optimizes_results(iris):
    """Without a result if parameters depend on each other."""
    spaces = [{"x": (-1.0, 1.0)}, {"x": Choice({0.1: {"fails_below": [0.0]}, 0.2: {}})}]
    search = hill(search_spaces=[(spaces[0], 6), (spaces[1], 2)], fails_below=0.0)
    fit_with_failures(search, *iris)

    result, none = search.optimizer_results_

    scores = search.cv_results_["mean_test_score"][:6]
    assert np.isnan(scores).any()
    np.testing.assert_allclose(
        result.func_vals, -np.nan_to_num(scores, nan=np.nanmin(scores))
    )
    assert none is None


@pytest.mark.parametrize(
    "kwargs",
    [
        {"acq_func": "gp_hedge"},
        {"base_estimator": "GBRT", "n_initial_points": 4},
        {"acq_func": "LCB", "acq_func_kwargs": {"kappa": 4.0}},
        {"acq_optimizer": "lbfgs", "model_queue_size": 2, "n_jobs": 2},
    ],
    ids=str,
)
def test_options_of_scikit_optimize_work(iris, kwargs):
    """The search finds the top of the hill with any of them."""
    X, y = iris

    assert hill(optimizer_kwargs=kwargs).fit(X, y).best_score_ > 0.99


def test_each_fit_makes_new_samplers(iris):
    """A second fit does not learn from the first, and changes no parameter."""
    search = hill(sampler=BayesSampler, n_iter=12)
    params = search.get_params()

    first, second = (search.fit(*iris).cv_results_["params"] for _ in range(2))

    assert first == second
    assert search.get_params() == params


@pytest.mark.parametrize(
    ("sampler", "error", "text"),
    [
        ("other", ValueError, "'sampler' parameter"),
        (object(), ValueError, "'sampler' parameter"),
        (lambda space, random_state: space, TypeError, "returned Space"),
    ],
    ids=["name", "object", "space"],
)
def test_a_sampler_is_a_name_or_a_callable(iris, sampler, error, text):
    """Anything else is refused before any training."""
    with pytest.raises(error, match=text):
        hill(sampler=sampler).fit(*iris)


def test_a_dict_without_candidates_has_no_result(iris):
    """The candidates of the next dict are not taken for its own."""
    search = hill(search_spaces=[({"fails_below": [0.0, -1.0]}, 0), ({"x": (0.0, 1.0)}, 5)])

    none, result = search.fit(*iris).optimizer_results_

    assert none is None
    assert len(result.x_iters) == 5
