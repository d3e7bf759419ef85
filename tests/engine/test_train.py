"""``train`` returns results in order, and does not change its inputs."""

import gc
import os
import random
import signal
import threading
import time
from dataclasses import replace
from multiprocessing import active_children

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from joblib.parallel import BACKENDS
from marks import slow
from modules import OneLayer
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F

from sk_tune import MLPClassifier, MLPRegressor, NetClassifier
from sk_tune._engine import (
    Fit,
    FitStore,
    TimeLimit,
    _executors,
    _shard,
    _train,
    fitted_estimator,
    train,
)
from sk_tune._fleets import Plan, _active_batch, _loop
from sk_tune.exceptions import TrainedAloneWarning

ROWS, MONITOR = np.arange(150), np.arange(150, 200)
BASE = {"max_epochs": 2, "batch_size": 32, "learning_rate": 0.01}
PLACES = ["cpu", "cuda", "cpu", "cuda:1"]


class Functional(OneLayer):
    """A module with functional dropout, which a fleet cannot reproduce."""

    def forward(self, x):
        return super().forward(F.dropout(x, 0.2, training=self.training))


class Deciding(OneLayer):
    """A module with control flow that depends on its data."""

    def forward(self, x):
        return super().forward(x if x.mean() > 0.3 else 2 * x)


class Sine(OneLayer):
    """A module that is not a chain of known layers."""

    def forward(self, x):
        return super().forward(torch.sin(x))


