"""Halving searches, against scikit-learn's own."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn import model_selection
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import (
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
)
from sk_tune.exceptions import ParameterWarning

CV = StratifiedKFold(2, shuffle=True, random_state=1)
SEARCHES = {
    "grid": (
        HalvingGridSearchCV,
        model_selection.HalvingGridSearchCV,
        {"learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1]},
    ),
    "random": (
        HalvingRandomSearchCV,
        model_selection.HalvingRandomSearchCV,
        {"learning_rate": loguniform(1e-3, 0.1)},
    ),
}


def pair(kind, estimator, prefix="", **options):
    """Return our search and scikit-learn's."""
    ours, theirs, space = SEARCHES[kind]
    space = {f"{prefix}{name}": values for name, values in space.items()}
    options = {"cv": CV, "random_state": 0, **options}
    return ours(estimator, space, **options), theirs(estimator, space, **options)


def halving(estimator, grid, resource="max_epochs", **options):
    """Return a search with a parameter as the resource."""
    options = {"min_resources": 1, "cv": CV, **options}
    return HalvingGridSearchCV(estimator, grid, resource=resource, **options)


ATTRIBUTES = (
    "n_resources_",
    "n_candidates_",
    "n_iterations_",
    "n_remaining_candidates_",
    "n_required_iterations_",
    "n_possible_iterations_",
    "min_resources_",
    "max_resources_",
)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("grid", {}),
        ("random", {"factor": 2, "min_resources": 30}),
        ("grid", {"aggressive_elimination": True, "max_resources": 60}),
        ("random", {"return_train_score": False}),
    ],
)
def test_rungs_of_rows_match_scikit_learn(net, iris, assert_same_search, kind, options):
    """With rows as the resource, rungs, scores and the winner are scikit-learn's."""
    ours, theirs = pair(kind, net, **options)

    searched = assert_same_search(ours, theirs, *iris)

    theirs.fit(*iris)
    for name in ATTRIBUTES:
        assert getattr(searched, name) == getattr(theirs, name), name


def test_rows_behind_a_pipeline_match_scikit_learn(net, iris, assert_same_search):
    """Transformers are fitted again on each rung's rows."""
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net)])

    assert_same_search(*pair("grid", pipeline, "net__"), *iris)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_rungs_of_epochs_promote_as_scikit_learn(net, iris, assert_same_results, schedule):
    """With a constant rate, scores equal scikit-learn's, which starts from scratch."""
    net.set_params(lr_schedule=schedule)
    ours, theirs = (
        search.fit(*iris)
        for search in pair(
            "grid",
            net,
            resource="max_epochs",
            max_resources=4,
            min_resources=2,
            factor=2,
            scoring="neg_log_loss",
        )
    )

    if schedule == "constant":
        assert_same_results(ours.cv_results_, theirs.cv_results_)
        np.testing.assert_allclose(
            ours.predict_proba(iris.X), theirs.predict_proba(iris.X), atol=1e-9
        )
    else:
        first = [s.cv_results_["mean_test_score"][:5] for s in (ours, theirs)]
        assert not np.allclose(*first, rtol=1e-3)


class OneFit(BaseEstimator):
    """Scores by its parameter, for any data."""

    def __init__(self, value=0.0, n_rounds=1):
        self.value = value
        self.n_rounds = n_rounds

    def fit(self, X, y=None):
        return self

    def score(self, X, y=None):
        return self.value


def test_epochs_of_a_pipelines_network_need_no_prefix(net, iris, assert_same_search):
    """The resource "max_epochs" is the parameter of the last step."""
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net)])
    grid = {"net__learning_rate": [0.01, 0.03, 0.1]}
    short, full = (
        halving(pipeline, grid, f"{prefix}max_epochs", min_resources=3, max_resources=9)
        for prefix in ("", "net__")
    )

    short = assert_same_search(short, full, *iris)

    assert (short.resource, short.resource_) == ("max_epochs", "net__max_epochs")
    assert short.best_params_["net__max_epochs"] == 9


def test_exact_powers_keep_their_last_rung(iris):
    """243 by a factor of 3 are rungs of 1, 3, 9, 27, 81 and 243, counted in integers."""
    grid = {"value": np.linspace(0, 1, 243)}
    search = halving(OneFit(), grid, "n_rounds", max_resources=243).fit(*iris)

    assert search.n_resources_ == [1, 3, 9, 27, 81, 243]
    assert search.n_candidates_ == [243, 81, 27, 9, 3, 1]
    assert search.best_params_ == {"value": 1.0, "n_rounds": 243}


