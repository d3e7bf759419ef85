"""Searches as studies of Optuna."""

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from scipy.stats import loguniform, norm, poisson, randint, uniform
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV as SklearnGridSearchCV

from sk_tune import GridSearchCV, HalvingRandomSearchCV, HyperbandSearchCV, MLPClassifier
from sk_tune._search import Choice, OptunaExport, to_optuna
from sk_tune._search._optuna_study import TrialRecord, _trial_records, add_trials
from sk_tune._search_record import INTERRUPTED, LEFT_OUT
from sk_tune._space import as_space

pytestmark = pytest.mark.usefixtures("quiet_optuna")
NET = MLPClassifier(width=4, max_epochs=4, batch_size=16, random_state=0)
SPACE = {
    "learning_rate": loguniform(1e-4, 1e-1),
    "hidden_layer_sizes": [(4,), (2, 2)],
    "activation": ["relu", "tanh"],
}


@pytest.fixture
def storage():
    """A storage that can be opened again."""
    return optuna.storages.InMemoryStorage()


def _hyperband(**options):
    return HyperbandSearchCV(NET, SPACE, factor=2, cv=3, random_state=0, **options)


def _facts(study):
    return sorted(
        (t.user_attrs["row"], t.state.name, t.value, tuple(sorted(t.params.items())))
        for t in study.trials
    )


def test_a_search_becomes_a_study(iris, tmp_path):
    """With one trial per configuration and its epochs; for example in a file."""
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    search = _hyperband().fit(*iris)

    to_optuna(search, storage, study_name="iris")
    study = optuna.load_study(study_name="iris", storage=storage)

    assert len(study.trials) == len(search.search_record_.last_rows)
    assert study.best_value == search.best_score_
    best = study.best_trial
    assert best.user_attrs["row"] == search.best_index_
    assert best.params == {
        **{n: v for n, v in search.best_params_.items() if n in SPACE},
        "hidden_layer_sizes": repr(search.best_params_["hidden_layer_sizes"]),
    }
    assert list(best.intermediate_values) == [1, 2, 3, 4]
    rate = best.distributions["learning_rate"]
    assert (rate.low, rate.high, rate.log) == pytest.approx((1e-4, 1e-1, True))
    pruned = study.get_trials(states=[TrialState.PRUNED])
    assert pruned
    assert all(max(t.intermediate_values) < 4 for t in pruned)


def test_existing_trials_are_not_added_again(iris, storage):
    """A script may run twice."""
    search = _hyperband().fit(*iris)
    first = _facts(to_optuna(search, storage, study_name="iris"))

    assert _facts(to_optuna(search, storage, study_name="iris")) == first


class Watched(OptunaExport):
    """Counts the trials after each task."""

    def on_fit_task_end(self, estimator, context, **data):
        """Read the storage like another process."""
        stops = super().on_fit_task_end(estimator, context, **data)
        study = optuna.load_study(study_name=self.study_name, storage=self.storage)
        self.seen = [*getattr(self, "seen", ()), len(study.trials)]
        return stops


def test_trials_come_while_a_search_runs(iris, storage):
    """At the end the study equals that of the fitted search."""
    export = Watched(storage, "live")
    search = _hyperband().set_callbacks(export).fit(*iris)

    study = optuna.load_study(study_name="live", storage=storage)
    counts = sorted(set(export.seen))
    assert export.seen == sorted(export.seen)
    # Whoever is in the first rung may still be promoted, until the second one has ended.
    assert counts[0] == 0 < counts[1] < len(study.trials)
    assert _facts(study) == _facts(to_optuna(search))


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failures_have_reasons(iris):
    """In the trial's attributes."""
    grid = {"learning_rate": [1e-3, -1.0]}
    with pytest.warns(Warning, match="fits failed"):
        search = GridSearchCV(NET, grid, cv=3).fit(*iris)
    good, bad = to_optuna(search).trials

    assert (good.state, bad.state) == (TrialState.COMPLETE, TrialState.FAIL)
    assert "learning_rate" in bad.user_attrs["failure_reason"]


