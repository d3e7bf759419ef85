"""Common behaviour of all searches."""

import copy
import pickle
import random
import sys
import threading
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context, model_selection
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import hinge_loss, log_loss, make_scorer
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    HyperbandSearchCV,
    RandomizedSearchCV,
    fleet,
)
from sk_tune._scores import expected_score, scorer_metric
from sk_tune._search import _memory_forecast, _search_session
from sk_tune.exceptions import TrainingDivergedError

CV = StratifiedKFold(3, shuffle=True, random_state=1)
GRID = {"learning_rate": [0.003, 0.03]}
MSE = "neg_mean_squared_error"


@pytest.fixture
def search(net):
    """Return an unfitted search."""
    return GridSearchCV(net, GRID, cv=CV, keep_models="all")


def test_a_fitted_search_survives_pickle_and_copy(search, iris):
    """Fitted and computed attributes are in the copy."""
    search.fit(*iris)

    for other in (pickle.loads(pickle.dumps(search)), copy.deepcopy(search)):
        assert_array_equal(other.predict(iris.X), search.predict(iris.X))
        assert_array_equal(other.oof_predictions_, search.oof_predictions_)
        assert other.expected_score_ == search.expected_score_
        assert other.ledger_ == search.ledger_
        assert other.learning_curves_.equals(search.learning_curves_)


def test_changing_the_curves_changes_a_copy(search, iris):
    """They are cached, and dropped with the fit."""
    search.fit(*iris)
    original = search.learning_curves_
    changed = search.learning_curves_
    changed["train_loss"] = 0.0

    assert search.learning_curves_.equals(original)
    assert "_curves" not in pickle.loads(pickle.dumps(search)).__dict__
    assert not search.fit(iris.X[::2], iris.y[::2]).learning_curves_.equals(original)


def test_a_second_fit_forgets_the_first(search, iris):
    """Parameters set after a fit apply to the next one, and old models are gone."""
    search.fit(*iris)
    search.set_params(keep_models=None, estimator__hidden_layer_sizes=(3,))
    search.fit(iris.X[:, :2], iris.y)

    assert not hasattr(search, "models_")
    assert search.n_features_in_ == 2
    assert search.best_estimator_.hidden_layer_sizes == (3,)
    assert not [name for name in vars(search) if name in {"_session", "_start"}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_budget", 0),
        ("time_budget", "long"),
        # Texts of the command line are not taken.
        ("time_budget", "5m"),
        ("verbose", "yes"),
        ("select_epoch", "first"),
        ("keep_models", 0),
        ("keep_models", "some"),
        ("keep_predictions", 0),
        ("keep_predictions", "some"),
        ("cv", "x"),
    ],
)
def test_invalid_parameters_are_refused(search, iris, name, value):
    """A wrong value is an error in ``fit`` that names the parameter."""
    seconds = "be a number of seconds greater.*Got '5m' instead"
    with pytest.raises(ValueError, match=seconds if value == "5m" else name):
        search.set_params(**{name: value}).fit(*iris)


def test_global_random_states_are_left_alone(net, iris):
    """A seeded search moves no generator of numpy, torch or Python."""
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net.set_params(dropout=0.3))])
    states = [np.random.get_state()[1], torch.get_rng_state(), random.getstate()]  # noqa: NPY002
    threads = torch.get_num_threads()

    GridSearchCV(pipeline, {"net__learning_rate": [0.01]}, cv=CV).fit(*iris)

    assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    assert random.getstate() == states[2]
    assert torch.get_num_threads() == threads


def test_a_search_may_be_cross_validated(search, iris):
    """Nested in ``cross_val_score`` it scores as scikit-learn's search does."""
    theirs = model_selection.GridSearchCV(search.estimator, GRID, cv=CV)

    ours, other = (cross_val_score(s, *iris, cv=CV) for s in (search, theirs))

    assert_allclose(ours, other)