class OwnFit(MLPClassifier):
    """An estimator that trains on other labels than it is given."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, (y + 1) % 10, sample_weight)


def _mlp(**params):
    return MLPClassifier(**{**BASE, "hidden_layer_sizes": (8,), **params})


def _net(module, **params):
    return NetClassifier(module, **{**BASE, **params})


def _fit(data, estimator=None, **changes):
    own = {"X": data.X, "y": data.y, "rows": ROWS, "monitor": MONITOR, "seed": 0}
    return Fit(estimator=estimator or _mlp(), **{**own, **changes})


# --- Order and arguments


@pytest.mark.parametrize("engine", ["fleet", "alone"])
def test_results_come_in_the_order_of_the_fits(engine, digits):
    """Seeds and epochs differ, whatever the fleets; no fits give no results."""
    assert train([], engine=engine) == []
    fits = [
        _fit(digits, _mlp(hidden_layer_sizes=(4 + i % 3,), max_epochs=1 + i % 4), seed=i)
        for i in range(9)
    ]

    trained = train(fits, engine=engine)

    assert [t.state.seed for t in trained] == list(range(9))
    assert [len(t.train_loss) for t in trained] == [1 + i % 4 for i in range(9)]
    assert [len(t.state.weights["hidden.0.linear.weight"]) for t in trained] == [
        4 + i % 3 for i in range(9)
    ]
    assert {t.engine for t in trained} == {engine}


@pytest.mark.parametrize(
    ("n_epochs", "engine", "message"),
    [
        (2, "turbo", "'fleet' or 'alone'. Got 'turbo'"),
        (0, "fleet", "at least 1. Got 0"),
        (-1, "fleet", "at least 1. Got -1"),
    ],
)
def test_wrong_arguments_are_refused(n_epochs, engine, message, digits):
    """The error names the requirement and the value."""
    with pytest.raises(ValueError, match=message):
        train([_fit(digits), _fit(digits, n_epochs=n_epochs)], engine=engine)


@pytest.mark.parametrize("engine", ["fleet", "alone"])
def test_n_epochs_counts_and_max_epochs_lays_out_the_schedule(engine, digits):
    """Three epochs of a schedule for nine see the first three rates of nine."""
    short, whole = train(
        [_fit(digits, _mlp(max_epochs=9), n_epochs=3), _fit(digits, _mlp(max_epochs=9))],
        engine=engine,
    )

    rates = [t.state.curve("lr") for t in (short, whole)]
    assert len(rates[0]) == 3
    np.testing.assert_array_equal(rates[0], rates[1][:3])
    assert rates[0][2] > rates[1][-1]


# --- Seeds


@pytest.mark.parametrize("engine", ["fleet", "alone"])
def test_a_random_state_advances_once_per_fit_and_in_order(engine, digits):
    """Seeds are drawn as in scikit-learn; a fit with its own seed draws none."""
    random_state, reference = (np.random.RandomState(0) for _ in range(2))
    estimators = [
        _mlp(random_state=random_state, hidden_layer_sizes=(n,)) for n in (4, 5, 4)
    ]
    fits = [_fit(digits, e, seed=None) for e in estimators]
    fits.insert(1, _fit(digits, _mlp(random_state=random_state), seed=11))

    trained = train(fits, engine=engine)

    seeds = reference.randint(np.iinfo(np.int32).max, size=3)
    assert [t.state.seed for t in trained] == [seeds[0], 11, seeds[1], seeds[2]]
    assert random_state.randint(1000) == reference.randint(1000)


def test_a_fit_without_any_seed_takes_fresh_entropy(digits):
    """random_state=None gives another network in every fit."""
    first, second = train([_fit(digits, seed=None), _fit(digits, seed=None)])

    assert first.state.seed != second.state.seed
    assert (first.predictions != second.predictions).any()


def test_a_resumed_fit_keeps_its_seed(digits):
    """It needs no seed, and draws none."""
    (part,) = train([_fit(digits, seed=5, n_epochs=1)])
    random_state, reference = (np.random.RandomState(0) for _ in range(2))

    more = _fit(digits, _mlp(random_state=random_state), seed=None, state=part.state)
    (trained,) = train([more])

    assert trained.state.seed == 5
    assert random_state.randint(1000) == reference.randint(1000)


# --- What is left alone


def _global_state():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("engine", ["fleet", "alone"])
def test_global_state_is_left_alone(engine, digits):
    """Generators and settings of torch and numpy are as before, after failures too."""
    fits = [
        _fit(digits, _mlp(dropout=0.2)),
        _fit(digits, _net(nn.Linear, module__in_features=64, module__out_features=10)),
        _fit(digits, _mlp(optimizer="sgd", learning_rate=1e30)),
    ]
    before = _global_state()

    train(fits, engine=engine)

    assert _global_state() == before


@pytest.mark.parametrize("engine", ["fleet", "alone"])
def test_estimators_and_data_are_left_alone(engine, digits):
    """The caller's estimator is not fitted, its parameters and data are as before."""
    X, y, weight = digits.X.copy(), digits.y.copy(), np.ones(200)
    rows, monitor = ROWS.copy(), MONITOR.copy()
    estimator = _mlp(random_state=3, class_weight={1: 2.0})
    module = nn.Linear(64, 10)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    held = vars(estimator).copy()
    own = {"X": X, "y": y, "rows": rows, "monitor": monitor, "sample_weight": weight}

    train([_fit(digits, e, **own) for e in (estimator, _net(module))], engine=engine)

    assert vars(estimator) == held
    originals = digits.X, digits.y, ROWS, MONITOR, [1] * 200
    for array, original in zip((X, y, rows, monitor, weight), originals, strict=True):
        np.testing.assert_array_equal(array, original)
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_fitted_estimator_is_trained_from_its_start(digits):
    """Earlier training does not affect the fit, and the estimator is not changed."""
    estimator = _mlp(random_state=0).fit(digits.X, digits.y % 2)
    before = estimator.predict_proba(digits.X)

    (ours,), (reference,) = (train([_fit(digits, e)]) for e in (estimator, _mlp()))

    np.testing.assert_array_equal(ours.predictions, reference.predictions)
    np.testing.assert_array_equal(estimator.predict_proba(digits.X), before)


# --- Data of any form


FORMS = {
    "list": lambda X, y: (X.tolist(), y.tolist()),
    "float32": lambda X, y: (X.astype(np.float32), y),
    "integers": lambda X, y: ((X * 16).astype(np.int32), y),
    "fortran": lambda X, y: (np.asfortranarray(X), y),
    "strided": lambda X, y: (np.repeat(X, 2, axis=0)[::2], np.repeat(y, 2)[::2]),
    "tensor": lambda X, y: (torch.tensor(X), torch.tensor(y)),
    "pandas": lambda X, y: (
        pd.DataFrame(X, index=range(500, 300, -1)).rename(columns=str),
        pd.Series(y, index=range(700, 500, -1)),
    ),
    "polars": lambda X, y: (
        pl.DataFrame(X, schema=[f"x{i}" for i in range(64)]),
        pl.Series(y),
    ),
}


