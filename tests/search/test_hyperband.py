"""Hyperband and BOHB."""

import functools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform, uniform
from search.test_bayes import fit_with_failures
from search.test_halving import OneFit
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, HyperbandSearchCV
from sk_tune.exceptions import SpaceError, TrainedAloneWarning

CV = StratifiedKFold(2, shuffle=True, random_state=1)
SPACE = {"learning_rate": loguniform(1e-3, 1e-1), "dropout": uniform(0, 0.4)}
STRENGTHS = {"C": loguniform(1e-3, 1e3)}
# Li et al. 2018, Algorithm 1 with R = 9 and eta = 3: (candidates, resources) by bracket.
BRACKETS_OF_9 = {2: [(9, 1), (3, 3), (1, 9)], 1: [(5, 3), (1, 9)], 0: [(3, 9)]}


@pytest.fixture(scope="module")
def net(make_estimator):
    """Return a classifier with all options that depend on the epoch, in float64."""
    return make_estimator(
        "MLPClassifier",
        dtype="float64",
        max_epochs=9,
        lr_schedule="cosine",
        normalization="batch",
        dropout=0.1,
    )


def hyperband(estimator, space=SPACE, **options):
    """Return a search, unfitted."""
    return HyperbandSearchCV(estimator, space, **{"cv": CV, "random_state": 0, **options})


@pytest.fixture(scope="module")
def searched(net, iris):
    """Return a function that fits a search with a sampler once."""
    return functools.cache(lambda sampler: hyperband(net, sampler=sampler).fit(*iris))


def rungs(search):
    """Return candidates and resources of each rung, by bracket."""
    results = search.cv_results_
    by_bracket = {}
    for bracket in np.unique(results["bracket"]):
        resources = results["n_resources"][results["bracket"] == bracket]
        levels, counts = np.unique(resources, return_counts=True)
        by_bracket[int(bracket)] = list(zip(counts.tolist(), levels.tolist(), strict=True))
    return by_bracket


@pytest.mark.parametrize("sampler", ["random", "bayes", "tpe"])
def test_brackets_match_the_paper(searched, sampler):
    """For any sampler; a bracket ends before the next starts."""
    search = searched(sampler)

    assert rungs(search) == BRACKETS_OF_9
    assert np.all(np.diff(search.cv_results_["bracket"]) <= 0)
    assert search.max_resources_ == 9
    assert search.ledger_.n_candidates == 9 + 5 + 3
    # Warm rungs: 9 + 3*2 + 6, 5*3 + 6, 3*9 epochs, in each of two folds.
    assert search.ledger_.epochs_trained == 2 * (21 + 21 + 27)
    assert search.plan().n_epochs == search.ledger_.epochs_trained


def test_a_promoted_candidate_equals_a_search_without_rungs(net, iris, searched):
    """At 9 epochs its scores, curves and refit are equal."""
    search = searched("random")
    best_grid = {k: [v] for k, v in search.best_params_.items()}

    grid = GridSearchCV(net, best_grid, cv=CV).fit(*iris)

    assert search.best_score_ == pytest.approx(grid.best_score_, abs=1e-12)
    curves = search.learning_curves_.query(f"result_row == {search.best_index_}")
    for name in ("train_loss", "valid_loss", "valid_score"):
        np.testing.assert_allclose(curves[name], grid.learning_curves_[name], rtol=1e-9)
    np.testing.assert_allclose(
        search.predict_proba(iris.X), grid.predict_proba(iris.X), rtol=1e-9
    )


@pytest.mark.parametrize("sampler", ["random", "bayes"])
def test_the_best_of_a_rung_are_promoted(searched, sampler):
    """They have the highest mean scores of their rung."""
    results = searched(sampler).cv_results_

    for bracket, rung in [(2, 0), (2, 1), (1, 0)]:
        now = np.flatnonzero((results["bracket"] == bracket) & (results["iter"] == rung))
        after = (results["bracket"] == bracket) & (results["iter"] == rung + 1)
        configurations = [
            tuple(params[name] for name in SPACE) for params in results["params"]
        ]
        promoted = {configurations[i] for i in np.flatnonzero(after)}
        scores = results["mean_test_score"]
        survived = [configurations[i] in promoted for i in now]
        assert sum(survived) == len(promoted)
        assert scores[now][survived].min() >= scores[now][np.logical_not(survived)].max()


def test_a_space_of_few_candidates_fills_the_rungs(net, iris):
    """Each rung promotes its planned number, even from few candidates."""
    search = hyperband(net, {"dropout": [0.0, 0.1, 0.2, 0.3]}, max_resources=9).fit(*iris)

    assert rungs(search) == {2: [(4, 1), (3, 3), (1, 9)]}
    assert search.plan().n_epochs == search.ledger_.epochs_trained


def test_the_winner_has_all_epochs(searched):
    """A lucky score after one epoch does not win."""
    search = searched("random")

    full = search.cv_results_["n_resources"] == 9
    assert search.best_params_["max_epochs"] == 9
    assert search.best_score_ == search.cv_results_["mean_test_score"][full].max()
    assert search.best_estimator_.n_epochs_ == 9


def test_epochs_of_a_pipelines_network_need_no_prefix(net, iris):
    """The resource "max_epochs" is a parameter of the last step."""
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net)])
    space = {"net__learning_rate": [0.01, 0.03, 0.1]}

    search = hyperband(pipeline, space, min_resources=3).fit(*iris)

    assert search.resource_ == "net__max_epochs"
    assert search.best_params_["net__max_epochs"] == 9


