"""The leak guard within a time."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sk_tune.automl import _splitting as _guard
from sk_tune.automl._splitting import guarded, warn_of_leaks
from sk_tune.diagnosis import Finding, find_leaks
from sk_tune.exceptions import SkTuneWarning


def _leaky(n):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    return pd.DataFrame({"a": rng.normal(size=n), "b": 5.0 * y}), y


def _issues(findings):
    return {finding.name for finding in findings if finding.outcome == "issue"}


def test_a_leak_is_found(make_problem):
    """A column that is the target is named."""
    findings = guarded(make_problem(*_leaky(400)), None, 60.0)

    assert "target among the features" in _issues(findings)


def test_of_large_data_some_rows_tell(make_problem):
    """A second's share of the rows still shows the leak."""
    findings = guarded(make_problem(*_leaky(60_000)), None, 0.1)

    assert "target among the features" in _issues(findings)


def test_folds_that_a_sample_leaves_empty_are_left_out(make_problem):
    """Of many small groups some are not among the rows that are looked at."""
    X, y = _leaky(4000)
    folds = [(np.setdiff1d(np.arange(4000), k), k) for k in np.split(np.arange(4000), 800)]

    findings = guarded(replace(make_problem(X, y), folds=folds), None, 0.1)

    assert "target among the features" in _issues(findings)


def test_groups_are_looked_at(make_problem):
    """Folds that divide groups are an issue."""
    X, y = _leaky(400)

    findings = guarded(make_problem(X[["a"]], y), np.arange(400) // 4, 60.0)

    assert "groups across folds" in _issues(findings)


def test_of_very_wide_data_some_columns_tell(make_problem, monkeypatch):
    """The checks see no more columns than there is time for, and duplicates need all."""
    y = np.arange(600) % 2
    few, seen = np.repeat(np.random.default_rng(0).normal(size=(300, 300)), 2, axis=0), []
    monkeypatch.setattr(
        _guard, "find_leaks", lambda X, y, **own: seen.append(X) or find_leaks(X, y, **own)
    )

    first = guarded(make_problem(pd.DataFrame(few), y), None, 0.1)
    unseen = next(column for column in range(300) if column not in seen[0].columns)
    few[:, unseen] = np.arange(600)
    second = guarded(make_problem(pd.DataFrame(few), y), None, 0.1)

    assert [X.shape[1] for X in seen] == [100, 300, 100, 300]
    assert "duplicates across folds" in _issues(first)
    assert "duplicates across folds" not in _issues(second)


def _finding(outcome, severity):
    message = f"{severity} {outcome}."
    return Finding(
        code="SKT201", name="", outcome=outcome, severity=severity, message=message
    )


@pytest.mark.filterwarnings("error")
def test_what_is_not_serious_is_not_warned_of():
    """Neither suspicions, nor what changes scores by little, nor what passed."""
    warn_of_leaks([_finding("tip", "high"), _finding("issue", "low")])
    warn_of_leaks([_finding("passed", None)])


def test_serious_leaks_are_one_warning():
    """It names each."""
    findings = [_finding("issue", severity) for severity in ("low", "medium", "high")]

    with pytest.warns(SkTuneWarning, match="good. medium issue. high issue.$") as warned:
        warn_of_leaks(findings)

    assert len(warned) == 1
