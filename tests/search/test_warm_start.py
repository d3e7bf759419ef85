"""Warm starts from earlier searches."""

import warnings

import numpy as np
import optuna
import pytest
from scipy.stats import loguniform, randint, uniform
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV as SklearnGridSearchCV
from sklearn.model_selection import RandomizedSearchCV as SklearnRandomizedSearchCV

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingRandomSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    RandomizedSearchCV,
)
from sk_tune._search._search_parameters import space_of
from sk_tune._search._warm_start import _earlier_results, tell_earlier
from sk_tune._search_record import INTERRUPTED, LEFT_OUT
from sk_tune._space import as_space
from sk_tune.exceptions import ParameterWarning

NET = MLPClassifier(width=4, max_epochs=4, batch_size=16, random_state=0)
SPACE = {"learning_rate": loguniform(1e-4, 1e-1), "hidden_layer_sizes": [(4,), (2, 2)]}


class _Told:
    """A sampler that records its scores."""

    def __init__(self, name="x"):
        self.name = name
        self.points = []

    def ask(self, n_points):
        return []

    def tell(self, candidates, scores, n_resources=None):
        self.points += [
            (c[self.name], s, n_resources) for c, s in zip(candidates, scores, strict=True)
        ]


def _found(source, space, **options):
    sampler = _Told()
    with warnings.catch_warnings(action="ignore"):
        [first] = tell_earlier(source, [(sampler, as_space(space))], **options)
    return first, sampler.points


def test_all_except_the_best_are_reported_and_the_best_comes_first():
    """The score of the best comes from other folds."""
    pairs = [({"x": 0.1}, 1.0), ({"x": 0.2}, 3.0), ({"x": 0.3}, 2.0)]

    assert _found(pairs, {"x": (0.0, 1.0)}) == (
        [{"x": 0.2}],
        [(0.1, 1.0, None), (0.3, 2.0, None)],
    )


def test_candidates_outside_of_the_space_are_left_out():
    """Values outside, missing names, new names."""
    pairs = [({"x": 5.0}, 1.0), ({}, 1.0), ({"x": 0.5, "y": 1}, 1.0), ({"x": 0.5}, 1.0)]

    assert _found(pairs, {"x": (0.0, 1.0)}) == ([{"x": 0.5}], [])


def _rungs(*rows):
    """Return results of (x, resources, score)."""
    xs, granted, scores = zip(*rows, strict=True)
    return {
        "params": [{"x": x} for x in xs],
        "n_resources": list(granted),
        "mean_test_score": np.array(scores),
    }


@pytest.mark.parametrize(
    ("results", "options", "best", "told"),
    [
        # A score after few epochs is no score of a full training.
        (_rungs((0.1, 1, 0.1), (0.2, 1, 0.2), (0.2, 3, 0.3)), {}, 0.2, []),
        (
            _rungs((0.1, 1, 0.1), (0.2, 1, 0.2), (0.2, 3, 0.3)),
            {"max_resources": 9},
            0.2,
            [(0.1, 0.1, 1), (0.2, 0.2, 1)],
        ),
        # Who had more than is granted had all: its level would be the highest for good.
        (
            _rungs((0.1, 3, 0.1), (0.2, 27, 0.3), (0.3, 81, 0.2)),
            {"max_resources": 9},
            0.2,
            [(0.1, 0.1, 3), (0.3, 0.2, 9)],
        ),
        # 180 samples are not more than 27 epochs, nor less.
        (
            _rungs((0.1, 60, 0.1), (0.2, 60, 0.2), (0.2, 180, 0.3)),
            {"max_resources": 120, "resource": "net__max_epochs"},
            0.2,
            [],
        ),
        (
            _rungs((0.1, 60, 0.1), (0.2, 60, 0.2), (0.2, 180, 0.3)),
            {"max_resources": 120, "resource": "n_samples"},
            0.2,
            [(0.1, 0.1, 60), (0.2, 0.2, 60)],
        ),
    ],
    ids=["no rungs", "rungs", "more", "epochs", "samples"],
)
def test_rungs_are_reported_to_searches_with_equal_rungs(results, options, best, told):
    """Candidates with all resources count in any search."""
    assert _found(results, {"x": (0.0, 1.0)}, **options) == ([{"x": best}], told)