def test_the_resource_is_not_a_parameter_to_search(net, iris):
    """A space that contains the resource is refused, as in scikit-learn."""
    search = halving(net, {"max_epochs": [2, 3]}, max_resources=4)

    with pytest.raises(ValueError, match="Cannot use parameter max_epochs as the resource"):
        search.fit(*iris)


def test_other_parameters_may_be_the_resource(iris, assert_same_search):
    """Any integer parameter of any estimator."""
    options = {
        "resource": "max_iter",
        "max_resources": 4000,
        "min_resources": 1000,
        "factor": 2,
        "cv": CV,
        "random_state": 0,
    }
    estimator, grid = LogisticRegression(), {"C": [0.01, 0.1, 1.0]}

    assert_same_search(
        HalvingGridSearchCV(estimator, grid, **options),
        model_selection.HalvingGridSearchCV(estimator, grid, **options),
        *iris,
    )


def test_the_last_rung_has_the_epochs_of_the_estimator(iris):
    """By default, and as in Hyperband where the epochs depend on the table."""
    rates = {"learning_rate": [0.01, 0.03, 0.1]}
    fixed = halving(MLPClassifier(max_epochs=6, random_state=0), rates).fit(*iris)
    auto = halving(MLPClassifier(random_state=0), rates, min_resources=10)
    hyperband = HyperbandSearchCV(auto.estimator, rates, min_resources=10, factor=3, cv=CV)

    assert (fixed.max_resources_, fixed.n_resources_) == (6, [1, 3])
    assert auto.fit(*iris).max_resources_ == hyperband.fit(*iris).max_resources_


def test_a_resource_without_a_number_needs_a_largest_one(iris):
    """No depth at all is the default of a forest."""
    search = halving(RandomForestClassifier(), {"max_features": [1, 2, 3]}, "max_depth")

    with pytest.raises(ValueError, match="'max_depth', which is None in Random"):
        search.fit(*iris)


def test_a_verbose_halving_prints_what_scikit_learn_prints(net, iris, capsys):
    """The lines about plan and rungs are scikit-learn's, the progress line is added."""
    ours, theirs = pair("grid", net, verbose=1)
    ours.fit(*iris)
    lines = capsys.readouterr().out.split("\n")
    theirs.fit(*iris)
    other = capsys.readouterr().out.split("\n")

    assert [line for line in lines if not line.startswith("candidates ")] == other


@pytest.mark.filterwarnings("ignore:One or more of the")
def test_ctrl_c_in_a_later_rung_leaves_the_best_of_the_previous(net, iris):
    """The candidate with the highest score is fitted, not the worst survivor."""

    def stop(progress):
        # The first rung has four candidates on two folds.
        if progress.n_fits < 8:
            raise KeyboardInterrupt

    rates = {"learning_rate": [0.1, 0.003, 0.01, 0.03]}
    options = {"max_resources": 8, "factor": 2, "scoring": "neg_log_loss"}
    search = halving(net, rates, verbose=stop, min_resources="exhaust", **options)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*iris)

    scores = search.cv_results_["mean_test_score"][:4]
    assert np.isnan(search.cv_results_["mean_test_score"][4:]).all()
    assert search.best_index_ == np.argmax(scores)
    assert search.best_score_ == scores.max()
    assert search.best_estimator_.learning_rate == search.best_params_["learning_rate"]
    assert search.expected_score_ is not None


@pytest.mark.filterwarnings("ignore:One or more of the")
def test_ctrl_c_between_trainings_counts_evaluated_rungs(iris):
    """Attributes about rungs also describe an interrupted search."""
    n_scored = 0

    def scoring(estimator, X, y):
        nonlocal n_scored
        n_scored += 1
        if n_scored == 28:
            raise KeyboardInterrupt
        return estimator.score(X, y)

    rows = {"min_resources": 30, "max_resources": 120, "factor": 2}
    grid = {"C": [0.001, 0.01, 0.1, 1]}
    patient = LogisticRegression(max_iter=1000)
    search = halving(patient, grid, "n_samples", scoring=scoring, **rows)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*iris)

    rows = search.cv_results_["iter"]
    assert search.n_iterations_ == rows.max() + 1
    assert search.n_candidates_ == np.bincount(rows).tolist()
    means = search.cv_results_["mean_test_score"]
    assert np.isnan(means).any()
    last = list(search._search_record.last_rows)
    assert len(last) == 4
    assert np.isfinite(means[last]).all()


