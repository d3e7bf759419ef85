"""The leak guard within a time."""

import numpy as np
import pandas as pd

from sk_tune.automl._guard import guarded


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


def test_groups_are_looked_at(make_problem):
    """Folds that divide groups are an issue."""
    X, y = _leaky(400)

    findings = guarded(make_problem(X[["a"]], y), np.arange(400) // 4, 60.0)

    assert "groups across folds" in _issues(findings)
