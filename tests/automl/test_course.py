"""What is trained in which order."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from sk_tune.automl import AutoProgress, _model_course, _models, _resources
from sk_tune.automl._model_course import ModelCourse
from sk_tune.automl._models import boosting_model, dummy_model, linear_model
from sk_tune.automl._resources import Clock
from sk_tune.automl._runner import _N_KEPT, Runner


def _course(problem, *, budget=None, n_rounds=0, tell=None, follows_findings=True):
    return ModelCourse(
        problem=problem,
        runner=Runner(Clock(budget), 0.0, tell),
        n_rounds=n_rounds,
        sampler="random",
        follows_findings=follows_findings,
    )


@pytest.fixture
def problem(mixed, make_problem):
    """Return a problem of 120 rows."""
    return make_problem(*mixed)


def test_defaults_come_first_and_every_family_leaves_trials(
    problem, small_network, monkeypatch
):
    """Without rounds there are the default models, on the same rows."""
    monkeypatch.setattr(_models, "_REGULARISATION", [0.01, 0.1, 1.0, 10.0])
    course = _course(problem)

    course.run([dummy_model(problem), linear_model(problem), small_network(problem)])

    families = [trial.family for trial in course.found.trials]
    assert families == ["dummy", *["linear"] * _N_KEPT, "MLP"]
    shapes = {trial.library.predictions.shape for trial in course.found.trials}
    assert shapes == {(1, 120, 2)}
    assert course.runner.failures == {}


@pytest.mark.slow
def test_rounds_give_networks_and_boosting_more_candidates(problem, small_network):
    """Others in each round; findings and changes name the kind of network."""
    network, boosting = small_network(problem), boosting_model(problem)
    boosting.estimator.set_params(boosting__max_iter=5)
    course, both = _course(problem, n_rounds=1), _course(problem, n_rounds=1)

    course.run([network, boosting])
    both.run([network, replace(network, label="another")])

    families = [trial.family for trial in course.found.trials]
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
    trials = [trial for trial in both.found.trials if trial.family == "boosting"]
    assert len({str(trial.params) for trial in trials}) == len(trials) == 17


def test_a_family_that_fails_does_not_end_the_others(problem, small_network):
    """Its reason is kept, and the next one is trained."""
    broken = small_network(problem)
    broken.estimator.set_params(net__width=-1)
    course = _course(problem)

    course.run([broken, dummy_model(problem)])

    assert "width" in course.runner.failures["MLP"]
    assert [trial.family for trial in course.found.trials] == ["dummy"]


def test_no_time_is_no_training(problem, small_network):
    """If the clock ran out, or the rest is reserved, only what costs nothing is tried."""
    for runner in (Runner(Clock(1e-6), 0.0, None), Runner(Clock(99.0), 99.0, None)):
        course = replace(_course(problem, n_rounds=None), runner=runner)
        course.run([dummy_model(problem), small_network(problem)])

        assert [trial.family for trial in course.found.trials] == ["dummy"]
        assert "too long" in runner.failures["MLP"]


def test_rounds_end_with_the_time(problem, small_network):
    """The clock decides how many there are."""
    course = _course(problem, budget=2.0, n_rounds=None)
    start = time.monotonic()

    course.run([dummy_model(problem), small_network(problem)])

    assert time.monotonic() - start < 8
    assert course.found.trials[0].family == "dummy"


def test_a_slow_network_does_not_end_the_rounds(problem, small_network):
    """What is left of the time is used, because what takes longer than that is cut."""
    course, network = _course(problem, budget=60.0), small_network(problem)
    course.run([network])
    course.found.trials = [replace(t, seconds=1000.0) for t in course.found.trials]
    before, course.n_rounds = len(course.found.trials), 1

    course.run([network])

    assert len(course.found.trials) > before


@pytest.mark.usefixtures("few_linear")
def test_news_say_what_is_best_so_far(problem):
    """The score never falls, and there is no time left to tell of without a budget."""
    news = []

    _course(problem, tell=news.append).run([dummy_model(problem), linear_model(problem)])

    assert all(isinstance(item, AutoProgress) for item in news)
    scores = [item.best_score for item in news if item.best_model]
    assert scores == sorted(scores)
    assert news[-1].n_trials == 1 + 2
    assert math.isinf(news[-1].seconds_left)


@pytest.mark.usefixtures("few_linear")
def test_weights_reach_the_models(mixed, make_problem):
    """Rows of one class with weight 0 leave a model that hardly predicts it."""
    X, y = mixed
    weights = np.where(y == "yes", 1e-6, 1.0)
    course = _course(make_problem(X, y, sample_weight=weights))

    course.run([linear_model(course.problem)])

    assert course.found.trials[0].library.predictions[0, :, 1].mean() < 0.1


class _Costly(Runner):
    """Finds that a training takes seconds by its rows and epochs, which it does not."""

    per_row_and_unit = 1e-2

    def probe(self, model, problem, n_rows, units):
        return self.per_row_and_unit * n_rows * units


def _costly_course(problem, budget, monkeypatch):
    course = _course(problem, budget=budget, n_rounds=0)
    course.runner = _Costly(Clock(budget), 0.0, None)
    now = [0.0]
    monkeypatch.setattr(
        _resources.time, "perf_counter", lambda: now.__setitem__(0, now[0] + 1e-9) or now[0]
    )
    return course


def test_if_time_is_short_a_model_begins_on_a_sample(problem, small_network, monkeypatch):
    """It is judged on the same rows as the others, and says how many it was trained on."""
    course = _costly_course(problem, 7.4, monkeypatch)
    course.problem = replace(course.problem, seed=1)
    monkeypatch.setattr(_model_course, "_LEAST_ROWS", 30)

    course.run([dummy_model(problem), small_network(problem)])

    dummy, network = course.found.trials
    assert dummy.n_rows == 80
    assert 30 <= network.n_rows < 80
    assert network.library.predictions.shape == dummy.library.predictions.shape


def test_the_best_of_a_sample_is_trained_on_all_rows(small_network, problem, monkeypatch):
    """With the same parameters, and only once."""
    course = _costly_course(problem, 7.4, monkeypatch)
    monkeypatch.setattr(_model_course, "_LEAST_ROWS", 30)
    course.run([small_network(problem)])
    kind = course.found.kinds["MLP"]
    kind.cost = kind.cost.times(1e-3)

    course._enlarge_best(5.0)

    first, second = course.found.trials
    assert first.n_rows < second.n_rows == 80
    assert second.params["net__max_epochs"] >= first.params["net__max_epochs"]
    course._enlarge_best(5.0)
    assert len(course.found.trials) == 2