@pytest.mark.parametrize("engine", ["fleet", "alone"])
@pytest.mark.parametrize("form", FORMS)
def test_rows_are_positions_in_data_of_any_form(form, engine, digits):
    """Frames are indexed by position, whatever their index says."""
    X, y = FORMS[form](digits.X, digits.y)
    rows = ROWS[::-3].copy()
    plain = digits.X if form != "integers" else digits.X * 16
    expected = _fit(digits, _mlp(dtype="float64"), X=plain, rows=rows)

    (ours,) = train(
        [_fit(digits, _mlp(dtype="float64"), X=X, y=y, rows=rows)], engine=engine
    )
    (reference,) = train([expected], engine="alone")

    assert ours.message == ""
    np.testing.assert_allclose(ours.predictions, reference.predictions, atol=1e-9)


def test_frames_leave_their_names_in_the_fitted_estimator(digits):
    """feature_names_in_ come from the frame, text labels from the series."""
    names = [f"pixel {i}" for i in range(64)]
    X, y = pd.DataFrame(digits.X, columns=names), pd.Series(digits.y).map("class {}".format)
    fit = _fit(digits, X=X, y=y)

    estimator = fitted_estimator(fit, train([fit])[0])

    assert estimator.feature_names_in_.tolist() == names
    assert estimator.predict(X)[0].startswith("class ")


def test_folds_that_lack_a_class_do_not_share_a_fleet_with_others(digits):
    """A network has one output for each class of its own rows."""
    few = np.flatnonzero(digits.y[:150] < 4)
    fits = [_fit(digits), _fit(digits, rows=few, monitor=few[:5]), _fit(digits, seed=1)]

    assert [t.predictions.shape for t in train(fits)] == [(50, 10), (5, 4), (50, 10)]