def test_rungs_are_the_steps_of_other_metrics(iris):
    """Curves of networks are of accuracy."""
    search = HalvingRandomSearchCV(
        NET, SPACE, resource="max_epochs", max_resources=4, factor=2, cv=3,
        scoring="neg_log_loss", random_state=0, n_candidates=4, min_resources=1,
    ).fit(*iris)  # fmt: skip
    study = to_optuna(search)

    assert len(study.trials) == 4
    assert study.best_value == search.best_score_
    assert list(study.best_trial.intermediate_values) == [1, 2, 4]


def test_searches_of_scikit_learn_are_written_too(iris):
    """Their results have the same form."""
    grid = {"C": [0.1, 1.0, 10.0], "solver": ["lbfgs", "newton-cg"]}
    search = SklearnGridSearchCV(LogisticRegression(max_iter=500), grid, cv=3).fit(*iris)
    study = to_optuna(search)

    assert len(study.trials) == 6
    assert study.best_params == search.best_params_


def test_a_study_that_minimizes_is_refused(storage):
    """Its best trial would be the worst."""
    optuna.create_study(storage=storage, study_name="less", direction="minimize")
    search = SklearnGridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=3)
    search.fit([[0], [1], [2]] * 3, [0, 1, 1] * 3)

    with pytest.raises(ValueError, match="'less' must maximize"):
        to_optuna(search, storage, study_name="less")


def test_a_search_that_is_not_fitted_is_refused():
    """There are no results to write."""
    with pytest.raises(NotFittedError):
        to_optuna(_hyperband())


def test_a_missing_optuna_is_named(iris, monkeypatch):
    """With the command that installs it."""
    search = GridSearchCV(NET, {"width": [2]}, cv=3).fit(*iris)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)

    with pytest.raises(ImportError, match=r"pip install 'sk-tune\[study\]'"):
        to_optuna(search)


def _record(params, row=0, state="complete"):
    return TrialRecord(row=row, params=params, state=state, score=0.5, steps={}, more={})


def _added(space, *records):
    study = optuna.create_study(direction="maximize")
    add_trials(optuna, study, as_space(space), records)
    return study.trials


@pytest.mark.parametrize(
    ("values", "value", "expected"),
    [
        ((0.5, 2.0), 1.0, FloatDistribution(0.5, 2.0)),
        ((1e-3, 1.0, "log-uniform"), 0.1, FloatDistribution(1e-3, 1.0, log=True)),
        ((2, 9), 3, IntDistribution(2, 9)),
        (uniform(1, 2), 1.5, FloatDistribution(1.0, 3.0)),
        (randint(2, 9), 3, IntDistribution(2, 8)),
        (["a", "b"], "b", CategoricalDistribution(["a", "b"])),
        ([1, 2, 4], 2, CategoricalDistribution([1, 2, 4])),
        ([(1,), (2, 3), None], None, CategoricalDistribution(["(1,)", "(2, 3)", None])),
        (range(1000), 7, IntDistribution(0, 999)),
    ],
)
def test_distributions_match_the_space(values, value, expected):
    """As Optuna's classes."""
    (trial,) = _added({"x": values}, _record({"x": value}))

    assert trial.distributions == {"x": expected}
    assert trial.params == {"x": value}


@pytest.mark.parametrize(
    ("values", "value", "is_log"),
    [(loguniform(1e-4, 1), 1e-2, True), (norm(0, 1), 25.0, False), (poisson(3), 4, False)],
)
def test_ranges_cover_the_values(values, value, is_log):
    """Also for an unbounded distribution."""
    (trial,) = _added({"x": values}, _record({"x": value}))
    distribution = trial.distributions["x"]

    assert distribution.low <= value <= distribution.high
    assert distribution.log == is_log


