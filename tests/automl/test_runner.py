"""Searches against a clock: trials, progress, shared transformers."""

import errno
import pickle
import re
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import sk_tune._automl._runner
from sk_tune import AutoClassifier, AutoProgress, GridSearchCV
from sk_tune._automl._blend import Trial
from sk_tune._automl._models import boosting_model, dummy_model, linear_model
from sk_tune._automl._resources import Clock
from sk_tune._automl._runner import Memory, MemoryFolder, Runner
from sk_tune.exceptions import StoreWarning


@pytest.fixture
def problem(make_problem):
    """Return a problem of 569 rows in three folds."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return make_problem(X, y.to_numpy())


def _runner(budget):
    return Runner(Clock(budget), 0.0, None)


def _boosting(runner, problem, seconds):
    model = boosting_model(problem)
    model.estimator.set_params(boosting__max_iter=400)
    grid = {"boosting__max_iter": [400]}
    runner.run(GridSearchCV, model.estimator, grid, model, problem, time_budget=seconds)
    return [m[-1].n_iter_ for trial in runner.memory.trials for m in trial.models]


def test_boosting_stops_at_its_time_limit(problem):
    """Each fold has some iterations; without a budget it has all of them."""
    assert all(10 <= n < 400 for n in _boosting(_runner(100.0), problem, 1e-3))
    assert _boosting(_runner(None), problem, None) == [400] * 3


def test_until_workers_run_networks_train_in_this_process(
    problem, small_network, monkeypatch
):
    """Without a budget networks wait for the workers; boosting uses threads."""
    model, n_workers, started = small_network(problem), [], []

    def told(*args, n_jobs, **options):
        n_workers.append(n_jobs)
        return GridSearchCV(*args, **options)

    monkeypatch.setattr(sk_tune._automl._runner, "have_to_start", lambda _: not n_workers)
    monkeypatch.setattr(
        sk_tune._automl._runner, "start_meanwhile", lambda n_jobs, _: started.append(n_jobs)
    )
    grid = {"net__max_epochs": [1]}
    for budget in (60.0, 60.0, None):
        runner = Runner(Clock(budget), 0.0, None, 2)
        runner.run(told, model.estimator, grid, model, problem)
    dummy = dummy_model(problem)
    runner.run(told, dummy.estimator, dict(dummy.grid), dummy, problem)

    assert n_workers == [1, 2, 2, None]
    assert started == [2]


def test_a_complete_training_is_diagnosed_rather_than_a_better_cut_one(
    problem, small_network
):
    """The curves of a cut training do not show whether the network underfits."""
    runner, model = _runner(None), small_network(problem)

    def outcomes(n_epochs, time_budget=None):
        grid = {"net__max_epochs": [n_epochs]}
        options = {"time_budget": time_budget}
        runner.run(GridSearchCV, model.estimator, grid, model, problem, **options)
        findings = runner.memory.searches[model.name].findings
        return {f.name: f.outcome for f in findings}

    cut = outcomes(100_000, 2.0)
    complete = outcomes(2)

    assert cut["search cut short"] == "issue"
    assert cut["underfitting"] == "not applicable"
    assert "search cut short" not in complete
    assert outcomes(100_000, 2.0) == complete


def test_trial_numbers_continue_from_the_largest(problem):
    """Only the best trials of an earlier fit may remain."""
    runner, model = _runner(None), dummy_model(problem)
    for _ in range(3):
        runner.run(GridSearchCV, model.estimator, dict(model.grid), model, problem)
    del runner.memory.trials[:2]

    runner.run(GridSearchCV, model.estimator, dict(model.grid), model, problem)

    assert [trial.name for trial in runner.memory.trials] == ["dummy 3", "dummy 4"]


def test_the_cost_of_a_training_is_that_of_the_largest_fold(problem, monkeypatch):
    """In time order the first fold has a fraction of its rows."""
    folds = [(np.arange(100), np.arange(100, 200)), (np.arange(400), np.arange(400, 569))]
    model, n_rows = boosting_model(problem), []
    monkeypatch.setattr(Pipeline, "fit", lambda self, X, y: n_rows.append(len(y)))

    _runner(None).probe(model, replace(problem, folds=folds), 400, 1)
    _runner(None).probe(model, replace(problem, folds=folds), 200, 1)

    assert n_rows == [400, 200]


def test_the_largest_fold_has_time_for_its_rows(problem, monkeypatch):
    """Of 1.5 times the planned 8 seconds, four fifths with 400 of 500 rows."""
    seconds = []

    @contextmanager
    def limited(one, end):
        seconds.append(one)
        yield

    monkeypatch.setattr(sk_tune._automl._runner, "fits_within", limited)
    folds = [(np.arange(100), np.arange(100, 200)), (np.arange(400), np.arange(400, 569))]
    model, runner = dummy_model(problem), _runner(1000.0)
    in_order = replace(problem, folds=folds)

    runner.run(
        GridSearchCV, model.estimator, dict(model.grid), model, in_order, time_budget=8.0
    )

    assert seconds == pytest.approx([0.8 * 12.0])


def test_a_full_disk_keeps_the_earlier_file(problem, tmp_path, monkeypatch):
    """Only a complete file replaces an earlier file."""
    runner = replace(_runner(None), folder=MemoryFolder(tmp_path))
    model = dummy_model(problem)
    runner.run(GridSearchCV, model.estimator, dict(model.grid), model, problem)
    runner.keep()

    def full(_, stream, *args):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pickle, "dump", full)
    with pytest.warns(StoreWarning, match="cannot be stored"):
        runner.keep()
    assert [trial.name for trial in runner.folder.load().trials] == ["dummy 1"]


def test_a_model_without_a_score_is_a_failure(problem):
    """The reason comes from the last candidate; a later score removes it."""
    X = problem.X.assign(text=["1"] * 400 + ["unknown"] * 169)
    folds = [(np.arange(400), np.arange(400, 569))] * 2
    broken = replace(problem, X=X, folds=folds, scoring=None)
    model = dummy_model(problem)
    numbers = FunctionTransformer(lambda X: X.astype({"text": float}))
    estimator = Pipeline([("numbers", numbers), *model.estimator.steps])
    runner = _runner(None)

    runner.run(GridSearchCV, estimator, dict(model.grid), model, broken)

    assert "could not convert string to float: 'unknown'" in runner.failures["dummy"]
    runner.run(GridSearchCV, model.estimator, dict(model.grid), model, problem)
    assert runner.failures == {}


def test_the_reason_of_failed_fits_is_one_line(problem):
    """Without scikit-learn's advice and the traceback."""
    numbers = FunctionTransformer(lambda X: X.assign(text="one").astype(float))
    model = dummy_model(problem)
    estimator = Pipeline([("numbers", numbers), *model.estimator.steps])
    runner = _runner(None)

    runner.run(GridSearchCV, estimator, dict(model.grid), model, problem)

    reason = runner.failures["dummy"]
    assert reason.startswith("ValueError: could not convert string to float: 'one'")
    assert "\n" not in reason