@pytest.mark.parametrize("outer", [GridSearchCV, model_selection.GridSearchCV])
def test_a_search_may_be_searched(search, iris, outer):
    """Inside another search it works as any estimator."""
    space = {"estimator__hidden_layer_sizes": [(3,), (6,)]}
    theirs = model_selection.GridSearchCV(search.estimator, GRID, cv=CV)

    ours = outer(search, space, cv=2).fit(*iris)
    other = model_selection.GridSearchCV(theirs, space, cv=2).fit(*iris)

    assert_allclose(
        ours.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_search_works_inside_a_fleet_block(search, iris, is_nested):
    """In the block a search trains its own networks, with the same result."""

    def run():
        if is_nested:
            return cross_val_score(clone(search), *iris, cv=CV)
        return clone(search).fit(*iris).oof_predictions_

    with fleet(n_jobs=1):
        inside = run()

    assert_allclose(inside, run(), atol=1e-9)


class Counted(LogisticRegression):
    """Counts its fits in this process."""

    n_fits = 0

    def fit(self, X, y):
        Counted.n_fits += 1
        return super().fit(X, y)


def test_inside_a_fleet_block_other_estimators_are_fitted_once(iris):
    """A candidate without a network is not recorded to run again."""
    Counted.n_fits = 0

    with fleet(n_jobs=1):
        GridSearchCV(Counted(max_iter=1000), {"C": [0.1, 1.0]}, cv=CV).fit(*iris)

    assert Counted.n_fits == 2 * 3 + 1


def test_a_learning_search_learns_inside_a_fleet_block(iris):
    """With n_points="auto" rounds are as large as outside of the block."""
    model, space = LogisticRegression(max_iter=1000), {"C": (1e-3, 1e3, "log-uniform")}
    options = {"n_iter": 5, "optimizer_kwargs": {"n_initial_points": 2}, "cv": CV}
    search = BayesSearchCV(model, space, **options, random_state=0)

    with fleet(n_jobs=1):
        inside = clone(search).fit(*iris)

    assert inside.cv_results_["params"] == search.fit(*iris).cv_results_["params"]


def test_searches_in_two_threads_are_independent(search, iris):
    """Concurrent searches give their results of separate runs."""
    alone = clone(search).fit(*iris).oof_predictions_
    fitted = {}

    def run(name):
        fitted[name] = clone(search).fit(*iris).oof_predictions_

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for result in fitted.values():
        assert_array_equal(result, alone)
    assert len(fitted) == 2


@pytest.mark.filterwarnings("ignore:The estimator .* does not support callbacks")
@pytest.mark.parametrize("kind", ["lone", "pipeline", "other"])
@pytest.mark.parametrize("is_handed_on", [False, True])
def test_callbacks_are_called_as_in_scikit_learn(net, iris, do_nothing, kind, is_handed_on):
    """Each task of scikit-learn's search begins and ends in ours too."""

    class Counting(do_nothing):
        def __init__(self):
            self.begun, self.ended = [], []

        def on_fit_task_begin(self, estimator, context):
            self.begun.append(context.task_name)

        def on_fit_task_end(self, estimator, context):
            self.ended.append(context.task_name)

    if is_handed_on:
        # To estimators inside, as deep as it gets.
        Counting.max_propagation_depth = None
    estimator, grid = {
        "lone": (net, GRID),
        "pipeline": (
            Pipeline([("scale", StandardScaler()), ("net", net)]),
            {"net__learning_rate": [0.003, 0.03]},
        ),
        "other": (LogisticRegression(max_iter=1000), {"C": [0.1, 1.0]}),
    }[kind]
    counts = []
    for cls in (GridSearchCV, model_selection.GridSearchCV):
        counting = Counting()
        cls(estimator, grid, cv=CV).set_callbacks(counting).fit(*iris)
        # The scaler's own fit, and the step of the pipeline that it is, are one task, whose
        # name says whether the scaler was fitted or taken from another candidate.
        names = [
            sorted("fit" if name == "fit-transform-scale" else name for name in tasks)
            for tasks in (counting.begun, counting.ended)
        ]
        assert names[0] == names[1]
        counts.append(names[0])

    assert counts[0] == counts[1]


def test_the_progress_bar_of_scikit_learn_runs(search, iris, capsys):
    """The bar works with networks, without warnings about missing callback support."""
    search.set_callbacks(ProgressBar()).fit(*iris)

    assert "100%" in capsys.readouterr().out


def _share_right(y, predicted):
    assert set(np.unique(predicted)) <= {0, 1}
    return float(np.mean(y == predicted))


def test_the_expected_score_of_several_labels(make_estimator, iris):
    """Probabilities of each label become labels for a metric of labels."""
    y = np.column_stack([iris.y == 0, iris.X[:, 0] > 5.8]).astype(int)
    net = make_estimator("MLPClassifier", max_epochs=5)
    cv = KFold(3, shuffle=True, random_state=0)
    scoring = make_scorer(_share_right)
    search = GridSearchCV(net, {"width": [8]}, scoring=scoring, cv=cv).fit(iris.X, y)

    estimate = search.expected_score_

    predicted = (search.oof_predictions_[0] > 0.5).astype(int)
    assert estimate.naive_score == pytest.approx(_share_right(y, predicted))
    assert estimate.low <= estimate.score <= estimate.high


TREES = IsolationForest(n_estimators=5)
_MARGIN = {"greater_is_better": False, "response_method": "decision_function"}
HINGE = make_scorer(hinge_loss, **_MARGIN)


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:One or more of the test")
@pytest.mark.parametrize(
    ("estimator", "grid", "scoring", "labels"),
    [
        # ROC AUC takes how sure a classifier is; that of its labels is another number.
        (LinearSVC(), {"C": [0.1, 1.0]}, "roc_auc", [0, 1, 0]),
        (RidgeClassifier(), {"alpha": [0.1, 1.0]}, "roc_auc", [0, 1, 0]),
        # What finds outliers is no classifier.
        (TREES, {"max_samples": [10, 20]}, "roc_auc", [1, -1, 1]),
        # Probabilities are no margins.
        (LogisticRegression(), {"C": [0.1, 1.0]}, HINGE, [0, 1, 0]),
        # Of three classes ROC AUC is not defined, unless one says how.
        (LogisticRegression(), {"C": [0.1]}, "roc_auc", [0, 1, 2]),
        (LogisticRegression(), {"C": [0.1]}, ["roc_auc", "average_precision"], [0, 1, 2]),
        (LogisticRegression(), {"C": [0.1]}, lambda model, X, y: model.C, [0, 1, 2]),
    ],
)
def test_metrics_beyond_predictions_are_not_corrected(
    estimator, grid, scoring, labels, iris
):
    """Metrics of decisions, undefined scores, and callables."""
    search = GridSearchCV(estimator, grid, scoring=scoring, cv=CV, refit=False)

    assert search.fit(iris.X, np.array(labels)[iris.y]).expected_score_ is None


@pytest.mark.parametrize("estimator", [LinearSVC(), LogisticRegression()])
def test_labels_suffice_for_a_metric_of_labels(estimator, iris):
    """With or without probabilities of the classifier."""
    search = GridSearchCV(estimator, {"C": [0.1, 1.0]}, cv=CV).fit(iris.X, iris.y == 1)

    estimate = search.expected_score_
    assert estimate.naive_score == pytest.approx(search.best_score_)
    assert estimate.low <= estimate.score <= estimate.high


def test_the_expected_score_of_groups_has_an_interval_over_groups():
    """The effect of a new group is unknown, and is the same for all of its rows."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 15)
    X = rng.normal(size=(300, 2))
    y = X[:, 0] + rng.normal(size=20)[group] + 0.1 * rng.normal(size=300)
    search = GridSearchCV(Ridge(), {"alpha": [0.1]}, cv=GroupKFold(5), scoring=MSE)

    estimate = search.fit(X, y, groups=group).expected_score_

    of_rows = expected_score(search.oof_predictions_, y, scorer_metric(MSE), random_state=0)
    assert estimate.naive_score == pytest.approx(of_rows.naive_score)
    assert estimate.high - estimate.low > 2 * (of_rows.high - of_rows.low)


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("kind", ["network", "other"])
def test_one_column_of_labels_equals_a_vector(net, iris, kind):
    """scikit-learn's classifiers accept it, and warn."""
    estimator = net if kind == "network" else LogisticRegression(max_iter=500)
    grid = GRID if kind == "network" else {"C": [0.1, 1.0]}
    search = GridSearchCV(estimator, grid, cv=KFold(3))
    expected = clone(search).fit(*iris)

    search.fit(iris.X, iris.y[:, np.newaxis])

    assert search.expected_score_ == expected.expected_score_
    # Rows of iris are in the order of classes, and so each fold lacks one.
    assert_array_equal(search.oof_predictions_, expected.oof_predictions_)
    assert np.isfinite(search.oof_predictions_).all()
    assert search._search_record.y.shape == (150,)


def test_the_expected_score_counts_each_candidate_once(net, iris):
    """A candidate of several rungs counts with the most resources only."""
    # The worst loss wins, so fewer epochs are better than more.
    worst = make_scorer(log_loss, response_method="predict_proba")
    rungs = {**RUNGS, "max_resources": 8, "min_resources": 1}
    grid = {"learning_rate": [0.003, 0.03, 0.1]}
    halving = HalvingGridSearchCV(net, grid, scoring=worst, **rungs, cv=CV).fit(*iris)

    rows = list(halving._search_record.last_rows)
    assert len(rows) == 3 < len(halving.cv_results_["params"])
    predictions, metric = halving.oof_predictions_[rows], scorer_metric(worst)
    options = {"classes": np.arange(3), "random_state": 0}
    expected = expected_score(predictions, iris.y, metric, **options)
    assert halving.expected_score_ == expected


def test_equal_failures_are_counted_together(net, iris):
    """If all fits share one reason, scikit-learn's message has it once."""
    X = iris.X.copy()
    X[:] = np.nan

    with (
        pytest.warns(UserWarning, match="non-finite"),
        pytest.raises(ValueError, match="6 fits failed with the following") as error,
    ):
        GridSearchCV(net, GRID, cv=CV).fit(X, iris.y)

    assert str(error.value).count("fits failed with") == 1


@pytest.mark.parametrize(
    ("make", "options"),
    [
        # The first rung has at least 2 rows for each fold and class, as in scikit-learn.
        (HalvingGridSearchCV, {"resource": "n_samples"}),
        (HyperbandSearchCV, {"resource": "n_samples"}),
        # Brackets that find no candidate left do not run.
        (HyperbandSearchCV, {"max_resources": 4, "factor": 2}),
    ],
)
def test_a_plan_has_the_rungs_that_run(net, iris, make, options):
    """In samples or in epochs, also for a space of few candidates."""
    grid = {"learning_rate": [0.001, 0.002, 0.003, 0.01, 0.02, 0.03]}
    search = make(net, grid, cv=CV, random_state=0, **options)

    plan = search.plan(*iris) if "resource" in options else search.plan()
    results = search.fit(*iris).cv_results_

    assert [r.n_resources for r in plan.rounds] == _rounds_done(results)
    if "resource" in options:
        assert min(results["n_resources"]) >= 2 * 3 * 3
        assert not np.isnan(results["mean_test_score"]).any()
    else:
        assert plan.n_candidates == search.ledger_.n_candidates == 6
        assert plan.n_epochs == search.ledger_.epochs_trained


def _rounds_done(results):
    brackets = results.get("bracket", np.zeros(len(results["iter"])))
    rounds = zip(-brackets, results["iter"], results["n_resources"], strict=True)
    return [int(n_resources) for _, _, n_resources in sorted(set(rounds))]


def test_an_unavailable_sampler_is_refused_before_the_search(net, iris, monkeypatch):
    """Without Optuna training does not start, though only the second bracket needs it."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    calls = []
    search = HyperbandSearchCV(
        net, GRID, max_resources=3, sampler="tpe", cv=CV, verbose=calls.append
    )

    with pytest.raises(ImportError, match="pip install"):
        search.fit(*iris)

    assert not calls


RUNGS = {"resource": "max_epochs", "min_resources": 2, "max_resources": 4, "factor": 2}


@pytest.mark.parametrize(
    ("search", "options"),
    [
        (GridSearchCV, {}),
        (HalvingGridSearchCV, RUNGS),
        (HalvingGridSearchCV, {**RUNGS, "aggressive_elimination": True}),
        (HalvingGridSearchCV, {"factor": 2}),
        (HalvingRandomSearchCV, {"factor": 2, "n_candidates": "exhaust"}),
    ],
    ids=["grid", "epochs", "aggressive", "samples", "random"],
)
def test_a_plan_matches_the_search(net, iris, search, options):
    """Also with searched epochs, repeated rungs, and small spaces."""
    space = {"learning_rate": [0.001, 0.003, 0.01, 0.03], "width": [3, 5]}
    if search is GridSearchCV:
        space["max_epochs"] = [1, 2, 6]
    planned = search(net, space, cv=CV, **options)

    plan = planned.plan(*iris)
    planned.fit(*iris)

    assert plan.n_candidates == planned.ledger_.n_candidates
    assert plan.n_epochs == planned.ledger_.epochs_trained
    assert plan.n_fits == planned.ledger_.n_fits
    if "resource" not in options:
        # Each fit trains all of its epochs, whatever rows its rung has.
        assert planned.ledger_.epochs_full == planned.ledger_.epochs_trained


def test_a_plan_of_an_empty_grid_is_one_candidate(net):
    """As in scikit-learn: the estimator's own parameters."""
    plan = GridSearchCV(net, {}, cv=CV).plan()

    assert (plan.n_candidates, plan.n_epochs) == (1, 3 * net.max_epochs)


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:One or more of the test")
def test_a_candidate_without_a_score_has_a_reason(net, iris):
    """Also if it was trained, but its metric is undefined: the words of the metric."""
    for estimator, grid in ((net, GRID), (LogisticRegression(max_iter=500), {"C": [1, 2]})):
        search = GridSearchCV(estimator, grid, scoring="roc_auc", cv=CV, refit=False)
        search.fit(*iris)

        assert search.cv_results_["failure_reason"].tolist() == 2 * [
            "Its predictions could not be scored: multi_class must be in ('ovo', 'ovr')"
        ]
        assert search.ledger_.n_failed == 0
    search.set_params(scoring=["roc_auc", "accuracy"]).fit(*iris)
    assert "scored: multi_class must" in search.cv_results_["failure_reason"][0]


def _weighted(y, predicted, *, weight):
    raise ValueError("of the weight")


def _decides(estimator, X, y):
    if estimator.C == 1:
        raise ValueError("of the metric")
    return 1.0


def _without_targets(estimator, X):
    raise ValueError("of the rows")


def _undefined(estimator, X, y):
    warnings.warn("ill-defined", UndefinedMetricWarning, stacklevel=1)
    warnings.warn("something else", UserWarning, stacklevel=1)
    return np.nan


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:One or more of the test")
@pytest.mark.filterwarnings("ignore:ill-defined", "ignore:something else")
@pytest.mark.parametrize(
    ("scoring", "refit", "reason"),
    [
        ({"a": "roc_auc", "b": _decides}, "b", "of the metric"),
        (_undefined, False, "ill-defined"),
        (lambda *_: np.nan, False, "the scorer returned nan"),
    ],
    ids=["several", "undefined", "nan"],
)
def test_the_reason_comes_from_the_deciding_score(iris, scoring, refit, reason):
    """Not from another metric, and not from another warning."""
    model = LogisticRegression(max_iter=500)
    search = GridSearchCV(model, {"C": [1, 2]}, scoring=scoring, cv=CV, refit=refit)
    search.fit(*iris)

    first_reason = search.cv_results_["failure_reason"][0]
    assert first_reason == f"Its predictions could not be scored: {reason}"


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:One or more of the test")
@pytest.mark.parametrize("is_given", [True, False])
def test_the_reason_uses_the_arguments_of_the_scorer(iris, is_given):
    """With routed parameters, and without targets if there are none."""
    with config_context(enable_metadata_routing=True):
        weighted = make_scorer(_weighted).set_score_request(weight=True)
        scoring, params = _without_targets, {}
        if is_given:
            scoring, params = weighted, {"y": iris.y, "weight": np.ones(150)}
        search = GridSearchCV(KMeans(2), {}, scoring=scoring, cv=3, refit=False)
        search.fit(iris.X, **params)

    (reason,) = search.cv_results_["failure_reason"]
    assert reason.endswith("of the weight" if is_given else "of the rows")


@pytest.mark.filterwarnings("ignore:One or more of the test")
def test_a_scorer_with_a_state_keeps_it(iris):
    """The number of calls equals scikit-learn's, also after a nan."""

    class Counting:
        n_calls = 0

        def __call__(self, estimator, X, y):
            self.n_calls += 1
            return np.nan if self.n_calls == 2 else 1.0

    scorer = Counting()
    model = LogisticRegression(max_iter=500)
    GridSearchCV(model, {"C": [1, 2]}, scoring=scorer, cv=3, refit=False).fit(*iris)

    assert scorer.n_calls == 6


def test_scores_are_any_numbers(iris):
    """As in scikit-learn."""

    def correct(estimator, X, y):
        return Fraction(int((estimator.predict(X) == y).sum()), len(y))

    model, space = LogisticRegression(max_iter=500), {"C": [1, 2]}
    ours, theirs = (
        search(model, space, scoring=correct, cv=CV).fit(*iris).best_score_
        for search in (GridSearchCV, model_selection.GridSearchCV)
    )

    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("MLPClassifier", lambda y: np.where(y == 2, np.nan, y), "Got 50 missing of 150"),
        ("MLPClassifier", lambda y: [None, *y.astype(str)[1:]], "at position 0. Remove"),
        ("MLPRegressor", lambda y: y.astype(str).astype(object) + "a", "MLPClassifier"),
    ],
)
def test_targets_are_validated_before_the_folds(make_estimator, iris, name, spoil, message):
    """One error instead of one per fold."""
    search = GridSearchCV(make_estimator(name), GRID, cv=3)

    with pytest.raises(ValueError, match=message):
        search.fit(iris.X, spoil(iris.y))