def test_branches_may_use_a_name_for_other_values():
    """Mixed values have no common range, and become attributes."""
    space = {"k": Choice({"a": {"x": (0.0, 1.0)}, "b": {"x": ["u", "v"]}})}
    one, other = _added(
        space, _record({"k": "a", "x": 0.5}, 0), _record({"k": "b", "x": "u"}, 1)
    )

    assert (one.params, one.user_attrs["x"]) == ({"k": "a"}, 0.5)
    assert (other.params, other.user_attrs["x"]) == ({"k": "b"}, "u")


def _results(rows, **more):
    """Return results of (rate, bracket, rung, resources, score)."""
    rates, brackets, rungs, resources, scores = zip(*rows, strict=True)
    params = [{"rate": r, "epochs": n} for r, n in zip(rates, resources, strict=True)]
    return {
        "params": params,
        "bracket": list(brackets),
        "iter": list(rungs),
        "n_resources": list(resources),
        "mean_test_score": np.array(scores, dtype=float),
        "mean_fit_time": np.ones(len(rows)),
        **more,
    }


ASHA = {"is_asynchronous": True}
RUNGS = [(1, 1, 0, 1, 0.1), (2, 1, 0, 1, 0.5), (3, 0, 0, 3, 0.7), (2, 1, 1, 3, 0.6)]


def test_a_configuration_with_all_resources_is_complete():
    """Others were not promoted."""
    records = _trial_records(_results(RUNGS), resource="epochs")

    assert [record.params["rate"] for record in records] == [1, 3, 2]
    assert [record.state for record in records] == ["pruned", "complete", "complete"]
    assert [record.row for record in records] == [0, 2, 3]
    assert [record.steps for record in records] == [{1: 0.1}, {3: 0.7}, {1: 0.5, 3: 0.6}]
    assert records[2].params == {"rate": 2}
    assert records[2].more["n_resources"] == 3


@pytest.mark.parametrize(
    ("n_rows", "more", "states"),
    [
        (3, {"is_over": False}, ["running", "running", "complete"]),
        (4, {"is_over": False}, ["pruned", "complete", "complete"]),
        # Where no rung is waited for, any may be promoted until the search is over.
        (
            4,
            {"is_over": False, "is_asynchronous": True},
            ["running", "complete", "complete"],
        ),
        (4, {"is_over": True, **ASHA}, ["pruned", "complete", "complete"]),
    ],
)
def test_candidates_that_may_be_promoted_are_running(n_rows, more, states):
    """Until the next rung of its bracket has results, or it has all resources."""
    records = _trial_records(
        _results(RUNGS[:n_rows]), resource="epochs", max_resources=3, **more
    )

    assert [record.state for record in records] == states


def test_without_rungs_each_row_is_a_trial():
    """Also if a list repeats a value."""
    results = {
        "params": [{"rate": 1}, {"rate": 1}],
        "mean_test_score": np.array([0.1, 0.2]),
    }
    records = _trial_records(results)

    assert [(r.row, r.state, r.score, r.steps) for r in records] == [
        (0, "complete", 0.1, {}),
        (1, "complete", 0.2, {}),
    ]


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("loss is nan", "failed"),
        (INTERRUPTED, "pruned"),
        (LEFT_OUT, "pruned"),
    ],
)
def test_missing_scores_mean_failed_or_stopped(reason, state):
    """The reason is kept."""
    results = {
        "params": [{"rate": 1}],
        "mean_test_score": np.array([np.nan]),
        "failure_reason": np.array([reason], dtype=object),
    }
    (record,) = _trial_records(results)

    assert record.state == state
    assert record.more == {"failure_reason": reason}


def test_steps_are_epochs_if_there_are_curves():
    """Means over the folds that have the epoch."""
    curves = pd.DataFrame({
        "candidate": [0, 0, 0, 1],
        "epoch": [1, 1, 2, 1],
        "valid_score": [0.2, 0.4, 0.5, np.nan],
    })
    results = {"params": [{"rate": 1}, {"rate": 2}], "mean_test_score": [0.5, 0.6]}
    records = _trial_records(results, curves=curves)

    assert records[0].steps == pytest.approx({1: 0.3, 2: 0.5})
    assert records[1].steps == {}