class Renormalised(nn.Module):
    """Its forward pass shortens the vectors of the codes that it reads, in place."""

    def __init__(self, n_features=4, n_outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.codes = nn.Embedding(400, 3, max_norm=0.5)
        self.output = nn.Linear(3 * n_features, n_outputs)
        self.double()

    def forward(self, x):
        return self.output(self.codes(x.long()).flatten(1))


@pytest.mark.filterwarnings("ignore:.*alone")
@pytest.mark.parametrize("kind", ["sk_tune", "skorch"])
def test_monitors_change_no_weight(kind):
    """Weights equal a plain ``fit``, even if the forward pass changes weights."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 400, (60, 4)), rng.integers(0, 3, 60)
    if kind == "sk_tune":
        net = _net(Renormalised, dtype="float64", random_state=0, optimizer="adamw")
    else:
        net = NeuralNetClassifier(
            Renormalised,
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            max_epochs=2,
            train_split=None,
            verbose=0,
        )
    rows, monitor = np.arange(40), np.arange(40, 60)

    (trained,) = train([Fit(estimator=net, X=X, y=y, rows=rows, monitor=monitor)])

    net.fit(X[rows], y[rows])
    weights = getattr(net, "net_", net).module_.state_dict()
    assert trained.engine == "alone"
    assert len(trained.monitor_loss) == 2
    for name, expected in weights.items():
        np.testing.assert_array_equal(trained.state.weights[name], expected)
    np.testing.assert_array_equal(trained.predictions, net.predict_proba(X[monitor]))


# --- Solo fits

SOLO = {
    "callbacks": (
        lambda: _mlp(callbacks=[Callback()]),
        r"it has callbacks \(Callback\)",
    ),
    "verbose": (lambda: _mlp(verbose=1), "verbose=1 prints a line for every epoch"),
    "subclass": (
        lambda: OwnFit(**BASE, hidden_layer_sizes=(8,)),
        "OwnFit overrides a training method",
    ),
    "functional dropout": (
        lambda: _net(Functional),
        "torch.func.vmap cannot batch its module",
    ),
    "data-dependent": (lambda: _net(Deciding), "torch.func.vmap cannot batch its module"),
}


@pytest.mark.parametrize("case", SOLO)
def test_one_warning_names_the_fits_trained_alone(case, digits, capsys):
    """It counts the fits and gives the reason; the remaining fits stay in fleets."""
    make, reason = SOLO[case]
    fits = [_fit(digits), _fit(digits, make()), _fit(digits, make(), seed=1)]

    with pytest.warns(
        TrainedAloneWarning, match=f"2 networks were trained alone.*: 2 .*{reason}"
    ) as w:
        trained = train(fits)

    assert len(w) == 1
    assert w[0].filename == __file__
    assert [t.engine for t in trained] == ["fleet", "alone", "alone"]
    assert [t.status for t in trained] == ["trained"] * 3


@pytest.mark.parametrize("case", SOLO)
def test_a_fit_trained_alone_equals_the_estimators_fit(case, digits, capsys):
    """The warning says so, too."""
    estimator = SOLO[case][0]().set_params(random_state=0)

    (trained,) = train([_fit(digits, estimator)], engine="alone")
    estimator.fit(digits.X[ROWS], digits.y[ROWS])

    np.testing.assert_allclose(
        trained.predictions, estimator.predict_proba(digits.X[MONITOR]), atol=1e-6
    )


def test_a_training_that_has_stopped_early_is_not_reported_as_alone(digits):
    """It has no epochs left, which is not a reason to warn."""
    estimator = _mlp(early_stopping=True, n_iter_no_change=1, tol=9.0, max_epochs=5)
    (stopped,) = train([_fit(digits, estimator)])

    (trained,) = train([_fit(digits, estimator, state=stopped.state)])

    assert len(stopped.train_loss) < 5
    np.testing.assert_array_equal(trained.predictions, stopped.predictions)


# --- Memory and progress


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize("engine", ["fleet", "alone"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_only_grows_and_ends_with_all(n_jobs, engine, digits):
    """Epochs that early stopping saved count as done; a fit that is refused has none."""
    options = {"early_stopping": True, "n_iter_no_change": 1, "tol": 9.0}
    estimators = [
        _mlp(),
        _mlp(max_epochs=5, **options),
        _mlp(dropout=3.0),
        _mlp(width=4, hidden_layer_sizes=None),
    ]
    fits = [_fit(digits, e) for e in estimators]
    seen = []

    # Threads report as processes do: when a shard ends.
    with joblib.parallel_config(backend="threading"):
        trained = train(fits, n_jobs=n_jobs, engine=engine, progress=seen.append)

    for name in ("n_fits_done", "n_epochs_done", "seconds"):
        values = [getattr(p, name) for p in seen]
        assert values == sorted(values)
    last = seen[-1]
    assert last.n_fits == last.n_fits_done == 4
    assert last.n_epochs == last.n_epochs_done == 2 + 5 + 0 + 2
    scores = [t.monitor_score[-1] for t in trained if t.status == "trained"]
    assert last.best_score == max(scores)
    assert last.seconds_left == 0


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
@pytest.mark.parametrize(
    ("told", "n_jobs"), [("progress", 1), ("trained", 1), slow("progress", 2)]
)
def test_an_error_of_the_callers_function_is_raised_as_it_is(told, n_jobs, digits):
    """It ends the training; no fit is blamed for it, and none is trained alone."""

    def fail(_):
        raise ZeroDivisionError("mine")

    fits = [_fit(digits, _mlp(max_epochs=2), seed=seed) for seed in range(4)]
    with pytest.raises(ZeroDivisionError, match="mine"):
        train(fits, n_jobs=n_jobs, **{told: fail})


@pytest.mark.parametrize(("seconds", "n_done"), [(0.0, [3, 6, 9, 12]), (60.0, [12])])
def test_progress_is_reported_between_the_epochs_of_a_fleet(
    seconds, n_done, digits, monkeypatch
):
    """In this process a fleet of three reports each of its epochs, if they take long."""
    monkeypatch.setattr(_active_batch, "_SECONDS_AT_ONCE", seconds)
    seen = []

    train([_fit(digits, _mlp(max_epochs=4))] * 3, progress=seen.append)

    assert [p.n_epochs_done for p in seen][: len(n_done)] == n_done
    assert np.isnan(seen[0].best_score)


# --- Where it is trained


class Noting(BACKENDS["loky"]):
    """Imitates joblib's processes: records shards, and runs them here or raises."""

    def __init__(self, *, raises):
        super().__init__(nesting_level=0)
        self.raises, self.shards = raises, []

    def configure(self, n_jobs=1, parallel=None, **_):
        return n_jobs

    def submit(self, func, callback=None):
        self.shards.append(func.items[0][1][1])
        if self.raises:
            raise InterruptedError
        callback(func())

    def retrieve_result_callback(self, out):
        return out

    def terminate(self):
        pass

    def abort_everything(self, ensure_ready=True):
        pass


def _goes_to_workers(fits, **options):
    """Return whether fits are sent to two workers; they are not trained there."""
    with joblib.parallel_config(backend=Noting(raises=True)):
        try:
            train(fits, n_jobs=2, **options)
        except InterruptedError:
            return True
    return False


def _sent_shards(fits):
    """Return results of fits in two workers, and the shards of these workers."""
    backend = Noting(raises=False)
    with joblib.parallel_config(backend=backend):
        return train(fits, n_jobs=2), backend.shards


@pytest.mark.parametrize(
    ("case", "compiled", "is_running", "goes"),
    [
        # Many epochs, however small the network, whichever way it trains.
        ("long", True, False, True),
        ("short", True, False, False),
        ("module", True, False, False),
        ("unknown module", True, False, False),
        ("long unknown module", True, False, True),
        # A module may kill its process, which should be a worker if there are workers.
        ("module", True, True, True),
        ("alone", True, False, False),
        ("long alone", True, False, True),
        ("own fit alone", True, False, True),
        # Two workers that start for 4 s of work end no sooner than this process; for 8 s
        # they do, unless threads share the work here. Workers that run get it.
        ("4 s", False, False, False),
        ("8 s", True, False, False),
        ("8 s", False, False, True),
        ("8 s", True, True, True),
        ("0.2 s", True, True, False),
        ("0.2 s", False, True, True),
    ],
)
def test_workers_get_long_work(case, compiled, is_running, goes, digits, monkeypatch):
    """Short work is trained in this process."""
    monkeypatch.setattr(_train, "are_running", lambda _: is_running)
    way = "kernel" if compiled else "layers"
    found = Plan(way="vmap" if "unknown" in case else way)
    monkeypatch.setattr(_train, "plan", lambda *_: found)
    if case.endswith(" s"):
        seconds = float(case.partition(" ")[0]) / 4
        monkeypatch.setattr(_train, "seconds_per_epoch", lambda *_, **__: seconds)
    module = Sine if "unknown" in case else OneLayer
    estimator = _net(module) if case.endswith("module") else _mlp()
    if case.startswith("own fit"):
        estimator = OwnFit(**BASE, hidden_layer_sizes=(8,))
    if case.startswith("long"):
        estimator.set_params(max_epochs=10**6)
    options = {"engine": "alone"} if case.endswith("alone") else {}

    fits = [_fit(digits, estimator)] * 2
    assert _goes_to_workers(fits, **options) == goes


def test_modules_of_users_do_not_run_in_a_caller_with_workers(digits, monkeypatch):
    """A module that kills its process then costs a worker and not the caller."""
    monkeypatch.setattr(_train, "are_running", lambda _: True)
    monkeypatch.setattr(Sine, "forward", lambda *_: pytest.fail("the module ran"))

    assert _goes_to_workers([_fit(digits, _net(Sine))] * 2)
    assert _goes_to_workers([_fit(digits, _net(Sine))] * 2, engine="alone")


def _noted(monkeypatch, owner, name, note):
    """Have something noted of each call of a function."""
    seen, own = [], getattr(owner, name)

    def noted(*args, **options):
        seen.append(note(*args, **options))
        return own(*args, **options)

    monkeypatch.setattr(owner, name, noted)
    return seen


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_as_many_threads_share_the_rows_as_there_may_be_workers(
    n_jobs, digits, monkeypatch
):
    """And no more than there are processors."""
    seen = _noted(
        monkeypatch, _executors, "train_shard", lambda *_, n_threads, **__: n_threads
    )
    monkeypatch.setattr(_train, "are_running", lambda _: False)
    train([_fit(digits, _mlp(max_epochs=1), seed=seed) for seed in range(2)], n_jobs=n_jobs)

    assert set(seen) == {min(n_jobs or 1, joblib.cpu_count())}


def test_fits_prepared_for_a_plan_are_not_prepared_again(digits, monkeypatch):
    """One fit of each signature is prepared for the plan."""
    prepared = _noted(monkeypatch, _shard, "prepare", lambda fit, _: fit)
    monkeypatch.setattr(_train, "are_running", lambda _: False)
    fits = [
        _fit(digits, _mlp(max_epochs=1, hidden_layer_sizes=(width,)), seed=seed)
        for width in (4, 5)
        for seed in range(3)
    ]

    planned = train(fits, n_jobs=2)

    assert len(prepared) == 4
    alone = train(fits)
    for row, twin in zip(planned, alone, strict=True):
        np.testing.assert_array_equal(row.predictions, twin.predictions)


@pytest.mark.slow
@pytest.mark.usefixtures("workers_for_little")
def test_workers_draw_weights_in_the_default_type_of_this_process(digits):
    """Weights are the same in all processes, so the caller's default type counts."""
    fits = [_fit(digits, _mlp(max_epochs=1, hidden_layer_sizes=(w,))) for w in (4, 5)]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        here, there = train(fits), train(fits, n_jobs=2)
    finally:
        torch.set_default_dtype(before)

    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.predictions, other.predictions)