def test_candidates_left_out_for_time_are_not_failures():
    """A sampler does not get them, as in the search itself."""
    results = {
        "params": [{"x": 0.1}, {"x": 0.2}, {"x": 0.3}, {"x": 0.4}],
        "mean_test_score": np.array([0.5, np.nan, np.nan, np.nan]),
        "failure_reason": np.array(["", LEFT_OUT, INTERRUPTED, "loss is nan"], object),
    }

    first, reported = _found(results, {"x": (0.0, 1.0)})

    assert first == [{"x": 0.1}]
    assert [x for x, *_ in reported] == [0.4]


@pytest.mark.parametrize(
    ("distribution", "inside", "outside"),
    [
        (loguniform(1e-4, 1e-2), 1e-2, 0.5),
        (uniform(0.0, 0.5), 0.5, 0.8),
        (randint(1, 65), 64, 128),
        (randint(1, 65), 64, 2.5),
    ],
)
def test_values_that_a_distribution_never_draws_are_left_out(distribution, inside, outside):
    """At the bounds they would be scores of other candidates."""
    pairs = [({"x": inside}, 1.0), ({"x": outside}, 2.0), ({"x": inside}, 0.5)]

    first, points = _found(pairs, {"x": distribution})

    assert first == [{"x": pytest.approx(inside)}]
    assert [(score, n) for _, score, n in points] == [(0.5, None)]


def test_the_best_comes_first_and_not_again(iris):
    """An exhausted list has no further candidates."""
    grid = {"C": [0.1, 1.0, 10.0], "fit_intercept": [False, True]}
    model = LogisticRegression(max_iter=1000)
    earlier = GridSearchCV(model, grid, cv=3).fit(*iris)

    search = BayesSearchCV(model, grid, n_iter=4, cv=3, warm_start_from=earlier).fit(*iris)

    assert search.cv_results_["params"] == [earlier.best_params_]


def test_studies_give_failures_rungs_and_losses(quiet_optuna):
    """Minimized values change their sign."""
    study = optuna.create_study(direction="minimize")
    distributions = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for x, state, value, steps in [
        (0.1, "COMPLETE", 2.0, {}),
        (0.2, "COMPLETE", 1.0, {}),
        (0.3, "FAIL", None, {}),
        (0.4, "PRUNED", None, {1: 5.0, 2: 4.0}),
        (0.5, "PRUNED", None, {}),
    ]:
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                value=value,
                params={"x": x},
                distributions=distributions,
                intermediate_values=steps,
            )
        )
    first, points = _found(study, {"x": (0.0, 1.0)}, max_resources=9)

    assert first == [{"x": 0.2}]
    assert [(x, n) for x, _, n in points] == [(0.1, 9), (0.3, 9), (0.4, 2)]
    assert [score for _, score, _ in points] == pytest.approx(
        [-2.0, np.nan, -4.0], nan_ok=True
    )


@pytest.mark.parametrize("sampler", ["bayes", "tpe"])
def test_a_bayesian_search_continues_an_earlier_search(iris, sampler):
    """From the search itself or from its results: with the same candidates."""
    earlier = RandomizedSearchCV(NET, SPACE, n_iter=12, cv=3, random_state=0).fit(*iris)
    tried = []
    for source in (earlier, earlier.cv_results_):
        search = BayesSearchCV(
            NET, SPACE, n_iter=3, n_points=3, cv=3, random_state=1, sampler=sampler,
            warm_start_from=source,
        ).fit(*iris)  # fmt: skip
        tried.append(search.cv_results_["params"])

    assert tried[0] == tried[1]
    assert tried[0][0] == earlier.best_params_
    assert len(tried[0]) == 3
    earlier_params = earlier.cv_results_["params"]
    assert all(params not in earlier_params for params in tried[0][1:])