@pytest.mark.parametrize("scoring", [log_loss, {"a": "accuracy", "loss": log_loss}])
def test_a_metric_in_place_of_a_scorer_gets_the_scorer(net, iris, scoring):
    """scikit-learn's searches would give every candidate a NaN."""
    search = GridSearchCV(net, {"width": [4]}, scoring=scoring, refit=False)

    with pytest.raises(ValueError, match=r"Got 'log_loss': use make_scorer\(log_loss\)"):
        search.fit(*iris)


@pytest.mark.parametrize("scoring", ["auc", ["accuracy", "auc"], {"a": "auc"}], ids=str)
def test_a_misspelt_metric_gets_the_right_one(net, iris, scoring):
    """And the function that returns all names."""
    message = "'auc' instead. Did you mean 'roc_auc'. Names: sklearn.metrics.get_scorer_na"

    with pytest.raises(ValueError, match=message):
        GridSearchCV(net, GRID, scoring=scoring, refit=False).fit(*iris)


def test_a_missing_device_is_one_error(net, iris):
    """Before all fits fail; not if candidates set their own."""
    net.set_params(device="cuda:99")

    with pytest.raises(ValueError, match="'device' parameter of MLPClassifier"):
        GridSearchCV(net, GRID, cv=CV).fit(*iris)
    GridSearchCV(net, {"device": ["cpu"]}, cv=CV).fit(*iris)
    on_cpu = clone(net).set_params(device="cpu")
    for space in ({"net": [on_cpu]}, {"steps": [[("net", on_cpu)]]}):
        GridSearchCV(Pipeline([("net", net)]), space, cv=CV).fit(*iris)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("epochs", [None, np.nan, "many"])