def test_a_resumed_fit_is_prepared_again(digits, monkeypatch):
    """Its plan precedes its stored state; it trains only the remaining epochs."""
    monkeypatch.setattr(_train, "are_running", lambda _: False)
    whole = replace(_fit(digits, _mlp(max_epochs=6)), keeps_checkpoints=True)
    (kept,) = train([whole])
    short = replace(whole, checkpoint=kept.checkpoints[-1], keeps_checkpoints=False)
    n_before = len(kept.checkpoints[-1].history)
    n_trained = _noted(monkeypatch, _loop, "_train_epochs", lambda tile, n: len(tile) * n)

    rest = train([short] * 2, n_jobs=2)

    assert sum(n_trained) == 2 * (6 - n_before)
    for trained in rest:
        np.testing.assert_array_equal(trained.predictions, kept.predictions)


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize(("large", "n_folds"), [(10**9, 4), (1000, 1)])
def test_a_shard_has_few_folds_where_folds_are_large(large, n_folds, digits, monkeypatch):
    """So that a worker holds few at a time; the results stay in the order of the fits."""
    monkeypatch.setattr(_train, "_LARGE_FOLD", large)
    monkeypatch.setattr(_train, "_MOST_NETWORKS_PER_SHARD", 8)
    monkeypatch.setattr(_train, "_LEAST_SECONDS_PER_SHARD", 1e-9)
    folds = [np.arange(200)[np.arange(200) % 5 != k] for k in range(4)]
    fits = [_fit(digits, rows=folds[i % 4], seed=i) for i in range(32)]
    trained, shards = _sent_shards(fits)

    assert len(shards) == 4
    assert [len({f.rows for f in s.fits.values()}) for s in shards] == [n_folds] * 4
    assert [t.state.seed for t in trained] == list(range(32))