@pytest.mark.parametrize("has_pipeline", [True, False])
def test_epochs_of_a_network_behind_a_target_transformer_need_no_prefix(
    make_estimator, iris, has_pipeline
):
    """The resource is the network's number of epochs, in any wrapper."""
    regressor, prefix = make_estimator("MLPRegressor", max_epochs=4), "regressor__"
    if has_pipeline:
        regressor = Pipeline([("scale", StandardScaler()), ("net", regressor)])
        prefix += "net__"
    model = TransformedTargetRegressor(regressor, transformer=StandardScaler())
    space = {f"{prefix}learning_rate": [1e-3, 1e-2, 1e-1]}

    with pytest.warns(
        TrainedAloneWarning, match="because a TransformedTargetRegressor fits it"
    ):
        search = hyperband(model, space, factor=2, cv=KFold(2)).fit(iris.X, iris.X[:, 3])

    assert search.ledger_.n_alone == search.ledger_.n_fits
    assert search.resource_ == f"{prefix}max_epochs"
    assert search.best_params_[search.resource_] == 4


def test_samples_may_be_the_resource(iris):
    """Rungs get more rows, for any estimator."""
    options = {"resource": "n_samples", "min_resources": 50}
    search = hyperband(LogisticRegression(max_iter=500), STRENGTHS, **options).fit(*iris)

    assert rungs(search) == {1: [(3, 50), (1, 150)], 0: [(2, 150)]}
    assert search.max_resources_ == 150
    assert search.best_score_ > 0.9


def test_any_integer_parameter_may_be_the_resource(iris):
    """Iterations of a linear model, for example."""
    options = {"resource": "max_iter", "max_resources": 90, "min_resources": 10}
    search = hyperband(LogisticRegression(), STRENGTHS, **options)
    # Few iterations do not converge, and scikit-learn says so.
    fit_with_failures(search, *iris)

    assert search.best_params_["max_iter"] == 90


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resource": "nonsense"}, "'resource' parameter .* Got 'nonsense'"),
        ({"resource": "dropout"}, "part of the searched parameters"),
        ({"min_resources": 10}, "min_resources"),
        ({"factor": 1}, "factor"),
        ({"max_resources": 0}, "max_resources"),
        ({"sampler": "nonsense"}, "sampler"),
    ],
)
def test_wrong_resources_are_refused_by_name(net, iris, options, message):
    """Before any training."""
    with pytest.raises(ValueError, match=message):
        hyperband(net, **{"max_resources": 9, **options}).fit(*iris)


def search_by_rounds(sign=1, **options):
    """Return a search with brackets up to nine rounds and the round as the score."""
    settings = {"resource": "n_rounds", "max_resources": 9, "cv": 5, **options}
    by_rounds = lambda model, X, y: float(sign * model.n_rounds)
    return hyperband(OneFit(), {"value": uniform(0, 1)}, scoring=by_rounds, **settings)


@pytest.mark.parametrize("sampler", ["random", "bayes"])
@pytest.mark.parametrize("space", [{}, [{}], []])
def test_a_space_without_parameters_is_refused(net, iris, space, sampler):
    """Before any training: all candidates would be the same network."""
    search = hyperband(net, space, sampler=sampler)

    for method in (search.fit, search.plan):
        with pytest.raises(SpaceError, match="at least one parameter"):
            method(*iris)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_candidate_has_one_number_in_all_of_its_rungs(net, iris, asynchronous):
    """Candidates are numbered from 0; a result row has another number."""
    search = hyperband(net, asynchronous=asynchronous).fit(*iris)

    table = pd.DataFrame(search.cv_results_).assign(candidate=search.candidates_)
    assert sorted(set(table["candidate"])) == list(range(search.ledger_.n_candidates))
    assert len(table) > search.ledger_.n_candidates
    for _, rungs in table.groupby("candidate"):
        assert rungs["iter"].tolist() == list(range(len(rungs)))
        assert rungs["param_learning_rate"].nunique() == rungs["bracket"].nunique() == 1
    curves = search.learning_curves_
    assert (curves["candidate"] == table["candidate"][curves["result_row"]].array).all()


def test_kept_models_have_the_most_resources(iris):
    """A higher score with fewer resources does not replace the winner's models."""
    search = search_by_rounds(sign=-1, keep_models="best").fit(*iris)

    assert set(search.models_) == {search.best_index_}
    assert [model.n_rounds for model in search.models_[search.best_index_]] == [9] * 5


def test_rungs_of_rows_are_cut_from_the_same_folds(iris):
    """With an unseeded splitter, rungs of all rows hold out the same in all brackets."""
    cv = KFold(2, shuffle=True)
    options = {"resource": "n_samples", "min_resources": 50, "cv": cv}
    search = hyperband(LogisticRegression(max_iter=500), STRENGTHS, **options).fit(*iris)

    full = np.flatnonzero(search.cv_results_["n_resources"] == 150)
    brackets = search.cv_results_["bracket"][full]
    held_out = [[sorted(f) for f in search.held_out_rows_[row]] for row in full]
    assert set(brackets) == {0, 1}
    assert all(rows == held_out[0] for rows in held_out)
