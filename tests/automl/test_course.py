"""The order in which models are trained."""

import math
import pickle
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.pipeline import Pipeline

from sk_tune import MLPRegressor
from sk_tune._automl import (
    AutoProgress,
    _growth,
    _model_course,
    _models,
    _refits,
    _resources,
)
from sk_tune._automl._growth import clearly_gains
from sk_tune._automl._model_course import ModelCourse
from sk_tune._automl._models import boosting_model, dummy_model, linear_model
from sk_tune._automl._refits import refitted
from sk_tune._automl._resources import Clock, Cost
from sk_tune._automl._runner import _N_KEPT, Runner
from sk_tune._diagnosis import Change, Finding
from sk_tune._sampler import RandomSampler
from sk_tune._search import HyperbandSearchCV


def _course(problem, *, budget=None, n_rounds=0, tell=None, follows_findings=True):
    return ModelCourse(
        problem=problem,
        final=problem,
        runner=Runner(Clock(budget), 0.0, tell),
        n_rounds=n_rounds,
        sampler="random",
        follows_findings=follows_findings,
    )


@pytest.fixture
def problem(mixed, make_problem):
    """Return a problem of 120 rows."""
    return make_problem(*mixed)


def test_every_family_has_trials_of_default_models(problem, small_network, monkeypatch):
    """Without rounds there are only default models, on the same rows."""
    monkeypatch.setattr(_models, "_REGULARISATION", [0.01, 0.1, 1.0, 10.0])
    course = _course(problem)

    course.run([dummy_model(problem), linear_model(problem), small_network(problem)])

    families = [trial.family for trial in course.memory.trials]
    assert families == ["dummy", *["linear"] * _N_KEPT, "MLP"]
    shapes = {trial.library.predictions.shape for trial in course.memory.trials}
    assert shapes == {(1, 120, 2)}
    assert course.runner.failures == {}


@pytest.mark.slow
def test_rounds_give_networks_and_boosting_more_candidates(problem, small_network):
    """Each round has different candidates; findings and changes name the network model."""
    network, boosting = small_network(problem), boosting_model(problem)
    boosting.estimator.set_params(boosting__max_iter=5)
    course, both = _course(problem, n_rounds=1), _course(problem, n_rounds=1)

    course.run([network, boosting])
    both.run([network, replace(network, label="another")])

    families = [trial.family for trial in course.memory.trials]
    assert families.count("boosting") == 9
    assert families.count("MLP") > 1
    names = [finding.name for finding in course.findings]
    assert names
    assert [finding.name for finding in both.findings] == names * 2
    subjects = [finding.subject for finding in both.findings]
    assert subjects == ["MLP"] * len(names) + ["another"] * len(names)
    assert str(both.findings[-1]).startswith("another, ")
    assert {change.subject for change in both.changes} <= {"MLP", "another"}
    both.n_rounds = 2
    both.run([boosting])
    trials = [trial for trial in both.memory.trials if trial.family == "boosting"]
    assert len({str(trial.params) for trial in trials}) == len(trials) == 17


def test_networks_near_good_defaults_have_all_epochs(problem, small_network, monkeypatch):
    """Each random candidate is trained to the end, and no remedy leads away from them."""
    monkeypatch.setattr(_model_course, "_N_CANDIDATES", 3)
    network = small_network(problem, is_narrow=True)
    course = _course(problem, n_rounds=1)

    course.run([network])

    epochs = {t.models[0][-1].max_epochs for t in course.memory.trials}
    assert (len(course.memory.trials), epochs) == (1 + 3, {6})
    assert course.findings
    assert course.changes == []


@pytest.mark.parametrize(
    ("is_better", "tried", "final"),
    [
        ([False], [6, 12], 6),
        ([True, False], [6, 12, 24], 12),
        ([True] * 3, [6, 12, 24, 48], 48),
    ],
)
def test_epochs_are_doubled_while_the_defaults_gain(
    problem, small_network, monkeypatch, is_better, tried, final
):
    """Random candidates get the last epochs that were better, at most eight times."""
    monkeypatch.setattr(_model_course, "_N_CANDIDATES", 2)
    answers = iter(is_better)
    monkeypatch.setattr(_growth, "clearly_gains", lambda *_: next(answers))
    network = small_network(problem, is_narrow=True, can_grow=True)
    course = _course(problem, n_rounds=2)

    course.run([network])

    epochs = [trial.models[0][-1].max_epochs for trial in course.memory.trials]
    assert epochs == [*tried, *[final] * 4]


