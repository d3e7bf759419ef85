"""Ensembles out of a search's trials."""

import pickle
from functools import partial

import numpy as np
import pytest
from marks import slow
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from scipy.stats import loguniform
from sklearn import model_selection
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from sk_tune import (
    GreedyOptions,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TrialEnsembleClassifier,
    TrialEnsembleRegressor,
    fleet,
)
from sk_tune._ensemble import collapse
from sk_tune._scores import scorer_metric

from_search = partial(TrialEnsembleClassifier.from_search, random_state=0)
every_method = pytest.mark.parametrize("method", ["greedy", "average"])


@every_method
def test_it_is_the_weighted_average_of_fold_models(search, iris, method):
    """Probabilities average the kept models; each fold has a share of the weight."""
    ensemble = from_search(search, method=method, calibrate=False)

    expected = np.zeros((150, 3))
    for candidate, weight in ensemble.contributions_["weight"].items():
        for model in search.models_[candidate]:
            expected += weight / 3 * model.predict_proba(iris.X)
    assert_allclose(ensemble.predict_proba(iris.X), expected)
    assert ensemble.weights_.sum() == pytest.approx(1)
    n_members = 3 * len(ensemble.result_rows_)
    assert len(ensemble.weights_) == len(ensemble.estimators_) == n_members
    assert ensemble.n_features_in_ == 4
    expected = ensemble.expected_score_
    assert expected.low < expected.score < expected.high
    assert ensemble.best_candidate_score_.score <= expected.naive_score


@every_method
def test_fit_runs_the_search_and_builds_from_it(search, iris, method):
    """``fit`` equals ``from_search`` with the same search."""
    own = clone(search).set_params(keep_models=None)
    fitted = TrialEnsembleClassifier(own, method=method, random_state=0).fit(*iris)
    built = from_search(search, method=method)

    assert_allclose(fitted.predict_proba(iris.X), built.predict_proba(iris.X), atol=1e-12)
    assert fitted.expected_score_ == built.expected_score_
    assert fitted.search_.best_params_ == search.best_params_
    assert not hasattr(fitted.search_, "models_")
    assert not hasattr(own, "cv_results_")
    assert not hasattr(built, "search_")
    assert_array_equal(fitted.oof_predictions_, built.oof_predictions_)


@pytest.mark.slow
def test_additions_must_reach_the_requested_gain():
    """If no addition does, greedy selection returns its start, an average."""
    X, y = make_classification(200, flip_y=0.3, random_state=0)
    trees = ExtraTreesClassifier(20, random_state=0)
    grid = {"max_depth": [1, 4, None], "max_features": [0.1, 1.0]}
    search = GridSearchCV(trees, grid, cv=3, keep_models="all").fit(X, y)
    make = partial(TrialEnsembleClassifier.from_search, search, random_state=0)

    strict, loose = (
        make(method=GreedyOptions(n_bags=1, n_start=2, min_gain=gain)) for gain in (1e9, 0)
    )

    assert len(make().result_rows_) > len(make(n_best=1).result_rows_) == 1
    average = make(method="average", n_best=2)
    assert_array_equal(strict.result_rows_, average.result_rows_)
    assert_array_equal(strict.weights_, average.weights_)
    assert loose.contributions_["weight"].nunique() > 1


def test_a_refit_trains_the_chosen_on_all_samples(search, iris):
    """With refit=True members are plain fits of the chosen candidates."""
    ensemble = from_search(search, refit=True, X=iris.X, y=iris.y)

    assert len(ensemble.estimators_) == len(ensemble.result_rows_)
    for row, member in zip(ensemble.result_rows_, ensemble.estimators_, strict=True):
        params = search.cv_results_["params"][row]
        alone = clone(search.estimator).set_params(**params).fit(*iris)
        found = [own.predict_proba(iris.X) for own in (member, alone)]
        assert_allclose(*found, atol=1e-9)
    with pytest.raises(ValueError, match="needs X and y"):
        TrialEnsembleClassifier.from_search(search, refit=True)