@pytest.mark.parametrize("is_before", [True, False])
def test_ctrl_c_during_the_results_keeps_complete_rungs(net, iris, is_before):
    """All columns, the curves and the refit belong to rungs with results."""

    class Interrupted(HalvingGridSearchCV):
        def _format_results(self, candidates, *given):
            if len(candidates) > 4 and is_before:
                raise KeyboardInterrupt
            results = super()._format_results(candidates, *given)
            if len(candidates) > 4:
                raise KeyboardInterrupt
            return results

    rates = {"learning_rate": [0.1, 0.003, 0.01, 0.03]}
    options = {"min_resources": 1, "max_resources": 4, "factor": 2, "cv": CV}
    search = Interrupted(net, rates, resource="max_epochs", keep_models="all", **options)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*iris)

    results = search.cv_results_
    assert {len(column) for column in results.values()} == {4}
    assert search.ledger_.n_candidates == len(search.models_) == 4
    assert set(search.learning_curves_["result_row"]) == set(range(4))
    assert search.n_candidates_ == [4]
    assert len(search.best_estimator_.net_.history) == 1


def test_ctrl_c_pressed_twice_skips_the_refit(net, iris):
    """While a rung trains, and again while its results are computed."""

    class Interrupted(HalvingGridSearchCV):
        def _format_results(self, candidates, *given):
            if len(candidates) > 4:
                raise KeyboardInterrupt
            return super()._format_results(candidates, *given)

    def press(progress):
        if progress.n_fits < 4 * CV.get_n_splits():
            raise KeyboardInterrupt

    options = {"min_resources": 1, "max_resources": 4, "factor": 2, "verbose": press}
    rates = {"learning_rate": [0.1, 0.003, 0.01, 0.03]}
    search = Interrupted(net, rates, resource="max_epochs", cv=CV, **options)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*iris)

    assert not hasattr(search, "best_estimator_")


class Fewer(OneFit):
    """Scores higher on fewer rows."""

    def score(self, X, y=None):
        return self.value - len(X)


@pytest.fixture
def of_rows():
    """A halving with its best scores in the first rung, and lower scores later."""
    return HalvingGridSearchCV(
        Fewer(), {"value": [0.0, 0.0, 0.0, 0.0]}, factor=2, min_resources=40, cv=5
    )


@pytest.mark.parametrize("keep", ["best", 2])
def test_kept_models_belong_to_the_last_rung(iris, of_rows, keep):
    """A higher score in an earlier rung does not replace the winner's models."""
    of_rows.set_params(param_grid={"value": [0.0, 0.1, 0.2, 0.3]}, keep_models=keep)

    search = of_rows.fit(*iris)

    assert search.best_params_ == {"value": 0.3}
    assert [m.value for m in search.models_[search.best_index_]] == [0.3] * 5
    assert len(search.models_) == (1 if keep == "best" else keep)
    assert all(search.cv_results_["iter"][list(search.models_)] == 1)


def test_a_callable_chooses_the_best(iris, of_rows):
    """As scikit-learn documents it, including earlier rungs."""
    search = of_rows.set_params(refit=lambda results: 2).fit(*iris)

    assert search.best_index_ == 2
    assert search.best_estimator_.value == search.cv_results_["params"][2]["value"]


def test_the_gate_of_scikit_learn_stays_closed():
    """Our import does not enable scikit-learn's experimental searches for others."""
    code = """
import sk_tune
sk_tune.HalvingGridSearchCV, sk_tune.HyperbandSearchCV, sk_tune.AutoClassifier
try:
    from sklearn.model_selection import HalvingGridSearchCV
except ImportError:
    print("closed")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "closed\n"


def test_candidates_are_promoted_by_one_metric():
    """Several are refused before any training, as by scikit-learn."""
    X = np.zeros((20, 1))
    search = HalvingGridSearchCV(
        LogisticRegression(), {"C": [0.1, 1.0]}, scoring=["accuracy", "f1"], refit="f1"
    )

    with pytest.raises(ValueError, match="'scoring' parameter .* must be one metric"):
        search.fit(X, np.arange(20) % 2)


def test_a_space_with_fewer_candidates_than_requested_gives_a_warning(iris):
    """As in scikit-learn; the default "exhaust" requests no number."""
    options = {"min_resources": 50, "cv": CV, "random_state": 0}
    search = HalvingRandomSearchCV(
        LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, n_candidates=3, **options
    )

    with pytest.warns(ParameterWarning, match="2 candidates, fewer than n_candidates=3"):
        search.fit(*iris)

    assert search.n_candidates_[0] == 2
    search.set_params(n_candidates="exhaust").fit(*iris)
