"""Values and ranges in the form that Optuna stores."""

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.stats import loguniform, norm, poisson, randint, uniform

from sk_tune.search import Choice
from sk_tune.search._optuna_study import TrialRecord, add_trials, stored_value
from sk_tune.space import as_space


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
def test_distributions_are_those_of_the_space(values, value, expected):
    """Each in Optuna's words."""
    (trial,) = _added({"x": values}, _record({"x": value}))

    assert trial.distributions == {"x": expected}
    assert trial.params == {"x": value}


@pytest.mark.parametrize(
    ("values", "value", "is_log"),
    [(loguniform(1e-4, 1), 1e-2, True), (norm(0, 1), 25.0, False), (poisson(3), 4, False)],
)
def test_ranges_hold_what_was_seen(values, value, is_log):
    """Also of a distribution without end."""
    (trial,) = _added({"x": values}, _record({"x": value}))
    own = trial.distributions["x"]

    assert own.low <= value <= own.high
    assert own.log == is_log


def test_branches_may_use_a_name_for_other_values():
    """Values of all kinds cannot have one range, and become attributes."""
    space = {"k": Choice({"a": {"x": (0.0, 1.0)}, "b": {"x": ["u", "v"]}})}
    one, other = _added(
        space, _record({"k": "a", "x": 0.5}, 0), _record({"k": "b", "x": "u"}, 1)
    )

    assert (one.params, one.user_attrs["x"]) == ({"k": "a"}, 0.5)
    assert (other.params, other.user_attrs["x"]) == ({"k": "b"}, "u")


def test_what_runs_is_not_written():
    """It has no value yet."""
    assert _added({"x": [1]}, _record({"x": 1}, state="running")) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.float64(0.5), 0.5), (np.int32(3), 3), (True, True), (None, None), ((1,), "(1,)")],
)
def test_values_are_stored_as_python_has_them(value, expected):
    """Or as their repr."""
    stored = stored_value(value)

    assert stored == expected
    assert type(stored) is type(expected)
