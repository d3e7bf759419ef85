"""Plans of searches, and estimates of their time."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import sklearn
import torch
from scipy.stats import uniform
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneGroupOut,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch import NeuralNetClassifier

from sk_tune import GridSearchCV, HalvingGridSearchCV, HyperbandSearchCV, MLPClassifier
from sk_tune._engine._memory_limits import networks_at_a_time
from sk_tune._search._search_plan import _expected_seconds, mean_epochs, plan_in_time
from sk_tune._text import bytes_text
from sk_tune.exceptions import SkTuneWarning


def test_a_plan_prints_brackets_rungs_and_sums():
    """A table, with the totals below."""
    search = HyperbandSearchCV(MLPClassifier(), DROPOUT, max_resources=3, factor=3, cv=2)

    plan = replace(search.plan(), seconds=75.0, memory=3 * 2**20)

    lines = str(plan).splitlines()
    assert [line.split() for line in lines[1:-1]] == [
        ["1", "0", "3", "1", "6", "6"],
        ["1", "1", "1", "3", "2", "4"],
        ["0", "0", "2", "3", "4", "12"],
    ]
    assert lines[0].split()[:4] == ["bracket", "rung", "candidates", "max_epochs"]
    assert lines[-1] == (
        "Total: 5 candidates on 2 folds, 12 fits, 22 epochs, about 1 min 15 s, "
        "3.0 MiB of memory on top of X."
    )


def test_a_plan_of_one_training_is_in_the_singular():
    """One candidate, fold, fit and epoch."""
    search = GridSearchCV(MLPClassifier(max_epochs=1), {"width": [8]}, cv=ShuffleSplit(1))

    assert str(search.plan()).splitlines()[-1] == (
        "Total: 1 candidate on 1 fold, 1 fit, 1 epoch."
    )


@pytest.mark.parametrize(("asynchronous", "words"), [(False, ""), (True, "at least ")])
def test_a_plan_of_one_bracket_has_no_column_for_it(asynchronous, words):
    """Unmeasured values are omitted; asynchronous rungs say "at least"."""
    lines = str(
        HalvingGridSearchCV(
            MLPClassifier(),
            {"dropout": [0.0, 0.1, 0.2, 0.3]},
            resource="max_epochs",
            max_resources=2,
            factor=2,
            cv=3,
            asynchronous=asynchronous,
        ).plan()
    ).splitlines()

    assert lines[0].split()[:3] == ["rung", "candidates", "max_epochs"]
    assert lines[-1] == f"Total: 4 candidates on 3 folds, {words}18 fits, 18 epochs."


@pytest.mark.parametrize(
    ("options", "space", "is_bound"),
    [
        ({"early_stopping": True}, {}, True),
        ({}, {"early_stopping": [False, True]}, True),
        # Enough samples for early stopping by default.
        ({"max_epochs": "auto"}, {}, True),
        ({"max_epochs": "auto"}, {"max_epochs": [5]}, False),
        ({}, {}, False),
    ],
)
def test_a_plan_of_networks_that_may_stop_early_is_an_upper_bound(
    digits, options, space, is_bound
):
    """So are the epochs, the time, and the candidates that have time."""
    net = MLPClassifier(**{"width": 4, "max_epochs": 3, **options})
    grid = {"dropout": [0.0, 0.1], **space}

    search = GridSearchCV(net, grid, cv=5, time_budget=1e-9)
    plan = search.plan(*digits)

    assert plan.stops_early is is_bound
    assert (f"at most {plan.n_epochs} epochs (networks may stop" in str(plan)) is is_bound
    assert (" is enough for at least 1 of " in str(plan)) is is_bound
    assert bool(re.search(r"about [\d.]+ s at most", str(plan))) is is_bound


DROPOUT = {"dropout": uniform(0, 0.5)}
CV = StratifiedKFold(3)


@pytest.fixture
def pipeline(make_estimator):
    """Return a small classifier behind a scaler."""
    return Pipeline([("scale", StandardScaler()), ("net", make_estimator("MLPClassifier"))])


@pytest.mark.parametrize(
    ("short", "long", "seconds"),
    [(2.0, 5.0, 20 * 0.1 + 100 * 0.1), (2.0, 2.0, 20 * 0.2), (2.0, 1.0, 20 * 0.2)],
    ids=["both", "epochs cost nothing", "noise"],
)
def test_fits_have_a_fixed_cost_and_a_cost_per_epoch(short, long, seconds):
    """Ten fits of 1 and of 4 epochs separate the two costs."""
    expected = _expected_seconds(short, long, n_fits=10, plan_fits=20, plan_epochs=100)

    assert expected == pytest.approx(seconds)


def test_data_give_seconds_and_memory(pipeline, iris):
    """The memory is at least that of the data; the search is unchanged."""
    search = GridSearchCV(pipeline, {"net__dropout": [0.0, 0.1]}, cv=CV)

    plan = search.plan(*iris)

    assert plan.seconds > 0
    # Three folds with their samples, transformed and joined.
    assert plan.memory > 3 * 3 * 150 * 4 * 4
    assert "about" in str(plan)
    assert "memory" in str(plan)
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize(("kind", "n_rows"), [("network", 750), ("other", 500)])
def test_many_rows_are_estimated_from_some(kind, n_rows, make_estimator, monkeypatch):
    """Without time for all rows, the time grows with the share of the rows."""
    X = np.random.default_rng(0).normal(size=(6000, 3))
    y = (X[:, 0] > 0).astype(int)
    estimator = SVC() if kind == "other" else make_estimator("MLPClassifier")
    grid = {"C": [1, 10]} if kind == "other" else {"dropout": [0.0, 0.1]}
    search = GridSearchCV(estimator, grid, cv=CV)
    monkeypatch.setattr("sk_tune._search._search_plan._MOST_SECONDS", 0.0)

    plan = search.plan(X, y)

    assert plan.seconds > 0
    assert str(plan).endswith(f" on {n_rows} of 4000 samples of each fold.")
    assert "Estimated from" in str(plan)


@pytest.mark.parametrize("kind", ["network", "other"])
def test_rungs_of_few_samples_take_little_time(kind, iris, make_estimator, monkeypatch):
    """A share of the samples costs this share of the time, if time grows with samples."""
    estimator = SVC() if kind == "other" else make_estimator("MLPClassifier", max_epochs=1)
    grid = {"C": [1, 2, 4, 8]} if kind == "other" else {"dropout": [0.0, 0.1, 0.2, 0.3]}

    def seconds(trials, n_rows, n_epochs):
        n_candidates, (_, folds) = len(trials._candidates), trials._splits
        return 0.01 * n_rows * n_epochs * n_candidates * len(folds)

    monkeypatch.setattr("sk_tune._search._search_plan._Trials.seconds", seconds)
    options = {"min_resources": 50, "max_resources": 150, "factor": 3, "cv": CV}
    plan = HalvingGridSearchCV(estimator, grid, **options).plan(*iris)

    # Four candidates have a third of the 100 training samples of a fold, two have all.
    assert [r.n_candidates for r in plan.rounds] == [4, 2]
    assert plan.seconds == pytest.approx(0.01 * 100 * 3 * (4 / 3 + 2))


def _large(monkeypatch, n_rows=4000):
    """Return samples that count as large, with as little memory as a sample takes."""
    for module in ("_search_session", "_memory_forecast"):
        monkeypatch.setattr(f"sk_tune._search.{module}.LARGE_SAMPLES", 1000)
    X = np.random.default_rng(0).normal(size=(n_rows, 25)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(int)


def test_the_forecast_counts_the_copies_of_samples(pipeline, monkeypatch):
    """Behind a transformer a fold has its samples, their transformed and joined form."""
    X, y = _large(monkeypatch)
    grid = {"net__dropout": [0.0, 0.1]}

    in_turn, together = (
        GridSearchCV(pipeline, grid, cv=CV, time_budget=seconds).plan(X, y).memory
        for seconds in (None, 60)
    )

    # The places of a fold's samples are 24 bytes of each sample.
    assert together - in_turn == 2 * (3 * X.nbytes + 24 * len(X))


def test_the_forecast_of_a_network_alone_has_one_x_for_all_folds(monkeypatch):
    """Folds that share X have predictions instead of copies of X."""
    X, y = _large(monkeypatch)
    net = MLPClassifier(categorical_features=None, random_state=0)
    search = GridSearchCV(net, {"dropout": [0.0, 0.1]}, cv=CV)

    copied = search.plan(X, y).memory
    monkeypatch.setattr("sk_tune._estimators._preparation.LARGE", X.nbytes)
    shared = search.plan(X, y).memory

    # Two candidates predict two classes in float32.
    assert copied - shared == 3 * X.nbytes - 2 * 2 * 4 * len(X)


def test_the_forecast_trains_as_many_networks_at_once_as_the_search(monkeypatch):
    """Networks with folds that share X are limited by all of X, not by their part."""
    X, y = _large(monkeypatch)
    X = np.hstack([X, X])
    numbers = {"_train": [], "_shard": []}
    for module, of_module in numbers.items():

        def counted(*arguments, of_module=of_module):
            of_module.append(networks_at_a_time(*arguments))
            return of_module[-1]

        monkeypatch.setattr(f"sk_tune._engine.{module}.networks_at_a_time", counted)
    monkeypatch.setattr("sk_tune._estimators._preparation.LARGE", X.nbytes)
    monkeypatch.setattr("sk_tune._engine._memory_limits.LARGE_SAMPLES", 1)
    net = MLPClassifier(categorical_features=None, max_epochs=1, random_state=0)
    search = GridSearchCV(net, {"dropout": [0.0, 0.1]}, cv=CV, refit=False)

    search.plan(X, y)
    forecast = numbers["_train"][:]
    numbers["_shard"].clear()
    search.fit(X, y)

    # A quarter of the 200 bytes of a sample, 32 bytes for each place of two thirds of them.
    assert forecast == [2]
    assert numbers["_shard"][-1] == 2


def test_a_forecast_that_fails_gives_its_reason(pipeline, monkeypatch):
    """The rest of the plan is not disturbed."""

    def fails(*_, **__):
        raise RuntimeError("no shapes")

    monkeypatch.setattr("sk_tune._search._memory_forecast.expected_memory", fails)
    search = GridSearchCV(pipeline, {"net__dropout": [0.0, 0.1]}, cv=CV)

    with pytest.warns(SkTuneWarning, match="memory.* is unknown.*RuntimeError: no shapes"):
        plan = search.plan(*_large(monkeypatch))

    assert plan.memory is None
    assert plan.seconds > 0


def test_the_forecast_grows_with_the_samples(pipeline, monkeypatch):
    """A plan of ten times the samples has about ten times the memory."""
    search = GridSearchCV(pipeline, {"net__dropout": [0.0, 0.1]}, cv=CV)
    few, many = (search.plan(*_large(monkeypatch, n)).memory for n in (4000, 40_000))

    assert many / few == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("free", [10**5, 10**10])
def test_a_large_search_forecasts_its_memory(pipeline, monkeypatch, capsys, free):
    """The search prints the memory before it trains, and warns if there is too little."""
    X, y = _large(monkeypatch)
    search = GridSearchCV(pipeline, {"net__dropout": [0.0, 0.1]}, cv=CV, verbose=1)
    expected = bytes_text(search.plan(X, y).memory)
    name = "sk_tune._training._free_memory.available_memory"
    monkeypatch.setattr(name, lambda: free)

    with warnings.catch_warnings(record=True, action="always") as caught:
        search.fit(X, y)

    line = f"Expected memory: {expected} on top of X, {bytes_text(free)} free"
    assert line in capsys.readouterr().out.splitlines()
    text = f"The search needs about {expected} of memory on top of X. Got "
    assert any(str(w.message).startswith(text) for w in caught) == (free == 10**5)


def test_a_notebook_shows_a_plan_as_a_table(iris):
    """A row for each round, and the sum below."""
    plan = GridSearchCV(SVC(), {"C": [1, 10, 100]}, cv=CV).plan(*iris)

    html = plan._repr_html_()

    assert plan.memory is None
    assert html.count("<tr>") == 1 + len(plan.rounds)
    assert "<th>candidates</th>" in html
    assert "<p>Total: 3 candidates on 3 folds, 9 fits, 0 epochs, about " in html
    assert html.endswith(
        "Estimated from 1 of the candidates on 100 of 100 samples of each fold.</p>"
    )


def test_candidates_with_epochs_are_timed_without(pipeline, iris):
    """The probe sets its own number of epochs."""
    grid = {"net__max_epochs": [1000, 2000], "net__dropout": [0.0]}

    assert GridSearchCV(pipeline, grid, cv=CV).plan(*iris).seconds > 0


@pytest.mark.parametrize("factor", [1, 2.5])
def test_a_plan_checks_parameters_as_fit_does(factor):
    """Their names are those of the search."""
    search = HyperbandSearchCV(MLPClassifier(), DROPOUT, factor=factor)

    with pytest.raises(ValueError, match="'factor' parameter of HyperbandSearchCV must be"):
        search.plan()


def test_a_plan_needs_no_data(pipeline):
    """Rounds follow from the parameters alone."""
    plan = HyperbandSearchCV(
        pipeline, {"net__dropout": uniform(0, 0.5)}, cv=CV, max_resources=9, factor=3
    ).plan()

    assert [(r.bracket, r.n_candidates, r.n_resources) for r in plan.rounds][:3] == [
        (2, 9, 1),
        (2, 3, 3),
        (2, 1, 9),
    ]
    assert plan.seconds is None


def test_folds_that_can_be_read_once_remain_for_the_search(iris):
    """A plan refuses a generator of folds and leaves it to fit."""
    search, expected = (
        GridSearchCV(SVC(), {"C": [1, 10]}, cv=CV.split(*iris)) for _ in range(2)
    )
    folds = search.cv

    with pytest.raises(ValueError, match=r"use list\(cv\)"):
        search.plan(*iris)

    assert search.cv is folds
    scores = search.fit(*iris).cv_results_["mean_test_score"]
    assert list(scores) == list(expected.fit(*iris).cv_results_["mean_test_score"])


@pytest.mark.parametrize("kind", ["network", "other"])
def test_a_plan_takes_the_parameters_of_fit(kind, make_estimator, iris):
    """Groups determine the number of folds, and fits use weights."""
    groups, weights = np.arange(150) % 4, np.ones(150)
    estimator = SVC() if kind == "other" else make_estimator("MLPClassifier")
    grid = {"C": [1, 10]} if kind == "other" else {"dropout": [0.0, 0.1]}
    search = GridSearchCV(estimator, grid, cv=LeaveOneGroupOut())

    plan = search.plan(*iris, groups=groups, sample_weight=weights)

    assert plan.n_folds == 4
    assert plan.seconds > 0
    assert (plan.memory is None) == (kind == "other")


def test_a_plan_without_fleets_has_seconds_only(iris):
    """The search trains such nets alone; their memory is unknown."""
    options = {"criterion": torch.nn.CrossEntropyLoss, "train_split": None, "verbose": 0}
    net = NeuralNetClassifier(torch.nn.LazyLinear, module__out_features=3, **options)
    X, y = iris.X.astype(np.float32), iris.y.astype(np.int64)

    plan = GridSearchCV(net, {"lr": [0.1, 0.2]}, cv=3).plan(X, y)

    assert plan.memory is None
    assert plan.seconds > 0


def test_a_plan_routes_its_parameters(pipeline, iris):
    """With scikit-learn's metadata routing the groups go to the splitter by request."""
    search = GridSearchCV(pipeline, {"net__dropout": [0.0, 0.1]}, cv=GroupKFold(3))

    with sklearn.config_context(enable_metadata_routing=True):
        plan = search.plan(*iris, groups=np.arange(150) % 4)

    assert (plan.n_folds, plan.memory > 0) == (3, True)