def test_invalid_epochs_fail_alone(net, iris, epochs):
    """One candidate, not the search."""
    search = GridSearchCV(net, {"max_epochs": [epochs, 2]}, cv=CV).fit(*iris)

    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert "max_epochs" in search.cv_results_["failure_reason"][0]


@pytest.mark.parametrize(
    ("keep", "n_kept"),
    [(None, 0), ("best", 1), (2, 2), ("all", 3), ("auto", 3)],
    ids=str,
)
@pytest.mark.parametrize("is_network", [True, False], ids=["network", "tree"])
def test_the_requested_number_of_predictions_is_kept(net, iris, is_network, keep, n_kept):
    """For the best candidates; positions of held-out rows exist for all."""
    estimator = net if is_network else DecisionTreeClassifier(random_state=0)
    grid = {"max_epochs": [1, 9, 3]} if is_network else {"max_depth": [1, 3, 2]}
    reference = GridSearchCV(estimator, grid, cv=CV).fit(*iris)

    search = clone(reference).set_params(keep_predictions=keep).fit(*iris)

    scores = reference.cv_results_["mean_test_score"]
    is_kept = ~np.isnan(search.oof_predictions_).reshape(3, -1).any(axis=1)
    assert sorted(scores[is_kept]) == sorted(scores)[3 - n_kept :]
    for row in np.flatnonzero(is_kept):
        predictions, expected = (s.oof_predictions_[row] for s in (search, reference))
        assert_array_equal(predictions, expected)
    assert_array_equal(
        np.hstack(search.held_out_rows_), np.hstack(reference.held_out_rows_)
    )
    assert search.expected_score_ == (reference.expected_score_ if n_kept == 3 else None)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_folds_of_large_data_behind_transformers_are_trained_in_turn(
    net, iris, monkeypatch, n_jobs
):
    """Which takes less memory and gives the same results."""
    pipe = Pipeline([("scale", StandardScaler()), ("net", net)])
    search = RandomizedSearchCV(
        pipe, {"net__max_epochs": [1, 5, 3]}, n_iter=3, cv=CV, random_state=0, n_jobs=n_jobs
    )
    together = clone(search).fit(*iris)
    monkeypatch.setattr(_memory_forecast, "LARGE_SAMPLES", 0)

    search.fit(*iris)

    for name in ("mean_test_score", "std_test_score"):
        assert_array_equal(search.cv_results_[name], together.cv_results_[name])
    assert_array_equal(search.oof_predictions_, together.oof_predictions_)
    assert search.ledger_.n_in_fleets == together.ledger_.n_in_fleets == 9


