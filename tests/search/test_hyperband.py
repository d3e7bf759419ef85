"""Hyperband and BOHB."""

import functools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform, uniform
from search.test_bayes import fit_with_failures
from search.test_halving import OneFit
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, ParameterSampler, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import (
    GridSearchCV,
    HyperbandSearchCV,
    RandomizedSearchCV,
    TrialEnsembleClassifier,
    expected_score,
)
from sk_tune.exceptions import SkTuneWarning, SpaceError

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
    """Return a search with the brackets of the paper, unfitted."""
    options = {"factor": 3, "select_epoch": "last", **options}
    return HyperbandSearchCV(estimator, space, **{"cv": CV, "random_state": 0, **options})


@pytest.fixture(scope="module")
def on_one_fold(net, iris):
    """Return a function that fits a search with the default rungs on three folds once."""

    @functools.cache
    def fit(**options):
        options = {"keep_models": "all", **options}
        cv = StratifiedKFold(3, shuffle=True, random_state=1)
        search = HyperbandSearchCV(net, SPACE, cv=cv, random_state=0, **options)
        return search.fit(*iris)

    return fit


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


@pytest.mark.parametrize("sampler", ["random", "bayes", "tpe"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_candidate_has_the_parameters_of_the_estimator(
    net, iris, sampler, asynchronous
):
    """The search therefore cannot miss the given parameters."""
    estimator = clone(net).set_params(learning_rate=0.02, dropout=0.3)
    options = {"sampler": sampler, "asynchronous": asynchronous, "max_resources": 3}

    search = hyperband(estimator, **options).fit(*iris)

    values = [(p["learning_rate"], p["dropout"]) for p in search.cv_results_["params"]]
    # Once on each rung that it reaches.
    assert 1 <= values.count((0.02, 0.3)) <= 2


def test_values_outside_of_the_space_make_no_candidate(net, iris):
    """The sampler then proposes all candidates."""
    estimator = clone(net).set_params(learning_rate=0.02, dropout=0.5)
    search = hyperband(estimator, max_resources=3).fit(*iris)

    drawn = next(iter(ParameterSampler(SPACE, 1, random_state=0)))
    assert search.cv_results_["params"][0] == {**drawn, "max_epochs": 1}


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

    search = hyperband(model, space, factor=2, cv=KFold(2)).fit(iris.X, iris.X[:, 3])

    assert search.ledger_.epochs_saved_by_warm_start > 0
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
        ({"resource": "nonsense"}, "Got 'nonsense' .* without epochs, use 'n_samples'"),
        ({"resource": "epochs"}, r"Got 'epochs' instead. Did you mean 'max_epochs'\?"),
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


def test_rungs_train_on_one_fold_up_to_the_last(on_one_fold):
    """The plan of 9 epochs; unused folds have no score and do not enter the mean."""
    search = on_one_fold()
    results = search.cv_results_

    (bracket,) = search.brackets_
    expected = [(rung.n_candidates, rung.n_resources) for rung in bracket.rungs]
    assert rungs(search) == {bracket.index: expected}
    is_last = results["n_resources"] == 9
    assert (results["n_folds"] == np.where(is_last, 3, 1)).all()
    for fold in (1, 2):
        assert (np.isnan(results[f"split{fold}_test_score"]) == ~is_last).all()
    first = results["split0_test_score"]
    np.testing.assert_array_equal(results["mean_test_score"][~is_last], first[~is_last])
    assert not results["std_test_score"][~is_last].any()
    assert (results["mean_fit_time"] > 0).all()
    assert search.plan().n_epochs == search.ledger_.epochs_trained
    counts = [n_candidates for n_candidates, _ in expected]
    assert search.ledger_.n_fits == sum(counts[:-1]) + 3 * counts[-1]
    assert search.ledger_.epochs_full == 3 * 9 * counts[0]
    assert "failure_reason" not in results


@pytest.mark.parametrize(("n_samples", "n_folds"), [(27, [3]), (30, [1, 3])])
def test_a_fold_of_less_than_ten_samples_ranks_no_candidates(net, iris, n_samples, n_folds):
    """All rungs use all folds then; the folds drawn for the check are the search's."""
    rows = np.random.default_rng(0).permutation(150)[:n_samples]
    X, y = iris.X[rows], iris.y[rows]

    def fit(search_class, **options):
        cv = KFold(3, shuffle=True, random_state=np.random.RandomState(0))
        search = search_class(net, SPACE, cv=cv, random_state=0, **options)
        return search.fit(X, y)

    search = fit(HyperbandSearchCV)
    folds = fit(RandomizedSearchCV, n_iter=1).held_out_rows_[0]

    assert np.unique(search.cv_results_["n_folds"]).tolist() == n_folds
    held_out = search.held_out_rows_[search.best_index_]
    np.testing.assert_array_equal(np.sort(held_out), np.sort(folds))


def test_a_fold_that_a_rung_does_not_use_has_no_model(on_one_fold):
    """The kept models of a candidate are aligned with its held-out samples."""
    search = on_one_fold()

    n_folds = search.cv_results_["n_folds"]
    assert search.models_.keys() == set(range(len(n_folds)))
    for row, models in search.models_.items():
        is_used = [k < n_folds[row] for k in range(3)]
        assert [model is not None for model in models] == is_used
        assert [held is not None for held in search.held_out_rows_[row]] == is_used


def test_rows_with_all_folds_rank_before_others(on_one_fold):
    """The best candidate has all folds and epochs, and rank 1."""
    results = on_one_fold().cv_results_

    is_last = results["n_folds"] == 3
    assert results["rank_test_score"][on_one_fold().best_index_] == 1
    assert results["rank_test_score"][is_last].max() <= is_last.sum()
    assert results["rank_test_score"][~is_last].min() == is_last.sum() + 1


def test_folds_that_join_late_equal_a_search_without_rungs(net, iris, on_one_fold):
    """Scores, predictions and refit of the winner, whose first fold was resumed."""
    search = on_one_fold(select_epoch="last")
    best_grid = {k: [v] for k, v in search.best_params_.items()}

    grid = GridSearchCV(net, best_grid, cv=search.cv).fit(*iris)

    row = search.best_index_
    assert search.best_score_ == pytest.approx(grid.best_score_, abs=1e-12)
    np.testing.assert_allclose(
        search.oof_predictions_[row], grid.oof_predictions_[0], rtol=1e-9
    )
    np.testing.assert_allclose(
        search.predict_proba(iris.X), grid.predict_proba(iris.X), rtol=1e-9
    )


def test_candidates_without_all_folds_are_not_in_estimates_or_ensembles(iris, on_one_fold):
    """Their predictions have gaps, so they are not comparable."""
    search = on_one_fold()

    n_predicted = np.isfinite(search.oof_predictions_).all(axis=2).sum(axis=1)
    assert (n_predicted == np.where(search.cv_results_["n_folds"] == 3, 150, 50)).all()
    assert np.isfinite(search.expected_score_.score)
    ensemble = TrialEnsembleClassifier.from_search(search)
    assert (search.cv_results_["n_folds"][ensemble.result_rows_] == 3).all()


def test_the_expected_score_ignores_the_fold_of_dropped_candidates(net):
    """It equals the expected score of the finalists on the remaining folds."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 8)), rng.permutation(np.tile([0, 1], 60))
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    search = HyperbandSearchCV(net, SPACE, cv=cv, select_epoch="last", random_state=0)
    search.fit(X, y)
    first = search.held_out_rows_[0][0]
    predictions = search.oof_predictions_[search.cv_results_["n_folds"] == 3]
    others = np.setdiff1d(np.arange(120), first)

    expected = expected_score(
        predictions[:, others].argmax(axis=2), y[others], accuracy_score, random_state=0
    )

    assert search.expected_score_.score == pytest.approx(expected.score)


def test_asynchronous_rungs_have_the_same_folds(on_one_fold):
    """One worker finds as many candidates in each rung."""
    search, expected = on_one_fold(asynchronous=True), on_one_fold()

    assert rungs(search) == rungs(expected)
    results = search.cv_results_
    assert (results["n_folds"] == np.where(results["n_resources"] == 9, 3, 1)).all()
    assert search.ledger_.epochs_trained == expected.ledger_.epochs_trained


def test_a_search_without_any_result_on_one_fold_raises(net, iris):
    """Unused folds do not count as results."""
    space = {"learning_rate": [-1.0, -2.0], "dropout": [0.0, 0.1]}

    with pytest.raises(ValueError, match="fits failed"):
        HyperbandSearchCV(net, space, cv=CV, random_state=0).fit(*iris)


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:The least populated class")
@pytest.mark.parametrize(
    ("first", "message"),
    [
        (0, "The best candidate has no score"),
        (1, "No candidate of the last rung has a score.* only 4 of 9 resources"),
    ],
)
def test_a_last_rung_without_scores_is_reported(net, iris, first, message):
    """The log loss of the fold without the third class is undefined."""
    X, y = iris.X[:102], iris.y[:102]
    folds = [*StratifiedKFold(3).split(X, y)]
    options = {"max_resources": 9, "scoring": "neg_log_loss", "random_state": 0}
    search = HyperbandSearchCV(net, SPACE, cv=folds[first:] + folds[:first], **options)

    with pytest.warns(SkTuneWarning, match=f"{message}.*number of classes"):
        search.fit(X, y)


@pytest.mark.parametrize("options", [{"sampler": "bayes"}, {"resource": "batch_size"}])
def test_other_searches_have_the_brackets_of_the_paper(net, options):
    """A sampler that learns needs several brackets; only epochs were measured."""
    plan = HyperbandSearchCV(net, SPACE, cv=CV, max_resources=9, **options).plan()

    expected = hyperband(net, max_resources=9, **options).plan()
    assert plan.rounds == expected.rounds
    assert len({round.bracket for round in plan.rounds}) == 3


def test_a_time_budget_has_three_passes_at_most(net, iris, on_one_fold):
    """With enough time the first pass equals the search without a budget."""
    search = on_one_fold(time_budget=1000.0)

    planned = rungs(on_one_fold())[0]
    assert rungs(search) == {0: planned, 1: planned, 2: planned}
    first = search.cv_results_["mean_test_score"][search.cv_results_["bracket"] == 0]
    np.testing.assert_array_equal(first, on_one_fold().cv_results_["mean_test_score"])


def test_asynchronous_rungs_with_a_time_budget_use_all_folds(net):
    """The time may end when only lower rungs have scores."""
    options = {"max_resources": 9, "time_budget": 1000.0, "asynchronous": True}

    plan = HyperbandSearchCV(net, SPACE, cv=CV, **options).plan()

    assert plan.rounds == hyperband(net, max_resources=9).plan().rounds