@pytest.mark.parametrize(
    ("scoring", "refit", "name"),
    [
        (None, True, "accuracy"),
        ("roc_auc_ovr", True, "roc_auc_ovr"),
        (["neg_log_loss", "f1_macro"], "f1_macro", "f1_macro"),
    ],
    ids=str,
)
def test_the_score_is_of_the_metric_that_decides(search, iris, scoring, refit, name):
    """The score uses the held-out predictions; log loss chooses the members."""
    own = clone(search).set_params(scoring=scoring, refit=refit).fit(*iris)

    ensemble = from_search(own)

    oof = ensemble.oof_predictions_
    response = oof if name == "roc_auc_ovr" else ensemble.classes_[oof.argmax(axis=1)]
    assert ensemble.expected_score_.score == pytest.approx(
        scorer_metric(name)(iris.y, response)
    )
    by_loss = from_search(own, scoring="neg_log_loss")
    assert_array_equal(ensemble.weights_, by_loss.weights_)
    assert by_loss.expected_score_.score == pytest.approx(-log_loss(iris.y, oof))


def test_a_search_without_predictions_is_fitted_to_keep_them(search, iris):
    """``fit`` does so; a fitted search without predictions is refused."""
    own = clone(search).set_params(keep_predictions=None)

    fitted = TrialEnsembleClassifier(own, random_state=0).fit(*iris)

    assert_array_equal(fitted.oof_predictions_, from_search(search).oof_predictions_)
    with pytest.raises(ValueError, match="keep_predictions"):
        TrialEnsembleClassifier.from_search(own.fit(*iris))


@pytest.mark.parametrize("behind_a_scaler", [False, True])
def test_a_refit_passes_weights_but_not_groups_to_members(
    make_estimator, iris, behind_a_scaler
):
    """Groups are for the splitter; members get the weights."""
    net = make_estimator("MLPClassifier", dtype="float64")
    groups = np.arange(150) % 6
    model = make_pipeline(StandardScaler(), net) if behind_a_scaler else net
    name = "mlpclassifier__dropout" if behind_a_scaler else "dropout"
    search = GridSearchCV(model, {name: [0.0, 0.5]}, cv=GroupKFold(3))

    fitted = TrialEnsembleClassifier(search, refit=True, random_state=0).fit(
        *iris, groups=groups
    )

    params = fitted.search_.cv_results_["params"][fitted.result_rows_[0]]
    alone = clone(model).set_params(**params).fit(*iris)
    found = [own.predict_proba(iris.X) for own in (fitted.estimators_[0], alone)]
    assert_allclose(*found, atol=1e-9)


def test_the_expected_score_has_the_error_of_whole_groups(make_estimator, iris):
    """Samples of one group are dependent, as in the expected score of the search."""
    X, y = np.repeat(iris.X[::5], 5, axis=0), np.repeat(iris.y[::5], 5)
    net = make_estimator("MLPClassifier")
    search = GridSearchCV(net, {"dropout": [0.0, 0.5]}, cv=GroupKFold(3))
    groups = np.repeat(np.arange(30), 5)
    search.set_params(keep_models="all", keep_predictions="all").fit(X, y, groups=groups)

    ensemble = TrialEnsembleClassifier.from_search(
        search, random_state=0, scoring="neg_log_loss"
    )

    losses = -np.log(ensemble.oof_predictions_[np.arange(150), y])
    by_group = losses.reshape(30, 5).mean(axis=1)
    error = (ensemble.expected_score_.high - ensemble.expected_score_.low) / 2 / 1.96
    assert error == pytest.approx(by_group.std(ddof=1) / np.sqrt(30), rel=0.01)


def test_other_searches_are_refused_before_they_run(iris):
    """They do not keep the models of their candidates."""
    searches = [model_selection.GridSearchCV(LogisticRegression(), {"C": [1.0]})]

    for search in [*searches, LogisticRegression()]:
        for refit in (False, True):
            ensemble = TrialEnsembleClassifier(search, refit=refit)
            with pytest.raises(ValueError, match="must be a search of sk_tune. Got"):
                ensemble.fit(*iris)
            assert not hasattr(search, "cv_results_")
    with pytest.raises(ValueError, match="must be a search of regressors. Got one of Log"):
        TrialEnsembleRegressor(GridSearchCV(LogisticRegression(), {})).fit(*iris)


def test_a_refit_of_rungs_trains_as_they_were_trained(make_estimator, iris):
    """Epochs are the rung's; the schedule spans the last rung."""
    net = make_estimator("MLPClassifier", lr_schedule="cosine", dtype="float64")
    grid = {"learning_rate": [0.003, 0.01, 0.03]}
    rungs = {"resource": "max_epochs", "factor": 3, "min_resources": 2, "max_resources": 6}
    options = {"cv": KFold(3, shuffle=True, random_state=0), "keep_models": "all"}
    search = HalvingGridSearchCV(net, grid, **rungs, **options).fit(*iris)

    ensemble = TrialEnsembleClassifier.from_search(
        search, method="average", refit=True, X=iris.X, y=iris.y
    )

    lengths = {
        row: len(member.history_)
        for row, member in zip(ensemble.result_rows_, ensemble.estimators_, strict=True)
    }
    resources = search.cv_results_["n_resources"]
    assert lengths == {row: resources[row] for row in ensemble.result_rows_}
    assert {member.max_epochs for member in ensemble.estimators_} == {6}