@pytest.mark.parametrize("callbacks", [[], [ProgressBar()]], ids=["plain", "callback"])
def test_predictions_beyond_the_memory_limit_are_dropped(net, iris, monkeypatch, callbacks):
    """Candidates are evaluated in parts with the same scores; the best keep predictions."""
    grid = {"max_epochs": [1, 9, 3, 5, 2]}
    whole = GridSearchCV(net, grid, cv=CV).fit(*iris)
    two_candidates = 2 * 4 * 3 * len(iris.y)
    monkeypatch.setattr(_search_session, "MOST_BYTES_OF_PREDICTIONS", two_candidates)

    search = GridSearchCV(net, grid, cv=CV).set_callbacks(*callbacks).fit(*iris)

    scores = search.cv_results_["mean_test_score"]
    assert_array_equal(scores, whole.cv_results_["mean_test_score"])
    is_kept = ~np.isnan(search.oof_predictions_).any(axis=(1, 2))
    assert_array_equal(np.flatnonzero(is_kept), np.sort(np.argsort(-scores)[:2]))
    assert_array_equal(search.oof_predictions_[is_kept], whole.oof_predictions_[is_kept])
    naive = whole.expected_score_.naive_score
    assert search.expected_score_.naive_score == pytest.approx(naive)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_keep_the_dtype_of_the_network(net, iris, dtype):
    """float32 of most networks takes half the memory."""
    search = GridSearchCV(net.set_params(dtype=dtype), {"max_epochs": [1, 2]}, cv=CV)

    assert search.fit(*iris).oof_predictions_.dtype == dtype