def test_a_probe_stores_nothing(problem):
    """It takes some time, and trains the given number of epochs or iterations."""
    runner = _runner(None)
    start = time.perf_counter()

    seconds = runner.probe(boosting_model(problem), problem, 100, 1)

    assert 0 < seconds <= time.perf_counter() - start
    assert runner.memory.trials == []


@pytest.mark.parametrize(("n_classes", "scoring"), [(12, None), (120, "neg_log_loss")])
def test_a_probe_may_have_fewer_rows_than_classes(make_problem, n_classes, scoring):
    """Classes missing from the sample affect neither early stopping nor scoring."""
    X = pd.DataFrame({"a": np.random.default_rng(0).normal(size=2400)})
    problem = make_problem(X, np.arange(2400) % n_classes, scoring=scoring)
    model = boosting_model(problem)
    assert model.estimator[-1].early_stopping

    assert _runner(None).probe(model, problem, 100, 1) > 0


def test_a_line_has_the_stage_and_the_best_score():
    """It also has the number of trials and the time left."""
    best = {"best_model": "boosting 1", "best_score": 0.81234}
    times = {"seconds": 4.0, "seconds_left": 6.4}
    counts = dict.fromkeys(["n_fits", "n_fits_done", "n_epochs", "n_epochs_done"], 0)
    progress = AutoProgress(stage="MLP, round 1", n_trials=3, **best, **times, **counts)

    assert str(progress) == "MLP, round 1, 3 trials, best 0.8123 (boosting 1), 6 s left"


