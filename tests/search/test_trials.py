"""One record for each configuration, out of the rows of all rungs."""

import numpy as np
import pandas as pd
import pytest

from sk_tune._search_record import INTERRUPTED, LOST_RACE
from sk_tune.search._optuna_study import scores_by_curve, trial_records


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


RUNGS = [(1, 1, 0, 1, 0.1), (2, 1, 0, 1, 0.5), (3, 0, 0, 3, 0.7), (2, 1, 1, 3, 0.6)]


def _states(records):
    return [(record.params["rate"], record.state) for record in records]


def test_a_configuration_is_complete_if_it_was_given_all():
    """Others were promoted over the rest."""
    records = trial_records(_results(RUNGS), resource="epochs")

    assert _states(records) == [(1, "pruned"), (3, "complete"), (2, "complete")]
    assert [record.row for record in records] == [0, 2, 3]
    assert [record.steps for record in records] == [{1: 0.1}, {3: 0.7}, {1: 0.5, 3: 0.6}]
    assert records[2].params == {"rate": 2}
    assert records[2].more["n_resources"] == 3


def test_what_may_still_be_promoted_is_running():
    """Until the next rung of its bracket is there."""
    options = {"resource": "epochs", "max_resources": 3, "is_over": False}
    before = trial_records(_results(RUNGS[:3]), **options)
    after = trial_records(_results(RUNGS), **options)

    assert _states(before) == [(1, "running"), (2, "running"), (3, "complete")]
    assert _states(after) == [(1, "pruned"), (3, "complete"), (2, "complete")]


def test_any_may_still_be_promoted_where_no_rung_is_waited_for():
    """Until the search is over, or it has been given all."""
    options = {"resource": "epochs", "max_resources": 3, "is_asynchronous": True}
    during, after = (
        trial_records(_results(RUNGS), is_over=own, **options) for own in (False, True)
    )

    assert _states(during) == [(1, "running"), (3, "complete"), (2, "complete")]
    assert _states(after) == [(1, "pruned"), (3, "complete"), (2, "complete")]


def test_a_configuration_of_two_brackets_is_two():
    """They were trained apart."""
    rows = [(1, 1, 0, 1, 0.1), (1, 0, 0, 3, 0.7)]

    assert len(trial_records(_results(rows), resource="epochs")) == 2


def test_without_rungs_each_row_is_one():
    """Also where a list has a value twice."""
    results = {
        "params": [{"rate": 1}, {"rate": 1}],
        "mean_test_score": np.array([0.1, 0.2]),
    }
    records = trial_records(results)

    assert [(r.row, r.state, r.score, r.steps) for r in records] == [
        (0, "complete", 0.1, {}),
        (1, "complete", 0.2, {}),
    ]


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("loss is nan", "failed"),
        (f"stopped after 3 folds: {LOST_RACE} 0", "pruned"),
        (INTERRUPTED, "pruned"),
    ],
)
def test_what_has_no_score_failed_or_was_stopped(reason, state):
    """The reason is kept."""
    results = {
        "params": [{"rate": 1}],
        "mean_test_score": np.array([np.nan]),
        "failure_reason": np.array([reason], dtype=object),
    }
    (record,) = trial_records(results)

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
    records = trial_records(results, curves=curves)

    assert records[0].steps == pytest.approx({1: 0.3, 2: 0.5})
    assert records[1].steps == {}


def test_curves_of_networks_are_of_accuracy_or_r2():
    """Of no other metric."""
    assert [scores_by_curve(s) for s in (None, "accuracy", "r2")] == [True] * 3
    assert [scores_by_curve(s) for s in ("roc_auc", len, ["r2"])] == [False] * 3