def test_a_gain_is_clear_if_it_exceeds_the_standard_error():
    """Gains of 3, 1 and -1 have mean 1 and standard error 0.94; of 3, 1 and -2 not."""
    assert clearly_gains(np.array([3.0, 1.0, -1.0]))
    assert not clearly_gains(np.array([3.0, 1.0, -2.0]))
    assert not clearly_gains(np.zeros(3))


@pytest.mark.parametrize(("seconds", "n_members"), [(1.0, 4), (8.0, 2)])
def test_a_slow_table_network_gets_fewer_members_instead_of_fewer_epochs(
    problem, small_network, monkeypatch, seconds, n_members
):
    """It has a fifth of the budget with all members, and half of it with fewer."""
    n_folds = len(problem.folds)
    cost = Cost(once=0.0, per_unit=seconds / n_folds / 6)
    monkeypatch.setattr(_model_course, "measured_cost", lambda *args, **kwargs: cost)
    network = small_network(problem, is_narrow=True)
    network.estimator.set_params(net__members=4)
    course = _course(problem, budget=30.0)

    course.run([network])

    first = course.memory.trials[0].models[0][-1]
    assert (first.members, first.max_epochs) == (n_members, 6)


def test_a_callable_makes_the_sampler_of_each_round(problem, small_network):
    """It gets the space of the network, and its samples are the candidates."""
    spaces = []

    def sampler(space, random_state):
        spaces.append({*RandomSampler(space, 0).ask(1)[0]})
        return RandomSampler(space, random_state)

    course = replace(_course(problem, n_rounds=2), sampler=sampler)

    course.run([small_network(problem)])

    assert spaces == [{"net__dropout"}] * 2


def test_a_family_that_fails_does_not_stop_the_others(problem, small_network):
    """Its reason is stored, and the next family is trained."""
    broken = small_network(problem)
    broken.estimator.set_params(net__width=-1)
    course = _course(problem)

    course.run([broken, dummy_model(problem)])

    assert "width" in course.runner.failures["MLP"]
    assert [trial.family for trial in course.memory.trials] == ["dummy"]


def test_a_fallback_is_trained_if_no_other_network_has_all_rows(problem, small_network):
    """It is much faster and worse than a network of tables."""
    network = small_network(problem, label="network")
    fallback = small_network(problem, is_fallback=True)
    course, alone = _course(problem), _course(problem)

    course.run([network, fallback])
    alone.run([fallback])

    assert [trial.label for trial in course.memory.trials] == ["network"]
    assert [trial.label for trial in alone.memory.trials] == ["MLP"]


def test_without_time_only_the_dummy_is_trained(problem, small_network):
    """The time may be over, or reserved for the ensemble."""
    for runner in (Runner(Clock(1e-6), 0.0, None), Runner(Clock(99.0), 99.0, None)):
        course = replace(_course(problem, n_rounds=None), runner=runner)
        course.run([dummy_model(problem), small_network(problem)])

        assert [trial.family for trial in course.memory.trials] == ["dummy"]
        assert "too long" in runner.failures["MLP"]


def test_rounds_stop_at_the_end_of_the_budget(problem, small_network):
    """The number of rounds depends on the time."""
    course = _course(problem, budget=2.0, n_rounds=None)
    start = time.monotonic()

    course.run([dummy_model(problem), small_network(problem)])

    assert time.monotonic() - start < 8
    assert course.memory.trials[0].family == "dummy"


def test_a_slow_network_does_not_stop_the_rounds(problem, small_network):
    """It uses the remaining time, after which its training is stopped."""
    course, network = _course(problem, budget=60.0), small_network(problem)
    course.run([network])
    course.memory.trials = [replace(t, seconds=1000.0) for t in course.memory.trials]
    n_trials, course.n_rounds = len(course.memory.trials), 1

    course.run([network])

    assert len(course.memory.trials) > n_trials


