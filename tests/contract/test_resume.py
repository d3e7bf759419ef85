"""A search, or any code in ``fleet()``, continues when it is run again."""

import re
import sqlite3
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from marks import one_in
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV as TheirGridSearchCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    NetClassifier,
    RandomizedSearchCV,
    fleet,
)
from sk_tune._engine import Fit, FitStore, _store, train
from sk_tune._engine._database import SQLite
from sk_tune.exceptions import SkTuneWarning, StoreError

CV = StratifiedKFold(3, shuffle=True, random_state=0)
RATE, WIDTH = "mlpclassifier__learning_rate", "mlpclassifier__width"
RATES = {RATE: loguniform(1e-4, 1e-1)}
GRID = {RATE: [1e-3, 1e-2], WIDTH: [3, 4]}
EPOCHS = {"resource": "mlpclassifier__max_epochs", "max_resources": 4, "factor": 2}


def _net(**params):
    net = MLPClassifier(**{"width": 4, "max_epochs": 3, "random_state": 0, **params})
    return make_pipeline(StandardScaler(), net)


SEED, HYPERBAND = {"random_state": 0}, {"max_resources": 4, "factor": 2, "random_state": 0}
HALVING = {"min_resources": 1, **EPOCHS, **SEED}
SEARCHES = {
    "grid": (GridSearchCV, GRID, {}),
    "random": (RandomizedSearchCV, RATES, {"n_iter": 4, **SEED}),
    "halving grid": (HalvingGridSearchCV, GRID, HALVING),
    "halving random": (HalvingRandomSearchCV, RATES, {"n_candidates": 4, **HALVING}),
    "bayes": (BayesSearchCV, {RATE: (1e-4, 1e-1, "log-uniform")}, {"n_iter": 4, **SEED}),
    "hyperband": (HyperbandSearchCV, RATES, HYPERBAND),
    "asynchronous halving": (HalvingGridSearchCV, GRID, {"asynchronous": True, **HALVING}),
    "asynchronous hyperband": (
        HyperbandSearchCV,
        RATES,
        {"asynchronous": True, **HYPERBAND},
    ),
    "best epoch": (GridSearchCV, GRID, {"select_epoch": "best"}),
}


def _assert_same_results(ours, theirs):
    """Compare ``cv_results_`` bitwise, except for times."""
    assert ours.keys() == theirs.keys()
    for name, column in theirs.items():
        if "time" in name or name.startswith("param"):
            continue
        np.testing.assert_array_equal(ours[name], column, err_msg=name)
    assert ours["params"] == theirs["params"]


def _stop(progress):
    """Press Ctrl-C after three trainings."""
    if progress.n_fits_done >= 3:
        raise KeyboardInterrupt


def _after(n_calls):
    """Return a callable that presses Ctrl-C after some calls."""
    calls = []

    def stop(progress):
        calls.append(progress)
        if len(calls) == n_calls:
            raise KeyboardInterrupt

    return stop, calls


@pytest.mark.filterwarnings("ignore:One or more of the .* scores are non-finite")
@pytest.mark.parametrize("name", one_in(2, SEARCHES))
def test_a_repeated_search_has_the_same_results(name, iris, tmp_path):
    """Bitwise equal, without repeating finished trainings, complete or until Ctrl-C."""
    cls, params, options = SEARCHES[name]
    make = partial(cls, _net(), params, cv=CV, **options)
    whole, again = (make(store=tmp_path / "whole.db").fit(*iris) for _ in range(2))
    path = tmp_path / "fits.db"
    with pytest.raises(KeyboardInterrupt):
        make(store=path, verbose=_stop).fit(*iris)
    resumed = make(store=path).fit(*iris)

    _assert_same_results(again.cv_results_, whole.cv_results_)
    np.testing.assert_array_equal(again.oof_predictions_, whole.oof_predictions_)
    assert again.best_params_ == whole.best_params_
    n_epochs = whole.ledger_.epochs_trained
    assert (whole.ledger_.epochs_loaded, again.ledger_.epochs_trained) == (0, 0)
    assert again.ledger_.epochs_loaded == n_epochs
    _assert_same_results(resumed.cv_results_, whole.cv_results_)
    assert resumed.ledger_.epochs_trained + resumed.ledger_.epochs_loaded == n_epochs