@pytest.mark.usefixtures("workers_for_little")
def test_small_groups_stay_whole_and_share_shards(digits, monkeypatch):
    """Many signatures of few fits make few shards of equal costs, and a fleet each."""
    monkeypatch.setattr(_train, "_LEAST_SECONDS_PER_SHARD", 1e-9)
    widths = range(4, 36)
    fits = [
        _fit(digits, _mlp(hidden_layer_sizes=(width,)), seed=seed)
        for seed in range(3)
        for width in widths
    ]
    trained, shards = _sent_shards(fits)

    assert len(shards) == 8
    found = [
        [fits[i].estimator.hidden_layer_sizes[0] for i in group]
        for shard in shards
        for group in shard.groups
    ]
    assert sorted(found) == [[width] * 3 for width in widths]
    assert {len(shard.fits) for shard in shards} == {12}
    assert [t.state.seed for t in trained] == [0] * 32 + [1] * 32 + [2] * 32
    alone = train(fits[-1:])[0]
    np.testing.assert_allclose(trained[-1].train_loss, alone.train_loss, rtol=1e-6)


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize(
    ("n_signatures", "least", "n_shards"), [(1, 1e-9, 2), (40, 1e-9, 8), (40, 60.0, 2)]
)
def test_a_single_group_is_shared_among_the_workers(
    n_signatures, least, n_shards, digits, monkeypatch
):
    """It is cut into balanced shards; short fits make few shards."""
    monkeypatch.setattr(_train, "_LEAST_SECONDS_PER_SHARD", least)
    fits = [
        _fit(digits, _mlp(hidden_layer_sizes=(4 + i % n_signatures,)), n_epochs=1)
        for i in range(40)
    ]

    _, shards = _sent_shards(fits)

    assert len(shards) == n_shards
    assert sorted(i for shard in shards for i in shard.fits) == list(range(40))