@pytest.mark.usefixtures("few_linear")
def test_progress_has_the_best_score_so_far(problem):
    """The best score never falls; without a budget the time left is infinite."""
    news = []

    _course(problem, tell=news.append).run([dummy_model(problem), linear_model(problem)])

    assert all(isinstance(item, AutoProgress) for item in news)
    scores = [item.best_score for item in news if item.best_model]
    assert scores == sorted(scores)
    assert news[-1].n_trials == 1 + 2
    assert math.isinf(news[-1].seconds_left)


@pytest.mark.usefixtures("few_linear")
def test_weights_reach_the_models(mixed, make_problem):
    """A model rarely predicts a class with almost no weight."""
    X, y = mixed
    weights = np.where(y == "yes", 1e-6, 1.0)
    course = _course(make_problem(X, y, sample_weight=weights))

    course.run([linear_model(course.problem)])

    assert course.memory.trials[0].library.predictions[0, :, 1].mean() < 0.1


class _Costly(Runner):
    """Reports a training time proportional to rows and epochs, without training."""

    per_row_and_unit = 1e-2 / 3  # Of one fold.

    def probe(self, model, problem, n_rows, units):
        return self.per_row_and_unit * n_rows * units


class _Stopped(Clock):
    """Lets no time pass, so that the load of the machine does not matter."""

    seconds = 0.0


def _costly_course(problem, budget, monkeypatch):
    course = _course(problem, budget=budget, n_rounds=0)
    course.runner = _Costly(_Stopped(budget), 0.0, None)
    now = [0.0]
    monkeypatch.setattr(
        _resources.time, "perf_counter", lambda: now.__setitem__(0, now[0] + 1e-9) or now[0]
    )
    return course


def test_with_little_time_a_model_starts_on_a_sample(problem, small_network, monkeypatch):
    """All models are scored on the same rows; its number of training rows is stored."""
    course = _costly_course(problem, 7.4, monkeypatch)
    course.problem = replace(course.problem, seed=1)
    monkeypatch.setattr(_model_course, "_LEAST_ROWS", 30)

    course.run([dummy_model(problem), small_network(problem)])

    dummy, network = course.memory.trials
    assert dummy.n_rows == 80
    assert 30 <= network.n_rows < 80
    assert network.library.predictions.shape == dummy.library.predictions.shape


def test_the_best_of_a_sample_is_trained_on_all_rows(small_network, problem, monkeypatch):
    """The parameters are the same, and it is trained once."""
    course = _costly_course(problem, 7.4, monkeypatch)
    monkeypatch.setattr(_model_course, "_LEAST_ROWS", 30)
    course.run([small_network(problem)])
    kind = course.memory.kinds["MLP"]
    kind.cost = kind.cost.times(1e-3)

    course._enlarge_best(5.0)

    first, second = course.memory.trials
    assert first.n_rows < second.n_rows == 80
    assert second.params["net__max_epochs"] >= first.params["net__max_epochs"]
    course._enlarge_best(5.0)
    assert len(course.memory.trials) == 2


class _Scripted(Runner):
    """Replaces Hyperband searches by scripted scores and the same findings."""

    def script(self, scores, findings):
        self.scores, self.findings, self.widths = iter(scores), findings, []

    def run(self, kind, estimator, space, *args, **options):
        if kind is not HyperbandSearchCV:
            return super().run(kind, estimator, space, *args, **options)
        self.widths.append((estimator.get_params()["net__width"], space["net__dropout"]))
        self.latest = SimpleNamespace(findings=self.findings)
        search = HyperbandSearchCV(
            estimator,
            space,
            resource=options["resource"],
            max_resources=options["max_resources"],
        )
        search.best_score_ = next(self.scores)
        search.max_resources_ = options["max_resources"]
        search.ledger_ = SimpleNamespace(epochs_trained=1)
        return search


def _overfitting():
    """Return a finding with two remedies: a narrow network, then more dropout."""
    width, dropout = (
        Change(parameter=name, action=action, value=value, reason="it overfits")
        for name, action, value in (("width", "at most", 4), ("dropout", "at least", 0.4))
    )
    return Finding(
        code="SKT101",
        name="overfitting",
        outcome="issue",
        severity="high",
        message="",
        changes=(width,),
        alternatives=((dropout,),),
    )


