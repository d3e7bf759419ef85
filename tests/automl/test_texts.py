# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""AutoML uses columns of text only if they clearly help."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from sk_tune import AutoClassifier, AutoRegressor
from sk_tune._automl import _texts
from sk_tune._automl._problem import Problem
from sk_tune._automl._resources import Clock

WORDS = ["amber", "birch", "coral", "delta", "ember", "fjord", "grove", "haven"]
FAST = {"time_budget": None, "n_rounds": 0, "random_state": 0, "n_jobs": 1}
SMALL = {"models": ["linear", "boosting"], "cv": 3, "test_size": 0, **FAST}


@pytest.fixture
def remarks():
    """Rows with a number, a text of random words, and whether the text has one of them."""
    rng = np.random.default_rng(0)
    words = rng.choice(WORDS, size=(300, 4))
    numbers = rng.integers(10_000, size=300)
    texts = [f"{' '.join(row)} no {k}" for row, k in zip(words, numbers, strict=True)]
    X = pd.DataFrame({"x": rng.normal(size=300), "remark": texts})
    return X, (words == "coral").any(axis=1)


def test_text_that_decides_the_label_is_used(remarks, tmp_path):
    """Its words predict new rows, and the page and the importance show the column."""
    X, y = remarks
    auto = AutoClassifier(**SMALL).fit(X[:200], y[:200])

    assert auto.kinds_.texts == ("remark",)
    assert auto.kinds_.dropped == {}
    assert roc_auc_score(y[200:], auto.predict_proba(X[200:])[:, 1]) > 0.9
    assert auto.column_importance_["column"].iloc[0] == "remark"
    auto.report(tmp_path / "report.html")
    assert ">text<" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_text_without_information_is_left_out_with_the_reason(remarks):
    """Labels that are independent of the text leave it out, so that it may be missing."""
    X, _ = remarks
    auto = AutoRegressor(**SMALL).fit(X, X["x"] ** 2)

    reason = "text that differs in almost every row and does not clearly help a network"
    assert auto.kinds_.texts == ()
    assert auto.kinds_.dropped == {"remark": reason}
    assert auto.predict(X[["x"]]).tolist() == auto.predict(X).tolist()


def test_a_table_of_text_alone_has_models(remarks):
    """As an array, too, in which columns have no names."""
    X, y = remarks
    texts = X[["remark"]]
    for data in (texts, texts.to_numpy()):
        auto = AutoClassifier(**SMALL).fit(data[:200], y[:200])

        assert auto.beats_baseline_
        assert roc_auc_score(y[200:], auto.predict_proba(data[200:])[:, 1]) > 0.9


def test_a_later_fit_keeps_the_decision(remarks, monkeypatch):
    """Trials of both fits read the same columns; other texts are other data."""
    X, y = remarks
    auto = AutoClassifier(warm_start=True, **SMALL).fit(X, y)
    n_before = auto.n_trials_
    monkeypatch.setattr(_texts, "_CLEAR", 1e9)

    auto.set_params(n_rounds=1).fit(X, y)

    assert auto.kinds_.texts == ("remark",)
    assert auto.n_trials_ > n_before
    with pytest.raises(ValueError, match="must have the same data"):
        auto.fit(X.assign(remark=X["remark"].to_numpy()[::-1]), y)


def test_text_is_left_out_without_time_for_the_folds(remarks):
    """Nothing is trained once the share of the budget is used up."""
    X, y = remarks
    rows = np.arange(300)
    problem = Problem(
        X=X.assign(remark=np.nan),
        y=y.astype(int),
        kind="table",
        is_classification=True,
        folds=[(rows[rows % 3 != k], rows[rows % 3 == k]) for k in range(3)],
        scoring="roc_auc",
        sample_weight=None,
        seed=0,
    )
    with_all = replace(problem, X=X, text_components=10)

    assert _texts.reason_against_texts(problem, with_all, Clock(None)) == ""
    reason = _texts.reason_against_texts(problem, with_all, Clock(1e-6))
    assert reason == "takes too long to encode for this budget"


def test_an_ensemble_that_reads_text_is_not_exported(remarks, tmp_path):
    """The error names the step, and another way to keep the model."""
    pytest.importorskip("onnx")
    auto = AutoClassifier(**SMALL).fit(*remarks)

    with pytest.raises(TypeError, match="TextComponents.*joblib"):
        auto.to_onnx(tmp_path / "model.onnx")