@pytest.mark.usefixtures("workers_for_little")
def test_fits_on_a_gpu_are_not_shared_out(digits, monkeypatch):
    """Processes would have to share it, and would each fill it with networks."""
    monkeypatch.setattr("sk_tune._engine._dispatch.executor_of", None)
    fits = [_fit(digits, _mlp(device=device), seed=i) for i, device in enumerate(PLACES)]

    trained = train(fits, n_jobs=2)

    there = [t.status for t, device in zip(trained, PLACES, strict=True) if device == "cpu"]
    assert there == ["trained"] * 2


# --- What ended before the rest


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize("engine", ["fleet", "alone"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_result_is_passed_on_once(n_jobs, engine, digits):
    """The callable gets the results that the call returns, failures included."""
    fits = [_fit(digits, _mlp(max_epochs=1 + i % 3), seed=i) for i in range(5)]
    fits += [_fit(digits, _mlp(dropout=3.0)), _fit(digits, _mlp(verbose=0, width=4))]
    told = []

    with joblib.parallel_config(backend="threading"):
        trained = train(fits, n_jobs=n_jobs, engine=engine, trained=told.append)

    assert sorted([i for part in told for i in part]) == list(range(7))
    together = {i: result for part in told for i, result in part.items()}
    assert all(together[i] is result for i, result in enumerate(trained))


@pytest.mark.usefixtures("workers_for_little")
def test_the_reason_for_training_alone_is_passed_on(digits, capsys):
    """Early results have the same reason as final results."""
    told = {}

    with pytest.warns(TrainedAloneWarning, match="1 network was trained alone"):
        train([_fit(digits, _net(Deciding)), _fit(digits)], trained=told.update)

    assert told[0].alone_reason.startswith("torch.func.vmap cannot batch")
    assert told[1].alone_reason == ""


def test_fits_of_a_fleet_are_passed_on_as_they_end(digits):
    """In this process short fits do not wait for the longest in their fleet."""
    fits = [_fit(digits, _mlp(max_epochs=n)) for n in (1, 3, 2)]
    seen = []

    train(
        fits,
        trained=lambda part: seen.extend(part),
        progress=lambda progress: seen.append("epoch") if progress.n_fits_done == 0 else 0,
    )

    assert seen == ["epoch", 0, "epoch", 2, "epoch", 1]


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_keeps_finished_fits_and_stops_the_workers(n_jobs, digits):
    """A fit that would take hours ends at once; the finished fit is kept."""
    fits = [_fit(digits, _mlp(max_epochs=10**7)), _fit(digits, _mlp(max_epochs=1))]
    kept, workers = {}, []

    def keep(part):
        kept.update(part)
        workers.extend(_loky_workers())
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()

    # Those of an earlier test may still be there; one process of its own needs none.
    earlier = set(_loky_workers()) if n_jobs == 1 else set()

    start = time.perf_counter()
    # Hypothesis is called when garbage is collected, and Python drops what is raised there.
    gc.disable()
    try:
        with pytest.raises(KeyboardInterrupt):
            train(fits, n_jobs=n_jobs, trained=keep)
    finally:
        gc.enable()

    assert time.perf_counter() - start < 60
    assert list(kept) == [1]
    workers = [worker for worker in workers if worker not in earlier]
    assert len(workers) == (0 if n_jobs == 1 else 2)
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()
    (again,) = train([fits[1]], n_jobs=n_jobs)
    np.testing.assert_array_equal(again.predictions, kept[1].predictions)


def _loky_workers():
    return [p for p in active_children() if "Loky" in type(p).__name__]


# --- The estimator of a fit


def test_a_failed_fit_has_no_estimator(digits):
    """The error gives the reason of the failure."""
    fit = _fit(digits, _mlp(dropout=3.0), name="candidate 3")
    (trained,) = train([fit])

    with pytest.raises(
        ValueError, match="The fit failed and has no network.*candidate 3.*'dropout'"
    ):
        fitted_estimator(fit, trained)


@pytest.mark.parametrize("engine", ["fleet", "alone"])
def test_predictions_are_in_the_units_of_the_target(engine, diabetes):
    """A regressor's equal its ``predict``, for one target and for several."""
    y = np.stack([diabetes.y, 1000 - 5 * diabetes.y], axis=1)
    estimator = MLPRegressor(**BASE, width=8, dtype="float64")
    fits = [_fit(diabetes, estimator), _fit(diabetes, estimator, y=y)]

    for fit, trained in zip(fits, train(fits, engine=engine), strict=True):
        expected = fitted_estimator(fit, trained).predict(diabetes.X[MONITOR])
        assert trained.predictions.shape == np.asarray(fit.y)[MONITOR].shape
        np.testing.assert_allclose(trained.predictions, expected, rtol=1e-9)


@pytest.mark.parametrize("engine", ["fleet", "alone"])
def test_a_cut_fit_equals_a_fit_with_fewer_epochs(make_estimator, iris, engine, tmp_path):
    """It predicts like a fit of its whole epochs.  A store does not keep it."""
    net = make_estimator("MLPClassifier", max_epochs=10**6)
    rows, monitor = np.arange(100), np.arange(100, 150)
    fit = Fit(estimator=net, X=iris.X, y=iris.y, rows=rows, monitor=monitor)
    limit = TimeLimit(until=time.monotonic() + 0.5, cuts=True)

    (cut,) = train([fit], engine=engine, limit=limit, store=tmp_path / "fits.db")
    n_epochs = len(cut.train_loss)
    (whole,) = train([replace(fit, n_epochs=n_epochs)], engine=engine)

    assert cut.is_cut
    assert 1 <= n_epochs < 10**6
    np.testing.assert_array_equal(cut.predictions, whole.predictions)
    with FitStore(tmp_path / "fits.db") as store:
        assert store.info().n_fits == 0


def test_a_fit_that_ends_too_late_has_no_result(make_estimator, iris):
    """A fit that ends in time has a result."""
    nets = [make_estimator("MLPClassifier", max_epochs=n) for n in (2, 10**6)]
    fits = [Fit(estimator=net, X=iris.X, y=iris.y) for net in nets]
    limit = TimeLimit(until=time.monotonic() + 2.0)

    done, late = train(fits, limit=limit)

    assert (done.status, done.is_cut) == ("trained", False)
    assert (late.status, late.is_cut, late.state) == ("failed", True, None)
    assert "time was up" in late.message


def test_several_reasons_are_counted_apart(digits, capsys):
    """The most frequent reason is first."""
    fits = [_fit(digits, _mlp(verbose=1))] + [_fit(digits, _net(Deciding))] * 2

    with pytest.warns(
        TrainedAloneWarning, match=r"3 networks.*: 2 because torch.*; 1 because verb"
    ):
        train(fits)
