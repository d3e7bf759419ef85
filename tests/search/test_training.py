"""Networks of a search, trained step by step."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from marks import slow
from modules import OneLayer
from scipy import sparse
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler

from sk_tune import (
    CNNClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    RNNClassifier,
)
from sk_tune._compat import FoldTask
from sk_tune._engine import Fit, Trained, train
from sk_tune._search import _network_training
from sk_tune._search._fold_fits import FoldRequest
from sk_tune._search._network_training import Trainer
from sk_tune._search._outcomes import SearchOptions
from sk_tune._search._task_runs import _are_samples_of
from sk_tune._training import TrainingState
from sk_tune.exceptions import DataWarning

CV = StratifiedKFold(3, shuffle=True, random_state=1)


def halving(estimator, grid, resource="max_epochs", **options):
    """Return a search of rungs of 1, 3 and 9 epochs."""
    rungs = {"max_resources": 9, "min_resources": 1, "factor": 3, "cv": CV}
    return HalvingGridSearchCV(estimator, grid, resource=resource, **{**rungs, **options})


def _trainer(select_epoch="last", max_resources=0):
    options = SearchOptions(
        search=GridSearchCV(MLPClassifier(), {}, select_epoch=select_epoch),
        resource="max_epochs" if max_resources else None,
        max_resources=max_resources,
    )
    return Trainer((None, None), options)


@pytest.fixture
def requests(make_estimator, iris):
    """Return the folds of one candidate, with fits of 4 epochs."""
    net = make_estimator("MLPClassifier", max_epochs=4)

    def request(fold, rows, test):
        data = {"estimator": net, "X": iris.X, "y": iris.y}
        fields = {"parameters": {"max_epochs": 4}, "fit_params": {}, "candidate": 0}
        task = FoldTask(**data, **fields, train=rows, test=test, fold=fold)
        fit = Fit(**data, rows=rows, monitor=test)
        return FoldRequest(task=task, candidate=5, fit=fit, n_epochs=4)

    return [request(k, *rows) for k, rows in enumerate(CV.split(*iris))]


def _trained_by(trainer, requests, results_of):
    """Return the fits of each step of a trainer, and the trainings."""
    steps, asked, results = trainer.steps(requests), [], None
    while True:
        try:
            fits = steps.send(results)
        except StopIteration as end:
            return asked, end.value
        asked.append(fits)
        results = results_of(fits)


def _as_trained(seed, scores, checkpoints=()):
    history = tuple({"monitor_score": score, "train_loss": 0.0} for score in scores)
    state = TrainingState(seed=seed, weights={}, moments={}, history=history)
    return Trained(
        status="trained",
        state=state,
        predictions=None,
        message="",
        seconds=1.0,
        engine="fleet",
        checkpoints=checkpoints,
    )


@pytest.mark.parametrize(
    ("seed", "callbacks", "expected"),
    [(1, None, 2), (2, None, None), (1, [LRScheduler()], None)],
    ids=["goes on", "another seed", "callbacks"],
)
def test_the_end_of_a_rung_is_a_checkpoint_for_the_next(
    requests, seed, callbacks, expected
):
    """Unless it differs from one training of all epochs."""
    trainer = _trainer("best", max_resources=9)
    request = replace(requests[0], n_epochs=2)
    request.fit.estimator.set_params(callbacks=callbacks)
    _trained_by(trainer, [request], lambda _: [_as_trained(1, [0.1, 0.2])])
    scores = [0.1, 0.2, 0.3, 0.2, 0.1]
    resumed = _as_trained(seed, scores).state
    later = replace(resumed, history=resumed.history[:4])

    (_, [fit]), [training] = _trained_by(
        trainer,
        [replace(request, n_epochs=5)],
        lambda _: [_as_trained(seed, scores, (later,))],
    )

    assert (fit.state, fit.seed, fit.n_epochs) == (None, seed, 3)
    assert expected == (fit.checkpoint and len(fit.checkpoint.history))
    assert training.n_epochs_again == 5 - (expected or 0)


def test_checkpoints_are_dropped(requests):
    """With or without a later step; only pending fits keep some."""
    state = _as_trained(1, [0.1]).state

    asked, trainings = _trained_by(
        _trainer("best"),
        requests,
        lambda fits: [_as_trained(1, [0.1, 0.2], (state,))] * len(fits),
    )

    assert all(fit.keeps_checkpoints for fits in asked for fit in fits)
    assert [training.trained.checkpoints for training in trainings] == [()] * 3


def test_unpredictable_held_out_rows_are_left_out(requests):
    """One fit tests it for each fold; the next candidate does not test again."""
    unpredictable = []
    for request in requests:
        y = request.fit.y.astype(object)
        # A label that no training row has.
        y[request.task.test] = 7
        unpredictable.append(replace(request, fit=replace(request.fit, y=y)))

    asked, _ = _trained_by(_trainer(), unpredictable, train)

    sizes = [(len(fits), {fit.monitor is None for fit in fits}) for fits in asked]
    assert sizes == [(3, {False}), *[(1, {True})] * 3] or sizes == [(3, {False})]


HARD = {
    "dtype": "float64",
    "dropout": 0.3,
    "normalization": "batch",
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "lr_schedule": "cosine",
}


@pytest.fixture
def pipeline(make_estimator):
    """Return a network with every state that a rung has to resume."""
    net = make_estimator("MLPClassifier", **HARD)
    return Pipeline([("scale", StandardScaler()), ("net", net)])


@pytest.mark.parametrize("random_state", [0, None])
def test_promoted_candidates_equal_one_full_training(pipeline, iris, random_state):
    """The last rung, and the refit, equal a training of all epochs at once."""
    grid = {"net__learning_rate": [0.003, 0.01, 0.03], "net__dropout": [0.1, 0.3, 0.5]}
    pipeline.set_params(net__random_state=0)
    options = {"scoring": "neg_log_loss", "random_state": random_state}
    search = halving(pipeline, grid, "net__max_epochs", **options).fit(*iris)
    results = pd.DataFrame(search.cv_results_)
    last = results[results["iter"] == 2]
    candidates = [{n: [v] for n, v in params.items()} for params in last["params"]]
    at_once = GridSearchCV(pipeline, candidates, cv=CV, scoring="neg_log_loss").fit(*iris)

    assert search.n_resources_ == [1, 3, 9]
    np.testing.assert_allclose(
        last[[f"split{k}_test_score" for k in range(3)]],
        np.transpose([at_once.cv_results_[f"split{k}_test_score"] for k in range(3)]),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        search.best_estimator_.predict_proba(iris.X),
        pipeline.set_params(**search.best_params_).fit(*iris).predict_proba(iris.X),
        atol=1e-9,
    )


def test_the_ledger_of_rungs_counts_by_hand(pipeline, iris):
    """9, 3 and 1 candidates on 3 folds: 27 + 9 * 2 + 3 * 6 epochs, 9 + 9 resumed."""
    rates = {"net__learning_rate": np.geomspace(0.001, 0.1, 9)}
    search = halving(pipeline, rates, "net__max_epochs").fit(*iris)

    ledger = search.ledger_
    assert search.n_candidates_ == [9, 3, 1]
    assert ledger.epochs_trained == 27 * 1 + 9 * 2 + 3 * 6
    assert ledger.epochs_saved_by_warm_start == 9 * 1 + 3 * 3
    assert ledger.epochs_full == 9 * 3 * 9
    assert ledger.epochs_saved_by_pruning == ledger.epochs_full - ledger.epochs_trained
    assert (ledger.n_candidates, ledger.n_fits) == (9, 27 + 9 + 3)


def test_curves_of_a_rung_include_earlier_epochs(pipeline, iris):
    """The curve of a promoted candidate begins with epoch 1, as in its first rung."""
    rungs = {"max_resources": 6, "min_resources": 2}
    rates = {"net__learning_rate": [0.001, 0.01, 0.1]}
    search = halving(pipeline, rates, "net__max_epochs", **rungs).fit(*iris)
    curves = search.learning_curves_

    (winner,) = curves.loc[curves["iter"] == 1, "candidate"].unique()
    rate = search.cv_results_["params"][3]["net__learning_rate"]
    assert [0.001, 0.01, 0.1][winner] == rate
    for fold in range(3):
        rows = curves[(curves["fold"] == fold) & (curves["candidate"] == winner)]
        early, late = (rows[rows["result_row"] == row] for row in (winner, 3))
        assert list(late["epoch"]) == [1, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(early["valid_loss"], late["valid_loss"][:2])


def test_a_parameter_that_cannot_be_pickled_may_be_promoted(make_estimator, iris):
    """Pickle refuses, for example, a class inside of a function."""

    class Local(OneLayer):
        """A class that pickle cannot import."""

    net = make_estimator("NetClassifier", module=Local)
    rungs = {"max_resources": 4, "min_resources": 2, "factor": 2}
    grid = {"module": [Local], "learning_rate": [0.01, 0.1]}
    search = halving(net, grid, **rungs).fit(*iris)

    assert search.ledger_.epochs_trained == 2 * 3 * 2 + 3 * 2
    assert search.expected_score_ is not None


def mean_curve(search, row, column):
    """Return the mean curve over folds of a candidate."""
    curves = search.learning_curves_
    curves = curves[curves["result_row"] == row]
    return curves.pivot(index="epoch", columns="fold", values=column).mean(axis=1)


@pytest.mark.parametrize(
    ("scoring", "column", "sign"),
    [("accuracy", "valid_score", 1), ("neg_log_loss", "valid_loss", -1)],
)
def test_the_best_epoch_is_scored_and_refitted(make_estimator, iris, scoring, column, sign):
    """With select_epoch="best", score and refit use the best epoch of the mean curve."""
    net = make_estimator("MLPClassifier", **HARD, learning_rate=0.1, max_epochs=12)
    rates = {"learning_rate": [0.1, 0.3]}
    search = GridSearchCV(
        net, rates, cv=CV, scoring=scoring, select_epoch="best", keep_models="all"
    ).fit(*iris)

    for row in (0, 1):
        curve = sign * mean_curve(search, row, column)
        epoch = curve.idxmax()
        assert len(curve) == 12
        assert search.cv_results_["mean_test_score"][row] == pytest.approx(curve[epoch])
        for model, (_, test) in zip(search.models_[row], CV.split(*iris), strict=True):
            assert model.n_epochs_ == epoch
            np.testing.assert_allclose(
                model.predict_proba(iris.X[test]),
                search.oof_predictions_[row][test],
                atol=1e-12,
            )
    curve = sign * mean_curve(search, search.best_index_, column)
    assert search.best_estimator_.n_epochs_ == curve.idxmax()
    epochs = [(sign * mean_curve(search, row, column)).idxmax() for row in (0, 1)]
    # From the checkpoint before it: there is one after each three epochs.
    assert search.ledger_.epochs_trained_again == len(search.models_[0]) * sum(
        (epoch - 1) % 3 + 1 for epoch in epochs if epoch < 12
    )


@pytest.mark.parametrize("share", [0.0, slow(1e-5)])
def test_less_room_for_checkpoints_costs_epochs_and_changes_nothing(
    make_estimator, iris, monkeypatch, share
):
    """Also with rungs: early states are checkpoints for the next rung."""
    net = make_estimator("MLPClassifier", **HARD, learning_rate=0.1, max_epochs=9)

    def search():
        # The memory that is free is another one each time.
        monkeypatch.setattr("sk_tune._engine._train.available_memory", lambda: 2e9)
        rates = {"learning_rate": loguniform(0.01, 1.0)}
        return HyperbandSearchCV(
            net, rates, cv=CV, select_epoch="best", random_state=0, keep_models="all"
        ).fit(*iris)

    free = search()
    monkeypatch.setattr("sk_tune._engine._memory_limits._SHARE", share)
    tight = search()

    for name in ("mean_test_score", "split0_test_score", "rank_test_score"):
        np.testing.assert_array_equal(tight.cv_results_[name], free.cv_results_[name])
    assert tight.models_.keys() == free.models_.keys()
    for row, models in tight.models_.items():
        twins = free.models_[row]
        # A rung may not use a fold.
        assert [model is None for model in models] == [twin is None for twin in twins]
        for model, twin in zip(filter(None, models), filter(None, twins), strict=True):
            weights = twin.net_.module_.state_dict()
            for name, tensor in model.net_.module_.state_dict().items():
                assert torch.equal(tensor, weights[name])
    assert free.ledger_.epochs_trained == tight.ledger_.epochs_trained
    assert free.ledger_.epochs_trained_again < tight.ledger_.epochs_trained_again


def test_the_best_epoch_with_early_stopping_is_one_that_all_folds_reached(
    make_estimator, iris
):
    """The best epoch is within the shortest curve of the folds."""
    stops = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 20}
    net = make_estimator("MLPClassifier", **HARD, learning_rate=0.1, **stops)
    search = GridSearchCV(net, {"learning_rate": [0.1]}, cv=CV, select_epoch="best").fit(
        *iris
    )

    lengths = search.learning_curves_.groupby("fold")["epoch"].max()
    assert lengths.min() < 20
    assert search.best_estimator_.n_epochs_ <= lengths.min()


def test_curves_match_the_reference_engine(make_estimator, iris):
    """The table equals the records of one skorch net per fit, epoch by epoch."""
    net = make_estimator("MLPClassifier", **HARD, max_epochs=4)
    search = GridSearchCV(net, {"learning_rate": [0.01, 0.03]}, cv=CV).fit(*iris)

    curves = search.learning_curves_
    assert list(curves) == [
        *("result_row", "candidate", "fold", "epoch"),
        *("train_loss", "valid_loss", "valid_score"),
    ]
    for row, rate in enumerate([0.01, 0.03]):
        for fold, (rows, test) in enumerate(CV.split(*iris)):
            candidate = net.set_params(learning_rate=rate)
            fit = Fit(estimator=candidate, X=iris.X, y=iris.y, rows=rows, monitor=test)
            (alone,) = train([fit], engine="alone")
            curve = curves[(curves["result_row"] == row) & (curves["fold"] == fold)]
            np.testing.assert_allclose(curve["train_loss"], alone.train_loss, atol=1e-9)
            np.testing.assert_allclose(curve["valid_loss"], alone.monitor_loss, atol=1e-9)
            np.testing.assert_allclose(curve["valid_score"], alone.monitor_score, atol=1e-9)


@pytest.fixture
def remembered(monkeypatch):
    """The number of resumable networks of the search, before each rung."""
    counts, keep_only = [], Trainer.keep_only

    def counting(trainer, *args):
        keep_only(trainer, *args)
        counts.append(len(trainer._states))

    monkeypatch.setattr(Trainer, "keep_only", counting)
    return counts


NINE = {"learning_rate": np.geomspace(0.001, 0.1, 9)}


@pytest.mark.parametrize("select_epoch", ["last", "best"])
def test_only_networks_that_may_be_resumed_are_remembered(
    make_estimator, iris, remembered, select_epoch
):
    """Of 9 candidates on 3 folds 3 are promoted and then 1."""
    net = make_estimator("MLPClassifier")
    halving(net, NINE, select_epoch=select_epoch).fit(*iris)
    assert remembered == [0, 9, 3]
    remembered.clear()
    rates = {"learning_rate": np.geomspace(0.001, 0.1, 40)}
    options = {
        "max_resources": 9,
        "cv": CV,
        "random_state": 0,
        "select_epoch": select_epoch,
    }

    HyperbandSearchCV(net, rates, factor=3, **options).fit(*iris)

    # Of brackets of 9, 5 and 3 candidates 3 and 1, then 1, then none.
    assert remembered == [0, 9, 3, 0, 3, 0]


def test_an_asynchronous_search_remembers_promotable_candidates(
    make_estimator, iris, remembered
):
    """Of 9 candidates at most 3 are promoted from the first rung, and 1 from the second."""
    options = {"asynchronous": True, "n_jobs": 1}
    halving(make_estimator("MLPClassifier"), NINE, **options).fit(*iris)

    assert max(remembered) <= (3 + 3) * 3
    assert remembered[-1] <= 2 * 3


def test_requested_samples_are_recognized_by_their_values(tmp_path):
    """In any container; held-out samples behind them may have changed types."""
    X, y = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]]), np.arange(3.0)
    np.save(tmp_path / "rows.npy", X)
    rows = np.arange(3)
    fit = SimpleNamespace(X=np.vstack([X, [[6.0, 7.0]]]), y=np.arange(4.0), rows=rows)

    assert _are_samples_of(fit, X, y)
    assert _are_samples_of(fit, np.load(tmp_path / "rows.npy", mmap_mode="r"), y)
    assert not _are_samples_of(fit, X + 1, y)
    assert not _are_samples_of(fit, X[:2], y)
    assert not _are_samples_of(fit, X, y + 1)
    fit.X = sparse.csr_matrix([[1, 0], [0, 2], [3, 4], [5, 6]])
    assert _are_samples_of(fit, fit.X[:3].tocsc(), y)
    assert not _are_samples_of(fit, 2 * fit.X[:3], y)


@pytest.mark.parametrize("kind", [MLPClassifier, CNNClassifier, RNNClassifier])
def test_a_refit_is_a_plain_fit(kind):
    """It uses the kernel if a plain fit does, to the bit."""
    rng = np.random.default_rng(0)
    shape = {MLPClassifier: (5,), CNNClassifier: (2, 8, 8), RNNClassifier: (6, 3)}[kind]
    X = rng.normal(size=(40, *shape)).astype(np.float32)
    y = np.arange(40) % 2
    net = kind(max_epochs=2, batch_size=8, random_state=0)

    search = GridSearchCV(net, {"learning_rate": [0.01]}, cv=2).fit(X, y)

    plain = clone(net).set_params(learning_rate=0.01).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), plain.predict_proba(X))


def test_a_fit_that_killed_its_worker_is_not_trained_again(iris, monkeypatch):
    """Other failed fits are tried without held-out samples in the calling process."""
    n_fits = []

    def losing_train(fits, trained, **options):
        def lose(done):
            trained({i: replace(t, is_lost=t.status == "failed") for i, t in done.items()})

        n_fits.append(len(fits))
        return train(fits, trained=lose, **options)

    monkeypatch.setattr(_network_training, "train", losing_train)
    net = MLPClassifier(width=4, max_epochs=2, random_state=0)

    with pytest.warns((FitFailedWarning, UserWarning)):
        GridSearchCV(net, {"learning_rate": [0.01, -1.0]}, cv=2, refit=False).fit(*iris)

    assert n_fits == [4]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_folds_and_workers_warn_once_at_the_users_line(n_jobs, workers_for_little, iris):
    """A worker's own warnings would ignore the user's filters and name another file."""
    y = np.where(np.arange(len(iris.y)) == 0, 3, iris.y)
    net = MLPClassifier(width=4, max_epochs=2, early_stopping=True, random_state=0)
    search = GridSearchCV(net, {"l1": [0.0, 1e-3]}, cv=KFold(2), n_jobs=n_jobs, refit=False)

    with pytest.warns(DataWarning, match="not stratified") as caught:
        search.fit(iris.X, y)

    assert [warning.filename for warning in caught] == [__file__]