def _scripted_course(problem, network, scores, n_rounds):
    course = _course(problem)
    course.runner = _Scripted(Clock(None), 0.0, None)
    course.runner.script(scores, [_overfitting()])
    course.run([network])
    course.n_rounds = n_rounds
    return course


def test_a_remedy_that_lowered_the_score_is_taken_back_and_not_repeated(
    problem, small_network
):
    """The next remedy starts from the earlier network; a later fit remembers both."""
    network = small_network(problem)
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    course = _scripted_course(problem, network, scores, n_rounds=3)

    course.run([network])
    course.runner.memory = pickle.loads(pickle.dumps(course.memory))
    course.n_rounds = 2
    course.run([network])

    default = (8, [0.0, 0.2, 0.4])
    assert course.runner.widths == [default, (4, default[1]), (8, [0.4]), default, default]
    texts = [(change.parameter, change.reason) for change in course.changes]
    assert texts == [
        ("net__width", "it overfits"),
        ("net__width", "the score fell from 0.9 to 0.8"),
        ("net__dropout", "it overfits"),
        ("net__dropout", "the score fell from 0.9 to 0.7"),
    ]


def test_scores_on_other_numbers_of_rows_take_no_remedy_back(
    problem, small_network, monkeypatch
):
    """A failed remedy is not repeated after a network is trained on more rows."""
    network = small_network(problem)
    course = _scripted_course(problem, network, [0.9, 0.8, 0.7], n_rounds=2)
    course.run([network])
    kind = course.memory.kinds["MLP"]
    larger = (network, kind.n_rows + 1, kind.units)
    monkeypatch.setattr(ModelCourse, "_larger", lambda *args: larger)
    kind.cost = _resources.Cost(once=0.0, per_unit=1.0)
    course.n_rounds, course.changes = 1, []

    course._run_network(kind, 1e6)

    # The defaults for more rows; the first remedy is not repeated.
    assert course.runner.widths[-1] == (8, [0.0, 0.2, 0.4])
    assert [change.parameter for change in course.changes] == ["net__dropout"]
    assert kind.space["net__dropout"] == [0.4]


def test_longer_training_that_lowered_the_score_is_shortened_again(problem, small_network):
    """The number of epochs is that before the remedy."""
    network = small_network(problem)
    course = _scripted_course(problem, network, [0.9, 0.8], n_rounds=1)
    longer = Change(parameter="max_epochs", action="at least", value=12, reason="")
    course.runner.findings = [replace(_overfitting(), changes=(longer,), alternatives=())]
    units = []
    for _ in range(2):
        course.run([network])
        units.append(course.memory.kinds["MLP"].units)

    assert units == [12, 6]


def _with_refits(problem, budget=None):
    runner = Runner(Clock(budget), 0.0, None, share_of_refit=problem.share_of_refit)
    return replace(_course(problem), runner=runner)


def test_a_refit_is_the_configuration_fitted_on_all_rows(problem, small_network):
    """It takes five quarters of a fold's time, of each trial once."""
    course = _with_refits(problem)
    course.run([dummy_model(problem), small_network(problem)])
    dummy, trial = course.memory.trials

    models = course.refits([trial, dummy, trial])

    assert problem.share_of_refit == pytest.approx(1.5 / 3)
    assert list(models) == [trial.name]
    expected = clone(trial.models[0]).fit(problem.X, problem.y).predict_proba(problem.X)
    np.testing.assert_allclose(
        models[trial.name].predict_proba(problem.X), expected, atol=1e-6
    )


@pytest.mark.parametrize(("splitter", "n_epochs"), [(KFold(3), 4), (TimeSeriesSplit(3), 6)])
def test_in_time_order_refits_train_as_long_as_the_last_fold(
    make_problem, splitter, n_epochs
):
    """Otherwise they train for the median; early folds in time order have few rows."""
    X, y = np.eye(20), np.arange(20.0)
    folds = list(splitter.split(X))
    problem = make_problem(X, y, is_classification=False, folds=folds)
    models = tuple(
        Pipeline([("net", MLPRegressor(max_epochs=n, width=4))]).fit(X, y)
        for n in (3, 4, 6)
    )
    trial = SimpleNamespace(name="network", seconds=0.0, models=models)

    model = refitted(trial, problem, Runner(Clock(None), 0.0, None))

    assert len(model[-1].net_.history_) == n_epochs