def test_a_refit_stops_at_the_best_epoch(make_estimator, iris):
    """With select_epoch="best" a member trains as long as its candidate was scored."""
    net = make_estimator("MLPClassifier", max_epochs=12, learning_rate=0.1)
    search = GridSearchCV(net, {"dropout": [0.0, 0.5]}, cv=3, select_epoch="best").fit(
        *iris
    )

    ensemble = from_search(search, refit=True, X=iris.X, y=iris.y)

    curves = search.learning_curves_
    for row, member in zip(ensemble.result_rows_, ensemble.estimators_, strict=True):
        own = curves[curves["result_row"] == row].groupby("epoch")["valid_score"].mean()
        assert len(member.history_) == own.idxmax()


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(), RobustScaler()])
def test_fold_models_predict_in_one_call(make_estimator, iris, scaler):
    """The networks absorb each fold's scaler; samples are scaled once for all."""
    pipe = make_pipeline(scaler, make_estimator("MLPClassifier", dtype="float64"))
    grid = {
        "mlpclassifier__learning_rate": [0.003, 0.01],
        "mlpclassifier__hidden_layer_sizes": [(6,), (4, 4)],
    }
    search = GridSearchCV(pipe, grid, cv=3, keep_models="all").fit(*iris)
    ensemble = from_search(search, method="average", n_best=4, calibrate=False)
    X = iris.X + np.random.default_rng(0).normal(size=iris.X.shape)

    found = ensemble.predict_proba(X)

    expected = sum(
        weight * member.predict_proba(X)
        for weight, member in zip(ensemble.weights_, ensemble.estimators_, strict=True)
    )
    assert_allclose(found, expected, atol=1e-12)
    collapsed = collapse(ensemble)
    assert_array_equal(collapsed.predict_proba(X), found)
    sizes = {member[-1].hidden_layer_sizes for member in ensemble.estimators_}
    assert collapsed.n_stacks_ == len(sizes)


