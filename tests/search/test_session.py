"""Outcomes of the tasks of a round: failures, races, interruptions, kept models."""

import re
import threading
import warnings

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal, assert_equal
from sklearn import model_selection
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    StratifiedKFold,
    _search,
    _search_successive_halving,
)
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sk_tune import BayesSearchCV, GridSearchCV, HalvingGridSearchCV, MLPClassifier
from sk_tune._search import _fold_fits, _task_runs
from sk_tune.exceptions import SkTuneWarning, TrainingFailedError

CV = StratifiedKFold(3, shuffle=True, random_state=1)


class Picky(TransformerMixin, BaseEstimator):
    """Refuses to fit rows that lack a certain row."""

    def __init__(self, needs=None, error=RuntimeError):
        self.needs = needs
        self.error = error

    def fit(self, X, y=None):
        if self.needs is not None and not (self.needs == X).all(axis=1).any():
            raise self.error("the row is not there")
        return self

    def transform(self, X):
        return X


def messages(caught, category):
    """Return the texts of warnings of a category."""
    return [str(w.message) for w in caught if issubclass(w.category, category)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [({"learning_rate": [1e25]}, "learning_rate"), ({"dropout": [-1.0]}, "dropout")],
)
@pytest.mark.parametrize("error_score", [np.nan, 0.0])
def test_a_failed_candidate_has_a_reason_and_affects_no_other(
    net, iris, bad, reason, error_score
):
    """Divergence or invalid values give the error score and a reason, with one warning."""
    grid = [bad, {"learning_rate": [0.01, 0.03]}]
    search = GridSearchCV(net, grid, cv=CV, error_score=error_score)

    with warnings.catch_warnings(record=True, action="always") as caught:
        search.fit(*iris)

    alone = GridSearchCV(net, grid[1], cv=CV).fit(*iris)
    results = search.cv_results_
    assert_equal(results["split0_test_score"][0], error_score)
    assert_array_equal(results["mean_test_score"][1:], alone.cv_results_["mean_test_score"])
    assert reason in results["failure_reason"][0]
    assert list(results["failure_reason"][1:]) == ["", ""]
    assert search.best_index_ > 0
    (warning,) = messages(caught, FitFailedWarning)
    assert "3 fits failed out of a total of 9" in warning
    assert search.ledger_.n_failed == 3


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_failures_in_one_fold_stay_in_that_fold(net, iris):
    """A failed fold is NaN, and curves and models keep their folds."""
    (_, test), *_ = CV.split(*iris)
    unique = next(i for i in test if (iris.X[i] == iris.X).all(axis=1).sum() == 1)
    pipeline = Pipeline([("picky", Picky(iris.X[unique])), ("net", net)])
    grid = {"net__learning_rate": [0.01, 0.03]}
    search = GridSearchCV(pipeline, grid, cv=CV, keep_models="all")
    theirs = model_selection.GridSearchCV(pipeline, grid, cv=CV)

    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 6"):
        search.fit(*iris)
    with pytest.warns(FitFailedWarning):
        theirs.fit(*iris)

    for fold in range(3):
        name = f"split{fold}_test_score"
        assert_allclose(search.cv_results_[name], theirs.cv_results_[name])
    assert set(search.learning_curves_["fold"]) == {1, 2}
    assert [model is None for model in search.models_[0]] == [True, False, False]
    assert np.isnan(search.oof_predictions_[0][test]).all()
    assert "the row is not there" in search.cv_results_["failure_reason"][0]


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_a_search_of_failures_only_raises(net, iris):
    """If all fits fail, ``fit`` raises as in scikit-learn, and only the reasons remain."""
    search = GridSearchCV(net, {"dropout": [0.0]}, cv=CV, time_budget=60.0).fit(*iris)
    search.set_params(param_grid={"dropout": [-1.0, -2.0]})

    with pytest.raises(ValueError, match="All the 6 fits failed") as caught:
        search.fit(*iris)

    assert "dropout" in str(caught.value)
    assert all("dropout" in reason for reason in search.cv_results_["failure_reason"])
    assert not [name for name in vars(search) if re.match("best_|refit_time_", name)]
    for method in (search.predict, search.predict_proba, search.score):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            method(iris.X)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        check_is_fitted(search)


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_rounds_of_failures_do_not_end_a_search(net, iris):
    """If all fits of one call fail, the next call is evaluated."""
    grid = [{"dropout": [-1.0] * 5}, {"dropout": [0.0]}]
    search = GridSearchCV(net, grid, cv=CV, time_budget=60.0)

    with pytest.warns(FitFailedWarning, match="15 fits failed out of a total of 18"):
        search.fit(*iris)

    assert search.best_index_ == 5