def test_refits_share_equal_transformers(problem, small_network):
    """A prediction of several models prepares the table once."""
    course = _with_refits(problem)
    course.run([small_network(problem)])
    (trial,) = course.memory.trials

    one, other = course.refits([trial, replace(trial, name="other")]).values()

    assert one is not other
    assert all(
        a is b for (_, a), (_, b) in zip(one.steps[:-1], other.steps[:-1], strict=True)
    )


def test_without_time_members_keep_the_models_of_their_folds(problem, small_network):
    """Searches leave twice the share of a network in a fleet; late refits are left out."""
    course = _with_refits(problem, budget=1000.0)
    course.run([small_network(problem)])
    (trial,) = course.memory.trials = [replace(course.memory.trials[0], seconds=100.0)]

    assert course.runner.clock.left - course.runner.left == pytest.approx(100, abs=1)
    course.runner.clock = Clock(30.0)
    assert course.refits([trial]) == {}
    course.runner.clock, course.was_interrupted = Clock(None), True
    assert course.refits([trial]) == {}
    image = replace(problem, kind="image")
    assert image.share_of_refit == 0


def test_a_member_that_cannot_be_fitted_on_all_rows_is_reported(
    problem, small_network, monkeypatch
):
    """Its folds' models predict."""
    course = _with_refits(problem)
    course.run([small_network(problem)])
    (trial,) = course.memory.trials

    def failing(*_, **__):
        raise ValueError("A column has one category.")

    monkeypatch.setattr(type(trial.models[0]), "fit", failing)

    assert course.refits([trial]) == {}
    failures = {f"{trial.name} on all rows": "A column has one category."}
    assert course.runner.failures == failures


@pytest.mark.parametrize(("seconds", "most"), [(0.2, 50.0), (40.0, 60.0), (150.0, 100.0)])
def test_a_slow_refit_leaves_time_for_others(
    problem, small_network, monkeypatch, seconds, most
):
    """It gets three times the expected half of a trial's time, or half of the rest."""
    course = _with_refits(problem)
    course.run([small_network(problem)])
    trial = replace(course.memory.trials[0], seconds=seconds)
    course.runner.clock = Clock(100.0)
    limits = []

    def recorded(limit):
        limits.append(limit.seconds_left)
        return nullcontext()

    monkeypatch.setattr(_refits, "time_limit", recorded)

    assert list(course.refits([trial])) == [trial.name]
    assert limits == pytest.approx([most], abs=2)


def test_a_model_without_time_has_an_estimate_of_the_budget_it_needs(problem, monkeypatch):
    """Twice its time and a third more, as half of the time left is for one model."""
    course, model = _course(problem, budget=60.0), linear_model(problem)
    cost = Cost(once=30.0, per_unit=0.0)
    monkeypatch.setattr(ModelCourse, "_is_cheap", lambda *_: False)
    monkeypatch.setattr(
        ModelCourse,
        "_affordable_default",
        lambda *_: (model, 0, model.most_resources, cost),
    )

    course.run([dummy_model(problem), model])

    assert course.late_models["linear"] == pytest.approx(60 / 0.75, abs=20.0)
    assert course.runner.failures.keys() == {"linear"}


def test_a_model_that_failed_otherwise_is_not_late(problem):
    """Only time is a matter of the budget."""
    course = _course(problem, budget=1.0)
    course.runner.failures |= {"MLP": "out of memory", "boosting": _model_course._TOO_LONG}

    assert course.late_models == {"boosting": math.inf}


def test_the_linear_model_of_a_wide_table_is_trained_without_a_measurement(make_problem):
    """It has more time there, because it is often the best."""
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 900))).rename(columns=str)
    courses = [_course(make_problem(X.iloc[:, :n], np.arange(60) % 2)) for n in (900, 30)]

    for course in courses:
        course._n_models.update(["linear"])

    wide, narrow = courses

    model = linear_model(wide.problem)
    assert wide.problem.n_values < _model_course._FEW_VALUES_IF_WIDE
    assert wide._is_cheap(model)
    assert wide._first_share(model) > 3 * narrow._first_share(model)