def test_a_skorch_net_is_refitted_to_the_best_epoch(iris):
    """With the epochs of its candidate's score."""
    # Where nothing is learnt the first epoch is as good as any, and comes first.
    X, y = iris.X.astype(np.float32), iris.y.astype(np.int64)
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        nn.Linear, module__in_features=4, module__out_features=3, verbose=0,
        criterion=nn.CrossEntropyLoss, max_epochs=12, batch_size=8,
    )  # fmt: skip

    search = GridSearchCV(net, {"lr": [1e-12, 2e-12]}, cv=CV, select_epoch="best").fit(X, y)

    assert search.best_epochs_[search.best_index_] == 1
    assert len(search.best_estimator_.history) == 1
    assert search.predict(X).shape == (150,)


def test_a_refit_that_fails_says_why(net, iris):
    """If the best candidate cannot be trained on all rows, the error names the reason."""
    grid = {"learning_rate": [1e25, 0.01]}
    search = GridSearchCV(net, grid, cv=CV, refit=lambda results: 0)

    with (
        pytest.warns(Warning, match="3 fits failed|non-finite"),
        pytest.raises(TrainingDivergedError, match="learning_rate"),
    ):
        search.fit(*iris)


def test_a_refit_grants_its_epochs_to_the_last_step_only(make_estimator, net, iris):
    """The best epoch of the network does not apply to a transformer."""
    X = iris.X.copy()
    X[::7, 1] = X[::11, 3] = np.nan
    inner = make_estimator("MLPRegressor", max_epochs=3, dtype="float64")
    imputer = IterativeImputer(inner, max_iter=1, tol=1e9, random_state=0)
    pipeline = Pipeline([("impute", imputer), ("net", net.set_params(max_epochs=8))])

    search = GridSearchCV(
        pipeline, {"net__learning_rate": [3e-3]}, cv=2, select_epoch="best"
    )
    search.fit(X, iris.y)

    assert search.best_epochs_[0] != 3
    assert_allclose(
        search.best_estimator_[:-1].transform(X),
        clone(imputer).fit(X).transform(X),
        atol=1e-9,
    )