def test_an_interrupted_search_over_a_plain_skorch_net_continues(
    iris, tmp_path, monkeypatch
):
    """It continues within trainings, bitwise equal to an uninterrupted search."""
    monkeypatch.setattr(_store, "SECONDS_BETWEEN", 0.0)
    net = NeuralNetClassifier(
        nn.Linear,
        module__in_features=4,
        module__out_features=3,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        max_epochs=9,
        batch_size=16,
        iterator_train__shuffle=True,
        callbacks=[EarlyStopping(load_best=True), LRScheduler("StepLR", step_size=2)],
        verbose=0,
    )
    rates, X = {"lr": [0.001, 0.01, 0.1]}, iris.X.astype(np.float32)

    def search(path, verbose=0):
        # A skorch net draws its seed from torch's generator.
        torch.manual_seed(0)
        own = GridSearchCV(net, rates, cv=CV, store=path, verbose=verbose)
        return own.fit(X, iris.y)

    whole = search(tmp_path / "whole.db")
    path, (stop, calls) = tmp_path / "fits.db", _after(5)
    with pytest.raises(KeyboardInterrupt):
        search(path, stop)
    n_fits_done, of_rest = calls[-1].n_fits_done, []
    resumed = search(path, of_rest.append)

    assert n_fits_done == 0
    _assert_same_results(resumed.cv_results_, whole.cv_results_)
    # Four epochs of each are there: it is told of an epoch before that is kept.
    assert len([p for p in of_rest if p.n_fits_done == 0]) < 9 - 3
    weights = resumed.best_estimator_.module_.state_dict()
    for name, expected in whole.best_estimator_.module_.state_dict().items():
        assert torch.equal(weights[name], expected)


def test_more_candidates_continue_the_same_sequence(iris, tmp_path):
    """A larger n_iter trains only the new candidates."""
    path = tmp_path / "fits.db"
    options = {"cv": CV, "random_state": 0, "store": path}
    few = RandomizedSearchCV(_net(), RATES, n_iter=2, **options).fit(*iris)

    many = RandomizedSearchCV(_net(), RATES, n_iter=5, **options).fit(*iris)

    assert many.cv_results_["params"][:2] == few.cv_results_["params"]
    assert many.ledger_.epochs_loaded == few.ledger_.epochs_trained
    assert many.ledger_.epochs_trained == 3 * 3 * 3


@pytest.mark.parametrize("what", ["a value", "order of rows", "target", "network"])
def test_another_search_in_the_same_store_finds_nothing_of_the_first(what, iris, tmp_path):
    """Results equal those without a store."""
    path = tmp_path / "fits.db"
    X, y = iris.X.copy(), iris.y.copy()
    GridSearchCV(_net(), GRID, cv=CV, store=path).fit(X, y)
    net = _net()
    if what == "a value":
        X[0, 0] += 1e-9
    elif what == "order of rows":
        order = np.random.default_rng(0).permutation(len(X))
        X, y = X[order], y[order]
    elif what == "target":
        y[0] = 1
    else:
        net = _net(weight_decay=0.5)

    again = GridSearchCV(net, GRID, cv=CV, store=path).fit(X, y)

    # A fold that lacks the sample that changed is the same fold.
    if what != "a value" and what != "target":
        assert again.ledger_.epochs_loaded == 0
    alone = GridSearchCV(net, GRID, cv=CV).fit(X, y)
    _assert_same_results(again.cv_results_, alone.cv_results_)


def test_code_in_fleet_continues(iris, tmp_path):
    """scikit-learn's own search, with networks from the store."""
    results = []
    for _ in range(2):
        with fleet(n_jobs=1, store=tmp_path / "fits.db") as report:
            search = TheirGridSearchCV(_net(), GRID, cv=CV, refit=False).fit(*iris)
        results.append((search.cv_results_, report.n_requested, report.n_loaded))

    (first, *counts), (again, *counts_again) = results
    assert counts == [12, 0]
    assert counts_again == [12, 12]
    _assert_same_results(again, first)


def test_a_bad_store_is_said_before_anything_is_trained(iris, tmp_path):
    """Also by the block."""
    path = tmp_path / "notes.txt"
    path.write_text("These are notes of mine.")

    with pytest.raises(StoreError, match="must be a store of sk_tune"):
        GridSearchCV(_net(), GRID, store=path).fit(*iris)
    with pytest.raises(StoreError, match="must be a store of sk_tune"), fleet(store=path):
        pass


def test_a_search_without_a_seed_warns_that_the_store_is_of_little_use(iris, tmp_path):
    """Another run draws other candidates."""
    search = RandomizedSearchCV(_net(), RATES, n_iter=1, store=tmp_path / "fits.db")

    with pytest.warns(SkTuneWarning, match="random_state=None, each run"):
        search.fit(*iris)