@pytest.mark.parametrize("bad", [{"learning_rate": [1e25]}, {"dropout": [-1.0]}])
def test_error_score_raise_raises(net, iris, bad):
    """With error_score="raise" the first failure is raised."""
    with pytest.raises((TrainingFailedError, ValueError)):
        GridSearchCV(net, bad, cv=CV, error_score="raise").fit(*iris)


def seeded_module():
    """Return a small network that seeds torch itself."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


class Silent(Callback):
    """A callback unknown to fleets."""

    def on_epoch_end(self, net, **kwargs):
        """Ignore the end of an epoch."""


def skorch_net(**params):
    """Return a plain skorch net."""
    settings = {"criterion": nn.CrossEntropyLoss, "max_epochs": 2, "batch_size": 32}
    return NeuralNetClassifier(seeded_module, **{**settings, "verbose": 0, **params})


@pytest.mark.parametrize("callbacks", [None, [("silent", Silent())]])
def test_skorch_nets_score_as_in_scikit_learn(iris, callbacks):
    """A plain skorch net trains in a fleet or warns once; scores are the same."""
    X, y = iris.X.astype(np.float32), iris.y.astype(np.int64)
    net = skorch_net(callbacks=callbacks)
    grid = {"lr": [0.01, 0.1]}
    options = {"cv": CV, "scoring": "neg_log_loss"}
    theirs = model_selection.GridSearchCV(net, grid, **options).fit(X, y)

    with warnings.catch_warnings(record=True, action="always") as caught:
        ours = GridSearchCV(net, grid, **options).fit(X, y)

    scores = [search.cv_results_["mean_test_score"] for search in (ours, theirs)]
    assert_allclose(*scores, rtol=1e-5)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    warned = messages(caught, SkTuneWarning)
    assert len(warned) == (callbacks is not None)
    if callbacks is not None:
        assert "6 networks were trained alone" in warned[0]
        assert "Silent" in warned[0]
        assert ours.ledger_.n_alone == 6
    else:
        assert ours.ledger_.n_in_fleets == 6


def test_an_error_in_preparing_a_fit_is_reported(net, iris, monkeypatch):
    """Its text is the reason in the ledger and in one warning; scores do not change."""
    expected = GridSearchCV(net, WIDTHS, cv=CV).fit(*iris)

    def broken(*args):
        raise RuntimeError("a new release has other names")

    monkeypatch.setattr(_fold_fits, "_candidate", broken)
    with pytest.warns(SkTuneWarning, match="9 because preparing") as caught:
        search = GridSearchCV(net, WIDTHS, cv=CV).fit(*iris)

    assert len(caught) == 1
    reason = "preparing its fit failed (RuntimeError: a new release has other names)"
    assert search.ledger_.alone_reasons == {reason: 9}
    assert str(search.ledger_).splitlines()[-1] == f"9 trained alone: {reason}"
    assert search.best_score_ == expected.best_score_


def test_an_error_in_joining_the_folds_is_reported(net, iris, monkeypatch):
    """Scores do not change; the ledger and one warning say why there are no curves."""
    pipeline = Pipeline([("picky", Picky()), ("net", net)])
    grid = {f"net__{name}": values for name, values in WIDTHS.items()}
    expected = GridSearchCV(pipeline, grid, cv=CV).fit(*iris)

    def full(*args):
        raise MemoryError("Unable to allocate 8 GiB")

    monkeypatch.setattr(_fold_fits, "_stack", full)
    with pytest.warns(SkTuneWarning, match="9 fits without a held-out curve") as caught:
        search = GridSearchCV(pipeline, grid, cv=CV).fit(*iris)

    assert len(caught) == 1
    reason = "because joining its samples failed (MemoryError: Unable to allocate 8 GiB)"
    assert search.ledger_.remarks == {f"without a held-out curve, {reason}": 9}
    assert search.best_score_ == expected.best_score_
    assert not np.isfinite(search.learning_curves_["valid_loss"]).any()


def test_an_error_in_predicting_is_reported(iris):
    """If the scorer needs no predictions, the ledger and one warning say why none exist."""

    class Mute(SVC):
        def predict(self, X):
            raise RuntimeError("labels are unknown")

    with pytest.warns(SkTuneWarning, match="3 fits without held-out predictions") as caught:
        search = GridSearchCV(Mute(), {}, cv=CV, scoring="roc_auc", refit=False).fit(
            iris.X, iris.y == 1
        )

    assert len(caught) == 1
    reason = "because they failed (RuntimeError: labels are unknown)"
    assert search.ledger_.remarks == {f"without held-out predictions, {reason}": 3}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_an_error_that_tasks_raise_is_reported_once(net, iris):
    """As failed fits, not also as networks trained alone."""
    pipeline = Pipeline([("picky", Picky()), ("net", net)])
    grid = {"picky__needs": [None, np.full(4, -1.0)]}

    with warnings.catch_warnings(record=True, action="always") as caught:
        search = GridSearchCV(pipeline, grid, cv=CV).fit(*iris)

    assert not messages(caught, SkTuneWarning)
    assert "3 fits failed" in "".join(messages(caught, FitFailedWarning))
    assert search.ledger_.alone_reasons == {}
    assert search.ledger_.n_failed == 3


def test_the_plan_of_skorch_nets_counts_repeated_epochs(iris):
    """Each rung starts from scratch: 4, 2 and 1 candidates for 1, 2 and 4 epochs."""
    X, y = iris.X.astype(np.float32), iris.y.astype(np.int64)
    rungs = {"resource": "max_epochs", "max_resources": 4, "factor": 2}
    grid = {"lr": [0.01, 0.03, 0.1, 0.3]}
    search = HalvingGridSearchCV(skorch_net(), grid, **rungs, cv=CV)

    planned = search.plan().n_epochs

    assert planned == search.fit(X, y).ledger_.epochs_trained == 3 * (4 + 2 * 2 + 4)


def test_the_best_epoch_belongs_to_the_scored_networks(make_estimator, iris):
    """Also without a seed: repeated training gives the same network."""
    net = make_estimator("MLPClassifier", max_epochs=20, learning_rate=0.1)
    net.set_params(random_state=None)

    search = GridSearchCV(
        net, {"dropout": [0.0, 0.5]}, cv=CV, select_epoch="best", keep_models="all"
    ).fit(*iris)

    curves = search.learning_curves_
    for row, models in search.models_.items():
        for fold, model in enumerate(models):
            rows = curves[(curves["result_row"] == row) & (curves["fold"] == fold)]
            losses = model.history_[:, "train_loss"]
            assert len(losses) == search.best_epochs_[row]
            assert_allclose(losses, rows["train_loss"][: len(losses)], rtol=1e-5)


class Halved(MLPClassifier):
    """A user's network that trains on the first half of its rows."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(X[::2], y[::2])