def test_several_labels_are_averaged_and_have_a_temperature(make_estimator):
    """Each label's log-odds are divided by it, which changes no label."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 4))
    y = ((X[:, :3] + rng.normal(size=(150, 3))) > 0).astype(int)
    # Few epochs leave probabilities near one half: too careful.
    net = make_estimator("MLPClassifier", max_epochs=3, dtype="float64")
    search = GridSearchCV(net, {"learning_rate": [0.01, 0.02]}, cv=KFold(3))
    search.set_params(keep_models="all").fit(X, y)

    plain = from_search(search, calibrate=False)
    scaled = from_search(search)

    mean = sum(
        weight * member.predict_proba(X)
        for weight, member in zip(plain.weights_, plain.estimators_, strict=True)
    )
    assert_allclose(plain.predict_proba(X), mean, rtol=1e-9)
    assert_array_equal(plain.predict(X), mean > 0.5)
    assert plain.temperature_ == 1
    assert scaled.temperature_ < 1
    expected = expit(logit(plain.predict_proba(X)) / scaled.temperature_)
    assert_allclose(scaled.predict_proba(X), expected, rtol=1e-9)
    assert_array_equal(scaled.predict(X), plain.predict(X))


@pytest.fixture(scope="module")
def rare(make_estimator, iris):
    """Return flowers, one of a fourth species, and a search over them."""
    y = np.array(["c", "a", "b"])[iris.y]
    y[7] = "z"
    net = make_estimator("MLPClassifier", dtype="float64")
    cv = KFold(3, shuffle=True, random_state=0)
    grid = {"learning_rate": [0.003, 0.01]}
    return iris.X, y, GridSearchCV(net, grid, cv=cv, keep_models="all").fit(iris.X, y)


@pytest.mark.parametrize(
    ("method", "scoring"),
    [("greedy", "accuracy"), ("greedy", None), ("average", "roc_auc_ovr")],
)
def test_a_class_that_folds_lack_is_aligned(rare, method, scoring):
    """Columns of members that never trained on it are matched by label."""
    X, _, search = rare
    ensemble = from_search(search, method=method, scoring=scoring)

    expected = np.zeros((150, 4))
    for member, weight in zip(ensemble.estimators_, ensemble.weights_, strict=True):
        columns = np.searchsorted(["a", "b", "c", "z"], member.classes_)
        expected[:, columns] += weight * member.predict_proba(X)
    expected = np.maximum(expected, 1e-7) ** (1 / ensemble.temperature_)
    expected /= expected.sum(axis=1, keepdims=True)
    assert {len(member.classes_) for member in ensemble.estimators_} == {3, 4}
    assert ensemble.classes_.tolist() == ["a", "b", "c", "z"]
    assert_array_equal(ensemble.predict(X), ensemble.classes_[expected.argmax(axis=1)])
    assert_allclose(ensemble.predict_proba(X), expected, rtol=1e-6)
    assert np.isfinite(ensemble.expected_score_.score)


class Backwards(ClassifierMixin, BaseEstimator):
    """A logistic regression with its classes in descending order."""

    def __init__(self, C=1.0):
        self.C = C

    def fit(self, X, y):
        self.model_ = LogisticRegression(C=self.C).fit(X / 10, y)
        self.classes_ = self.model_.classes_[::-1]
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X / 10)[:, ::-1]

    def predict(self, X):
        return self.model_.predict(X / 10)


def test_members_may_have_their_classes_in_any_order(iris):
    """Columns are put in the order of the sorted labels, to choose and to predict."""
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    theirs, ours = (
        TrialEnsembleClassifier(
            GridSearchCV(own, {"C": [0.1, 1.0]}, cv=cv), random_state=0
        ).fit(X, iris.y)
        for own, X in ((Backwards(), iris.X), (LogisticRegression(), iris.X / 10))
    )

    assert theirs.expected_score_ == ours.expected_score_
    assert_allclose(theirs.predict_proba(iris.X), ours.predict_proba(iris.X / 10))


def test_samples_of_weight_zero_do_not_choose(make_estimator, iris):
    """Networks are not trained on them, and cannot know their labels."""
    net = make_estimator("MLPClassifier")
    search = GridSearchCV(net, {"learning_rate": [0.003, 0.01]}, cv=StratifiedKFold(3))
    weight = np.where(iris.y == 0, 0.0, 1.0)

    ensemble = TrialEnsembleClassifier(search, calibrate=False, random_state=0)
    ensemble.fit(*iris, sample_weight=weight)

    assert len(ensemble.oof_predictions_) == 100
    # Log loss of labels that cannot be predicted would be above 9.
    assert ensemble.expected_score_.score > -2
    assert ensemble.predict_proba(iris.X)[:, 0].max() == 0


def test_a_refit_from_a_search_takes_its_weights(make_estimator, iris):
    """Members equal those of ``fit``."""
    net = make_estimator("MLPClassifier")
    search = GridSearchCV(net, {"learning_rate": [0.003, 0.01]}, cv=StratifiedKFold(3))
    weight = np.where(iris.y == 0, 0.0, 1.0)
    fitted = clone(search).fit(*iris, sample_weight=weight)
    options = {"refit": True, "random_state": 0}

    ensemble = TrialEnsembleClassifier.from_search(
        fitted, X=iris.X, y=iris.y, sample_weight=weight, **options
    )

    expected = TrialEnsembleClassifier(search, **options).fit(*iris, sample_weight=weight)
    assert len(ensemble.oof_predictions_) == 100
    found = [own.predict_proba(iris.X) for own in (ensemble, expected)]
    assert_allclose(*found, atol=1e-6)
    ensemble.weights_[:] = 1.0  # may be changed


@pytest.mark.parametrize("random_state", [0, None])
def test_rungs_of_samples_give_an_ensemble(random_state, make_estimator, iris):
    """It has candidates of the last rung, whatever samples earlier rungs used."""
    net = make_estimator("MLPClassifier")
    grid = {"learning_rate": [1e-3, 3e-3, 1e-2], "dropout": [0, 0.2, 0.4]}
    options = {"cv": 5, "keep_models": "all", "random_state": random_state}
    search = HalvingGridSearchCV(net, grid, **options).fit(*iris)

    ensemble = TrialEnsembleClassifier.from_search(search)

    last = search.cv_results_["iter"] == search.n_iterations_ - 1
    assert set(ensemble.result_rows_) <= set(np.flatnonzero(last))


@pytest.mark.parametrize("refit", [False, "accuracy", lambda results: 0])
def test_a_search_of_several_metrics_gives_an_ensemble(make_estimator, iris, refit):
    """Whichever metric leads it, or none: choices are by the ensemble's own scoring."""
    search = GridSearchCV(
        make_estimator("MLPClassifier"),
        {"learning_rate": [0.003, 0.03]},
        scoring={"accuracy": "accuracy", "loss": "neg_log_loss"},
        refit=refit,
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        keep_models="all",
    )
    built = from_search(search.fit(*iris))
    fitted = TrialEnsembleClassifier(search, random_state=0).fit(*iris)

    assert built.expected_score_ == fitted.expected_score_
    assert fitted.search_.refit == refit
    assert_array_equal(built.predict_proba(iris.X), fitted.predict_proba(iris.X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test")
def test_failed_candidates_are_not_members(make_estimator, iris):
    """A candidate that fails in all folds is left out, whatever the search is led by."""
    net, grid = make_estimator("MLPClassifier"), {"dropout": [-1.0, 0.0, 0.2]}
    search = GridSearchCV(net, grid, refit=False, cv=3, keep_models="all").fit(*iris)

    ensemble = from_search(search, method="average")

    assert set(ensemble.result_rows_) <= {1, 2}
    assert np.isfinite(ensemble.predict_proba(iris.X)).all()


@pytest.mark.parametrize("scoring", [None, "r2", "neg_mean_absolute_error"])
def test_networks_of_several_targets_are_averaged(make_estimator, diabetes, scoring):
    """Targets in different units, by one call of the stacked networks."""
    y = np.stack([diabetes.y, diabetes.X[:, 0] + 5], axis=1)
    net = make_estimator("MLPRegressor", dtype="float64")
    search = GridSearchCV(
        net, {"learning_rate": [0.003, 0.01]}, cv=3, keep_models="all"
    ).fit(diabetes.X, y)

    ensemble = TrialEnsembleRegressor.from_search(search, scoring=scoring, random_state=0)

    expected = sum(
        weight * member.predict(diabetes.X)
        for weight, member in zip(ensemble.weights_, ensemble.estimators_, strict=True)
    )
    assert_allclose(ensemble.predict(diabetes.X), expected, rtol=1e-12)


def test_it_works_in_scikit_learn(search, iris):
    """It is cloned, pickled and cross-validated as any estimator."""
    ensemble = from_search(search)
    copy = pickle.loads(pickle.dumps(ensemble))

    assert_array_equal(copy.predict_proba(iris.X), ensemble.predict_proba(iris.X))
    assert len(cross_val_score(clone(ensemble), *iris, cv=2)) == 2
    assert not hasattr(ensemble.search, "cv_results_")


def test_it_is_the_same_in_a_fleet_block(search, iris):
    """In ``with fleet()`` the search trains by itself, as it does elsewhere."""
    ensemble = TrialEnsembleClassifier(search, random_state=0)
    expected = cross_val_score(ensemble, *iris, cv=2)
    with fleet(n_jobs=1):
        inside = cross_val_score(ensemble, *iris, cv=2)

    assert_array_equal(inside, expected)


@pytest.mark.parametrize(
    "params", [{"method": "best"}, {"n_best": 0}, {"scoring": "acuracy"}], ids=str
)
def test_parameters_are_checked(search, params):
    """A parameter that is out of range is named."""
    (name,) = params
    with pytest.raises(ValueError, match=f"'{name}' parameter of TrialEnsembleClassifier"):
        TrialEnsembleClassifier.from_search(search, **params)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["greedy", slow("average")])
@pytest.mark.parametrize(("n_repetitions", "slack"), [(3, 0.08), slow(20, 0.025)])
def test_noise_is_scored_at_chance(method, n_repetitions, slack, make_estimator):
    """On labels that are noise the own score and fresh samples are near one half."""
    scores = []
    for seed in range(n_repetitions):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(400, 64)), np.tile([0, 1], 200)
        rng.shuffle(y)
        net = make_estimator("MLPClassifier", max_epochs=3, batch_size=32)
        cv = StratifiedKFold(3, shuffle=True, random_state=seed)
        options = {"n_iter": 8, "cv": cv, "random_state": seed}
        search = RandomizedSearchCV(
            net, {"learning_rate": loguniform(1e-3, 0.1)}, **options
        )
        ensemble = TrialEnsembleClassifier(
            search, method=method, scoring="accuracy", random_state=seed
        ).fit(X[:200], y[:200])
        scores.append([ensemble.expected_score_.score, ensemble.score(X[200:], y[200:])])

    # Standard error of 3 means of 200 samples: 0.02, of 20: 0.008.
    assert (abs(np.mean(scores, axis=0) - 0.5) < slack).all()