@pytest.mark.usefixtures("few_linear")
def test_a_callable_gets_the_progress_of_the_search_in_training(monkeypatch):
    """It counts epochs of networks, next to the trials of the whole fit."""
    reports = []
    monkeypatch.setattr(sk_tune._automl._runner, "_SECONDS_BETWEEN_NEWS", 0.0)
    X, y = load_breast_cancer(return_X_y=True)
    auto = AutoClassifier(models=["networks"], cv=2, verbose=reports.append)

    auto.set_params(time_budget=None, n_rounds=0, random_state=0).fit(X[:200], y[:200])

    training = [report for report in reports if report.n_epochs]
    assert all(0 <= r.n_epochs_done <= r.n_epochs and r.n_fits for r in training)
    assert training
    assert reports[-1].n_epochs == 0


@pytest.mark.usefixtures("few_linear")
def test_a_file_has_no_escape_codes(capsys):
    """It contains only the last line of a short fit."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    auto = AutoClassifier(models=["linear"], verbose=1, random_state=0)

    auto.set_params(time_budget=None, n_rounds=1, cv=2).fit(X, X.sum(axis=1) > 0)

    printed = capsys.readouterr().out
    assert not re.search("[\r\x1b\b]", printed)
    assert re.match(r"ensemble, .*, best \d(\.\d+)? \(", printed.splitlines()[-1])


def test_searches_share_equal_transformers(mixed, make_problem):
    """Each fold of the second search has the transformer of the first search's fold."""
    runner = Runner(Clock(None), 0.0, None)
    problem = make_problem(*mixed)
    for model in (linear_model(problem), boosting_model(problem), linear_model(problem)):
        grid = {name: values[:1] for name, values in model.grid.items()}
        runner.run(GridSearchCV, model.estimator, grid, model, problem)

    trials = runner.memory.trials
    linear, boosting, again = ([m[0] for m in trial.models] for trial in trials)

    assert all(a is b for a, b in zip(linear, again, strict=True))
    assert len({id(step) for step in (*linear, *boosting)}) == 6


def test_a_later_fit_gets_the_first_and_the_best_trials_in_their_order():
    """The first boosting trial limits the time to predict, so it must stay the first."""
    scores = [0.01, 0.1, 0.2, 0.9, 0.3, 0.4, 0.6, 0.7, 0.8, 0.05, 0.45]
    trials = [
        Trial(
            name=f"boosting {k}", family="boosting", label="boosting", params={},
            score=score, std=0.0, fold_scores=np.array([score]), seconds=1.0, n_rows=1,
            models=(None,), library=None,
        )
        for k, score in enumerate(scores, start=1)
    ]  # fmt: skip

    memory = Memory(trials=trials).for_later_fit()

    assert memory.trials == [t for t in trials if t.score > 0.1 or t is trials[0]]
    assert [t.name for t in memory.others] == ["boosting 2", "boosting 10"]
    assert all(t.models == () for t in memory.others)


def test_the_memory_of_some_models_has_no_search_of_others():
    """Findings of networks that are no longer wanted would be reported."""
    memory = Memory(searches={"MLP": None, "CNN": None})

    assert list(memory.of([SimpleNamespace(name="CNN")]).searches) == ["CNN"]