def test_a_users_fit_is_respected(net, iris, assert_same_search):
    """A subclass that overrides ``fit`` is trained by its own method."""
    halved = Halved(**net.get_params(deep=False))
    grid = {"learning_rate": [0.01, 0.03]}

    assert_same_search(
        GridSearchCV(halved, grid, cv=CV),
        model_selection.GridSearchCV(halved, grid, cv=CV),
        *iris,
    )


def interrupted(search, data):
    """Fit a search that Ctrl-C interrupts."""
    with warnings.catch_warnings(action="ignore"), pytest.raises(KeyboardInterrupt):
        search.fit(*data)
    return search


class Stop:
    """Presses Ctrl-C when a number of fits is done."""

    def __init__(self, n_fits):
        self.n_fits = n_fits

    def __call__(self, progress):
        if progress.n_fits_done >= self.n_fits:
            raise KeyboardInterrupt


# Signatures differ by their width, so that each candidate is a fleet of its own.
WIDTHS = {"hidden_layer_sizes": [(4,), (5,), (6,)]}


@pytest.mark.parametrize(
    "options",
    [
        {},
        *({"error_score": s} for s in ("raise", 2.0)),
        {"select_epoch": "best"},
    ],
    ids=str,
)
def test_ctrl_c_leaves_a_usable_search(net, iris, options):
    """Complete candidates have scores, and the best is fitted."""
    search = GridSearchCV(net, WIDTHS, cv=CV, verbose=Stop(3), **options)

    interrupted(search, iris)

    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).sum() == 1
    assert search.best_index_ == np.flatnonzero(np.isfinite(scores))[0]
    alone = GridSearchCV(net, WIDTHS, cv=CV).fit(*iris)
    assert search.best_score_ == alone.cv_results_["mean_test_score"][search.best_index_]
    assert search.predict(iris.X).shape == (150,)
    assert search.expected_score_ is not None
    assert "interrupted" in "".join(search.cv_results_["failure_reason"])


def _press(*_):
    raise KeyboardInterrupt