def test_other_estimators_do_not_mind_a_store(iris, tmp_path):
    """Estimators that are not networks train as usual."""
    path = tmp_path / "fits.db"

    GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, store=path).fit(*iris)

    with FitStore(path) as store:
        assert store.info().n_fits == 0


def test_a_search_continues_if_its_store_fills_up(iris, tmp_path, monkeypatch):
    """A full disk costs the store, not the search."""
    path = tmp_path / "fits.db"
    set_up = SQLite._set_up

    def little(database):
        set_up(database)
        database.query("PRAGMA max_page_count = 8")

    monkeypatch.setattr(SQLite, "_set_up", little)
    search = GridSearchCV(_net(), GRID, cv=CV, store=path)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(*iris)

    alone = GridSearchCV(_net(), GRID, cv=CV).fit(*iris)
    _assert_same_results(search.cv_results_, alone.cv_results_)
    assert any("full" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT"])
def test_a_search_survives_any_failing_write(iris, tmp_path, monkeypatch, statement):
    """Each write fails in turn, including checkpoints; the next run continues."""
    monkeypatch.setattr(_store, "SECONDS_BETWEEN", 0.0)
    faults = _Faults(monkeypatch, statement)

    def search(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return GridSearchCV(_net(), GRID, cv=CV, store=path).fit(*iris)

    expected = search(tmp_path / "whole.db").cv_results_
    n_writes = faults.n_seen
    n_failed = 0
    for failing in range(1, n_writes + 1):
        path = tmp_path / f"{failing}.db"
        faults.begin(failing)
        if failing == 1:
            # The file cannot be made; that is said before anything is trained.
            with pytest.raises(StoreError, match=re.escape(str(path))):
                search(path)
        else:
            _assert_same_results(search(path).cv_results_, expected)
        n_failed += faults.n_seen >= failing
        faults.begin(0)

        _assert_same_results(search(path).cv_results_, expected)
        with FitStore(path) as store:
            assert store.verify() == []
            assert store.info().n_fits == 12
    assert n_failed == n_writes > 5


class _Faults:
    """Lets one statement of a kind fail among all statements of stores."""

    def __init__(self, monkeypatch, statement):
        self.statement = statement
        self.n_seen = self.failing = 0
        connect = sqlite3.connect
        faults = self

        class Connection(sqlite3.Connection):
            def execute(self, sql, *args):
                if sql.startswith(faults.statement):
                    faults.n_seen += 1
                    if faults.n_seen == faults.failing:
                        raise sqlite3.OperationalError("database or disk is full")
                return super().execute(sql, *args)

        monkeypatch.setattr(
            sqlite3, "connect", lambda *a, **k: connect(*a, factory=Connection, **k)
        )

    def begin(self, failing):
        """Count from here, and let one of that number fail."""
        self.n_seen, self.failing = 0, failing


class Shortcut(nn.Module):
    """Batch normalisation next to a shortcut, without written-out derivatives."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        norm = nn.BatchNorm1d(24)
        self.layers = nn.Sequential(nn.Linear(n_features, 24), norm, nn.ReLU())
        self.head, self.shortcut = (nn.Linear(n, n_outputs) for n in (24, n_features))

    def forward(self, x):
        return self.head(self.layers(x)) + self.shortcut(x)


def test_nets_that_stop_early_continue_bitwise(digits, tmp_path, monkeypatch):
    """In smaller fleets than before, after a kill every second epoch."""
    monkeypatch.setattr(_store, "SECONDS_BETWEEN", 0.0)
    net = NetClassifier(
        Shortcut,
        early_stopping=True,
        n_iter_no_change=1,
        tol=1e-2,
        batch_size=32,
        max_epochs=8,
    )
    fits = [
        Fit(
            estimator=clone(net).set_params(learning_rate=rate, random_state=seed),
            X=digits.X,
            y=digits.y,
            rows=np.arange(160),
            monitor=np.arange(160, 200),
        )
        for rate in (0.1, 0.03, 0.01)
        for seed in range(4)
    ]
    whole = train(fits)
    n_epochs = sorted(len(trained.state.history) for trained in whole)
    assert n_epochs[0] < n_epochs[-1]
    for stop in range(2, n_epochs[-1], 2):
        path = tmp_path / f"{stop}.db"
        with pytest.raises(KeyboardInterrupt):
            train(fits, store=path, progress=_after(stop)[0])

        again = train(fits, store=path)

        for own, other in zip(again, whole, strict=True):
            np.testing.assert_array_equal(own.predictions, other.predictions)
            for name, weights in other.state.last_weights.items():
                np.testing.assert_array_equal(own.state.last_weights[name], weights)