def test_a_search_with_rungs_continues_an_earlier_search(iris):
    """Its best is the first of the first bracket."""
    options = {"factor": 2, "cv": 3, "sampler": "bayes"}
    earlier = HyperbandSearchCV(NET, SPACE, random_state=0, **options).fit(*iris)
    search = HyperbandSearchCV(
        NET, SPACE, random_state=1, warm_start_from=earlier, **options
    ).fit(*iris)

    n_first = search.brackets_[0].rungs[0].n_candidates
    assert search.cv_results_["n_resources"][:n_first].tolist() == [1] * n_first
    assert search.cv_results_["params"][0] == {**earlier.best_params_, "max_epochs": 1}
    assert search.cv_results_["bracket"].tolist() == earlier.cv_results_["bracket"].tolist()


def test_a_sampler_that_does_not_learn_is_refused(iris):
    """It could not use the results."""
    search = HyperbandSearchCV(NET, SPACE, cv=3, warm_start_from=[({}, 1.0)])

    with pytest.raises(ValueError, match="needs a sampler that learns"):
        search.fit(*iris)


def test_a_warm_start_without_matches_warns(iris):
    """Names may have another prefix."""
    search = BayesSearchCV(
        NET, SPACE, n_iter=1, cv=3, refit=False, warm_start_from=[({"lr": 0.1}, 1.0)]
    )

    with pytest.warns(ParameterWarning, match="None of the 1 results of warm_start_from"):
        search.fit(*iris)


def test_a_cloned_search_is_refused(iris):
    """A clone has no results."""
    earlier = RandomizedSearchCV(NET, SPACE, n_iter=2, cv=3, refit=False).fit(*iris)
    search = clone(BayesSearchCV(NET, SPACE, warm_start_from=earlier))

    with pytest.raises(ValueError, match="must be a fitted search.*Pass its cv_results_"):
        search.fit(*iris)


@pytest.mark.parametrize("source", [3, "study.db", [1, 2]])
def test_other_things_are_refused(source):
    """With the accepted types."""
    with pytest.raises(TypeError, match="warm_start_from must be a fitted search"):
        _earlier_results(source)


def test_several_objectives_are_refused(quiet_optuna):
    """A search has one deciding score."""
    study = optuna.create_study(directions=["minimize", "maximize"])

    with pytest.raises(ValueError, match="one objective. Got one with 2"):
        _earlier_results(study)


@pytest.mark.parametrize("kind", [HyperbandSearchCV, HalvingRandomSearchCV])
def test_rungs_of_an_interrupted_search_are_not_full_trainings(iris, kind):
    """Even if no candidate had more resources."""
    calls = []

    def stop(progress):
        calls.append(progress)
        if progress.n_fits_done == progress.n_fits:
            raise KeyboardInterrupt

    rungs = {} if kind is HyperbandSearchCV else {"n_candidates": 9}
    search = kind(
        NET,
        {"learning_rate": loguniform(1e-4, 1e-1)},
        resource="max_epochs",
        max_resources=9,
        cv=3,
        min_resources=1,
        random_state=0,
        verbose=stop,
        **rungs,
    )
    with pytest.raises(KeyboardInterrupt):
        search.fit(*iris)
    sampler = _Told("learning_rate")

    space = as_space({"learning_rate": loguniform(1e-4, 1e-1)})
    [first] = tell_earlier(search, [(sampler, space)], 9, "max_epochs")

    assert set(search.cv_results_["n_resources"]) == {1}
    assert first == []
    assert {level for *_, level in sampler.points} == {1}


@pytest.mark.parametrize(
    ("search", "n_points"),
    [
        (GridSearchCV(Ridge(), {"alpha": (0.1, 1.0, 2.0)}), 3),
        (SklearnGridSearchCV(Ridge(), [{"alpha": [0.1]}, {"tol": [0.1, 1.0]}]), 3),
        (SklearnRandomizedSearchCV(Ridge(), {"alpha": uniform(0, 1)}), None),
        (HyperbandSearchCV(Ridge(), {"alpha": (1, 5)}), 2),
        (BayesSearchCV(Ridge(), {"alpha": (1, 5)}), 5),
    ],
)
def test_tuples_are_ranges_for_bayesian_searches_only(search, n_points):
    """As in scikit-optimize; they are values in scikit-learn."""
    assert space_of(search).n_points == n_points
