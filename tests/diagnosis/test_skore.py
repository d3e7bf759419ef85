# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Findings in the reports of skore."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_iris

from sk_tune import Curves, GridSearchCV, MLPClassifier, diagnose, skore_checks


class _NotApplicableError(Exception):
    """Stands for skore's exception."""


@pytest.fixture
def checks():
    """Return checks of a network that overfits, by code."""
    epochs = np.arange(1, 31)
    train = np.tile(np.exp(-epochs / 5), (3, 1))
    valid = np.tile(0.4 + np.exp(-epochs / 3) + 0.02 * epochs, (3, 1))
    curves = Curves(train_loss=train, valid_loss=valid, valid_score=-valid)
    return {check.code: check for check in skore_checks(diagnose(curves))}


def test_an_issue_has_its_code_text_and_page(checks):
    """A check that found a fault returns its message and remedy."""
    check = checks["SKT101"]

    assert (check.title, check.severity) == ("Overfitting", "issue")
    assert check.docs_url.endswith("how-to/diagnosis.html#skt101")
    assert "rose by 56 % after epoch 8" in check.check_function(None)
    assert "Train for at most" in check.check_function(None)


def test_a_passed_check_returns_nothing(checks):
    """skore lists checks without text as passed."""
    assert checks["SKT106"].check_function(None) is None


def test_a_check_that_cannot_be_made_says_why(checks, monkeypatch):
    """skore takes the reason from its exception."""
    skore = SimpleNamespace(CheckNotApplicable=_NotApplicableError)
    monkeypatch.setitem(sys.modules, "skore", skore)

    with pytest.raises(_NotApplicableError, match="constant prediction is unknown"):
        checks["SKT114"].check_function(None)


def test_findings_of_one_code_are_one_check(checks):
    """skore keeps one result for each code."""
    findings = diagnose(
        GridSearchCV(MLPClassifier(max_epochs=2), {}, cv=3).fit(*load_iris(return_X_y=True))
    )

    codes = [check.code for check in skore_checks([*findings, *findings])]

    assert len(codes) == len(set(codes)) == len({f.code for f in findings})


def test_a_report_of_skore_has_the_findings(checks):
    """Its summary has our codes in the sections of the outcomes."""
    skore = pytest.importorskip("skore")
    X, y = load_iris(return_X_y=True)
    report = skore.CrossValidationReport(MLPClassifier(max_epochs=2), X, y, splitter=3)

    report.checks.add(list(checks.values()))
    table = report.checks.summarize(fast_mode=True).frame().set_index("code")

    sections = table["section"]
    assert sections[["SKT101", "SKT106", "SKT114"]].tolist() == [
        "issue",
        "passed",
        "not_applicable",
    ]
    assert "rose by 56 %" in table.loc["SKT101", "explanation"]