# Without a complete candidate; a second time, when what trains is not waited for.
@pytest.mark.parametrize(("n_fits", "scoring"), [(0, None), (3, _press)])
def test_ctrl_c_without_a_result_fits_nothing(net, iris, n_fits, scoring):
    """A search that was interrupted before the first score is not fitted."""
    search = GridSearchCV(net, WIDTHS, cv=CV, verbose=Stop(n_fits), scoring=scoring)

    interrupted(search, iris)

    assert n_fits or not hasattr(search, "cv_results_")
    assert not hasattr(search, "best_estimator_")


class RefitFails(LogisticRegression):
    """Raises an error on all rows."""

    error = KeyboardInterrupt

    def fit(self, X, y):
        if len(X) == 150:
            raise self.error
        return super().fit(X, y)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_unfinished_refit_loses_no_result(iris, error, monkeypatch):
    """Everything except the fitted estimator is present, and replaces earlier results."""
    monkeypatch.setattr(RefitFails, "error", error)
    strengths = {"C": [0.1, 1.0]}
    search = GridSearchCV(LogisticRegression(max_iter=1000), strengths, cv=CV).fit(*iris)
    best = search.best_score_

    search.set_params(estimator=RefitFails(max_iter=1000))
    with pytest.raises(error):
        search.fit(*iris)

    assert search.best_score_ == search.cv_results_["mean_test_score"].max() == best
    assert search.expected_score_ is not None
    assert len(search.oof_predictions_) == 2
    assert search.ledger_.seconds["refit"] == 0.0
    assert not hasattr(search, "best_estimator_")


def test_ctrl_c_keeps_other_estimators_from_running(net, iris):
    """Pending estimators without networks do not run after Ctrl-C."""
    pipeline = Pipeline([("last", SVC())])
    grid = [{"last": [net]}, {"last": [net], "last__hidden_layer_sizes": [(5,)]}]
    grid.append({"last": [LogisticRegression(max_iter=1000)]})
    search = GridSearchCV(pipeline, grid, cv=CV, verbose=Stop(3))

    interrupted(search, iris)

    assert np.isnan(search.cv_results_["mean_test_score"][2])


class Pressing(LogisticRegression):
    """Presses Ctrl-C when it is fitted with C=1."""

    def fit(self, X, y):
        if self.C == 1.0:
            assert PRESSED.wait(20)
            raise KeyboardInterrupt
        return super().fit(X, y)


PRESSED = threading.Event()
# Of the candidates, the second is interrupted.
STRENGTHS = {"C": [0.1, 1.0, 10.0]}


def assert_usable(search, data, n_done=1):
    """Check that an interrupted search has its first candidates and the best of them."""
    scores = search.cv_results_["mean_test_score"]
    assert_array_equal(np.isfinite(scores), np.arange(len(scores)) < n_done, strict=True)
    assert search.best_index_ == np.nanargmax(scores)
    assert search.predict(data.X).shape == data.y.shape
    assert [len(folds) for folds in search.held_out_rows_] == [3] * len(scores)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_ctrl_c_while_other_estimators_are_fitted(iris, monkeypatch, n_jobs):
    """In this process or in workers, finished candidates are kept."""
    ended, end = [], _task_runs._end
    PRESSED.clear()

    def noting(*done):
        ended.append(done)
        if len(ended) == 3:
            PRESSED.set()
        return end(*done)

    monkeypatch.setattr(_task_runs, "_end", noting)
    search = GridSearchCV(Pressing(max_iter=1000), STRENGTHS, cv=CV, n_jobs=n_jobs)

    with joblib.parallel_config("threading"):
        interrupted(search, iris)

    assert_usable(search, iris)
    assert list(search.cv_results_["failure_reason"] != "") == [False, True, True]


def test_ctrl_c_while_candidates_are_scored(net, iris):
    """Scored networks are kept, the rest are left out."""
    calls = []

    def pressing(estimator, X, y):
        calls.append(estimator)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return estimator.score(X, y)

    search = GridSearchCV(net, {"learning_rate": [0.01, 0.03]}, cv=CV, scoring=pressing)

    interrupted(search, iris)

    assert_usable(search, iris)
    assert len(calls) == 5


def test_ctrl_c_while_transformers_are_fitted(net, iris):
    """Results of earlier calls of ``evaluate_candidates`` are kept."""
    pipeline = Pipeline([("own", Picky(error=KeyboardInterrupt)), ("net", net)])
    grid = {"own__needs": [None, np.full(4, np.inf)]}
    # With a time budget the first candidate is evaluated alone.
    search = GridSearchCV(pipeline, grid, cv=CV, time_budget=1000.0)

    interrupted(search, iris)

    assert_usable(search, iris)