@pytest.mark.parametrize(
    ("estimator", "space", "expected"),
    [
        (MLPClassifier(max_epochs=7), {"dropout": [0.0]}, 7),
        (MLPClassifier(max_epochs=7), {"max_epochs": [1, 2, 6]}, 3),
        (Pipeline([("net", MLPClassifier())]), {"net__max_epochs": [2, None]}, 2),
        (MLPClassifier(), {"dropout": [0.0]}, 50),
        (MLPClassifier(batch_size=-1), {"max_epochs": ["auto"]}, 50),
        (SVC(), {"C": [1.0]}, 0),
    ],
    ids=["own", "searched", "pipeline", "automatic", "automatic in the space", "other"],
)
def test_epochs_are_the_mean_of_the_space(estimator, space, expected):
    """By hand; invalid numbers of epochs will not be trained."""
    assert mean_epochs(GridSearchCV(estimator, space), 100) == expected


def test_a_plan_fits_the_time_budget():
    """Of 138 seconds 60 are enough for a bracket, and one candidate of the next."""
    search = HyperbandSearchCV(MLPClassifier(), DROPOUT, max_resources=9, factor=3, cv=2)
    full_plan = replace(search.plan(), seconds=138.0)
    assert full_plan.n_epochs == 138

    plan = plan_in_time(full_plan, 60.0, lambda n, *_: n // 3, refits=False)

    assert [(r.bracket, r.n_candidates, r.n_resources) for r in plan.rounds] == [
        (2, 9, 1), (2, 3, 3), (2, 1, 9), (1, 1, 3), (1, 1, 9)
    ]  # fmt: skip
    assert (plan.n_epochs, plan.seconds) == (60, 60.0)
    assert "time_budget=60 is enough for 10 of 17 candidates" in str(plan)
    assert plan_in_time(full_plan, 138.0, lambda n, *_: n // 3, refits=False) == full_plan


def test_hyperband_plans_as_many_candidates_as_the_time_allows(iris):
    """Of three passes with 17 candidates each, a millisecond leaves one candidate."""
    net = MLPClassifier(max_epochs=9, width=4)
    search = HyperbandSearchCV(net, DROPOUT, cv=2, time_budget=1e-3)

    assert search.plan().n_candidates == 3 * 17
    assert "time_budget=0.001 is enough for 1 of 51 candidates" in str(search.plan(*iris))


@pytest.mark.parametrize("kind", [GridSearchCV, HyperbandSearchCV])
def test_folds_that_an_earlier_fit_has_read_are_refused(kind, digits):
    """By a plan, too; scikit-learn's searches say that no fits were performed."""
    folds = CV.split(*digits)
    net = MLPClassifier(width=4, max_epochs=3)
    search = kind(net, {"dropout": [0.0]}, cv=folds, refit=False).fit(*digits)

    with pytest.raises(ValueError, match="CV iterator empty.* use list"):
        search.fit(*digits)
    with pytest.raises(ValueError, match="CV iterator empty"):
        search.set_params(cv=[]).plan(*digits)