class PressingSampler:
    """Presses Ctrl-C at the question for the third candidate."""

    def __init__(self, space, random_state):
        self.strengths = [0.1, 10.0]

    def ask(self, n):
        if not self.strengths:
            raise KeyboardInterrupt
        return [{"C": self.strengths.pop(0)}]

    def tell(self, *_):
        """Ignore all scores."""


def test_ctrl_c_while_candidates_are_chosen(iris):
    """All evaluated candidates remain."""
    model, space = LogisticRegression(max_iter=1000), {"C": (0.1, 10.0)}
    search = BayesSearchCV(model, space, n_iter=5, sampler=PressingSampler, cv=CV)

    interrupted(search, iris)

    assert_usable(search, iris, n_done=2)


def test_candidates_without_results_of_scikit_learn_are_dropped(iris):
    """Ctrl-C between two rounds leaves no row of the second round."""

    class Interrupted(GridSearchCV):
        def _propose(self, rounds, context):
            rounds.evaluate([{"C": 0.1}])
            rounds.session.outcomes.append([])
            rounds.session.models[1] = []
            raise KeyboardInterrupt

    model = LogisticRegression(max_iter=1000)
    search = Interrupted(model, STRENGTHS, cv=CV, keep_models="all")

    interrupted(search, iris)

    assert_usable(search, iris)
    assert list(search.models_) == [0]


@pytest.mark.parametrize(("keep", "rows"), [(None, None), ("best", 1), (2, 2), ("all", 4)])
def test_kept_models_predict_their_scores(net, iris, keep, rows):
    """Models of the best candidates are kept, and predict their held-out fold equally."""
    search = GridSearchCV(
        net, {"learning_rate": [0.001, 0.01, 0.03, 0.1]}, cv=CV, keep_models=keep
    ).fit(*iris)

    if rows is None:
        assert not hasattr(search, "models_")
        return
    order = np.argsort(-search.cv_results_["mean_test_score"], kind="stable")
    assert set(search.models_) == set(order[:rows])
    for row, models in search.models_.items():
        for model, (_, test) in zip(models, CV.split(*iris), strict=True):
            assert_allclose(
                model.predict_proba(iris.X[test]),
                search.oof_predictions_[row][test],
                atol=1e-12,
            )


def test_kept_models_of_other_estimators_come_from_their_workers(iris):
    """Models from workers are kept as well."""
    search = GridSearchCV(
        LogisticRegression(max_iter=1000), {"C": [0.1]}, cv=CV, keep_models="all", n_jobs=2
    ).fit(*iris)

    (models,) = search.models_.values()
    for model, (train, _) in zip(models, CV.split(*iris), strict=True):
        assert_allclose(model.coef_, clone(model).fit(iris.X[train], iris.y[train]).coef_)


@pytest.mark.parametrize("asynchronous", [None, False, True])
def test_an_unknown_form_of_tasks_falls_back(asynchronous, iris, monkeypatch):
    """With one warning; networks train one by one, to scikit-learn's scores."""
    fit_and_score = _search._fit_and_score

    def changed(*args, **options):
        return fit_and_score(*args, **options)

    net = MLPClassifier(width=4, max_epochs=2, random_state=0)
    if asynchronous is None:
        options = {"param_grid": {"learning_rate": [0.01, 0.1]}, "cv": 3}
        search, theirs = GridSearchCV(net, **options), _search.GridSearchCV(net, **options)
    else:
        grid = {"learning_rate": [0.01, 0.1]}
        rungs = {"resource": "max_epochs", "min_resources": 2, "max_resources": 4}
        options = {**rungs, "factor": 2, "cv": 3, "random_state": 0}
        search = HalvingGridSearchCV(net, grid, asynchronous=asynchronous, **options)
        theirs = _search_successive_halving.HalvingGridSearchCV(net, grid, **options)
    monkeypatch.setattr(_search, "_fit_and_score", changed)

    with pytest.warns(SkTuneWarning, match="networks train one by one") as caught:
        search.fit(*iris)
    theirs.fit(*iris)

    assert len(caught) == 1
    name = "mean_test_score"
    assert_array_equal(search.cv_results_[name], theirs.cv_results_[name])
    assert search.best_params_ == theirs.best_params_
    assert search.learning_curves_.empty
    assert_array_equal(search.predict(iris.X), theirs.predict(iris.X))
