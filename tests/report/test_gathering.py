"""The record of a report of a search, and its conclusion in words."""

import math

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupShuffleSplit,
    KFold,
    ShuffleSplit,
    cross_val_score,
)

import sk_tune
from sk_tune._diagnosis import Finding
from sk_tune._report import Baseline, _comparison, _gathering, next_step, search_part
from sk_tune._report._gathering import gather
from sk_tune._scores import ScoreEstimate

EXPECTED = ScoreEstimate(
    score=0.8, low=0.7, high=0.9, confidence=0.95, method="bootstrap", naive_score=0.85
)


def test_a_report_has_the_results_of_the_search(grid, iris):
    """Best candidate, expected score, curves, findings, ledger, and baselines."""
    report = gather(grid, *iris)
    (part,) = report.searches

    assert report.title == "GridSearchCV over StandardScaler → MLPClassifier"
    assert part.best.result_row == grid.best_index_
    assert part.best.score == grid.best_score_
    assert report.expected.score == grid.expected_score_.score
    assert part.best_epoch == part.curves.n_epochs == 2
    assert part.findings
    assert part.ledger is grid.ledger_
    assert part.resource is None
    assert [baseline.name for baseline in report.baselines] == ["dummy", "linear"]


def test_rows_match_the_results(grid):
    """Scores, folds, ranks, parameters and reasons are unchanged."""
    results = grid.cv_results_
    rows = search_part(grid).candidates

    np.testing.assert_array_equal([r.score for r in rows], results["mean_test_score"])
    np.testing.assert_array_equal([r.std for r in rows], results["std_test_score"])
    folds = np.array([r.fold_scores for r in rows])
    for k in range(3):
        np.testing.assert_array_equal(folds[:, k], results[f"split{k}_test_score"])
    assert [r.params for r in rows] == results["params"]
    failed = [r for r in rows if r.params["net__learning_rate"] < 0]
    assert len(failed) == 2
    assert all(r.rank is None and "learning_rate" in r.reason for r in failed)


def test_the_metric_of_the_refit_decides(linear, iris):
    """Other metrics are included; without a refit the first metric decides."""
    part = search_part(linear)
    several = clone(linear).set_params(refit=False).fit(*iris)

    scores = [row.score for row in part.candidates]
    np.testing.assert_array_equal(scores, linear.cv_results_["mean_test_loss"])
    assert list(part.candidates[0].others) == ["acc"]
    assert part.best.result_row == linear.best_index_
    assert not hasattr(several, "best_index_")
    first = several.cv_results_["mean_test_acc"]
    assert search_part(several).best.result_row == np.argmax(first)
    several.cv_results_["mean_test_acc"] = np.full_like(first, np.nan)
    assert search_part(several).best is None


def test_candidates_of_several_rungs_count_once(hyperband):
    """As in the ledger; the resource may come from the estimator."""
    part = search_part(hyperband)

    assert part.n_configurations == hyperband.ledger_.n_candidates < len(part.candidates)
    assert {row.n_resources for row in part.candidates} == {1, 3, 9}
    assert part.resource == "net__max_epochs"
    assert part.curves.n_epochs == 9


def test_the_best_epoch_is_the_chosen_epoch(make_estimator, iris):
    """With select_epoch="best", the mean curve over the folds is best there."""
    net = make_estimator("MLPClassifier", max_epochs=6, learning_rate=0.3)
    search = sk_tune.GridSearchCV(net, {"width": [4]}, cv=3, select_epoch="best").fit(*iris)

    part = search_part(search)

    mean = part.curves.valid_score.mean(axis=0)
    assert part.best_epoch == search.best_epochs_[0] == 1 + np.argmax(mean)


@pytest.mark.parametrize(
    "folds",
    [ShuffleSplit(3, random_state=0), GroupShuffleSplit(3, random_state=0)],
    ids=["generator", "groups"],
)
def test_baselines_have_the_folds_of_the_search(make_estimator, iris, folds):
    """Also of a generator that is read only once, and of groups passed to fit only."""
    X, y = iris
    groups = np.arange(len(y)) % 10
    cv = folds
    if isinstance(folds, ShuffleSplit):
        cv, groups = iter([*folds.split(X, y)]), None
    net = make_estimator("MLPClassifier", max_epochs=2)
    search = sk_tune.GridSearchCV(net, {"width": [4]}, cv=cv).fit(X, y, groups=groups)

    dummy, _ = gather(search, X, y).baselines

    own = cross_val_score(DummyClassifier(), X, y, cv=folds, groups=groups)
    assert dummy.mean == own.mean()


def test_other_data_than_those_of_the_search_are_refused(grid, iris):
    """Baselines and importances of other rows would not concern the search."""
    X, y = iris

    pages = [gather(grid, *data) for data in ((X[:50], y[:50]), (X[::-1], y[::-1]))]

    for page, words in zip(pages, ("X has 50 rows", "y differs"), strict=True):
        assert any(words in note for note in page.notes)
        assert [b.name for b in page.baselines] == ["dummy"]
        assert page.effects is None


def test_sequences_of_unequal_lengths_have_a_report(make_estimator):
    """Their columns have no importance; their fingerprint is that of the padded array."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(4 + k % 3, 2)) for k in range(30)]
    net = make_estimator("RNNClassifier", input_shape=None)
    options = {"cv": 2, "keep_models": "best"}
    search = sk_tune.GridSearchCV(net, {}, **options).fit(X, np.arange(30) % 2)

    page = gather(search, X)

    assert page.effects is None
    assert page.reproduction.data["X"].startswith("shape (30, 6, 2), float64")


def test_early_stopping_has_no_common_epoch(make_estimator, iris):
    """Each fold uses its own best epoch, which the held-out rows do not choose."""
    net = make_estimator("MLPClassifier", max_epochs=30, early_stopping=True)
    search = sk_tune.GridSearchCV(net, {"width": [4]}, cv=3).fit(*iris)

    page = gather(search)

    (part,) = page.searches
    (epoch,) = (check for check in page.checks if check.name == "Choice of the epoch")
    assert part.best_epoch is None
    assert epoch.outcome == "passed"
    assert "best epoch by early stopping" in epoch.message
    assert {f.name: f.outcome for f in part.findings}["converged long ago"] == (
        "not applicable"
    )


def test_other_models_have_no_curves_and_no_findings(linear, iris):
    """The rest of the report exists, also for a search of scikit-learn."""
    model = LogisticRegression(max_iter=500)
    plain = GridSearchCV(model, {"C": [0.1, 1]}, cv=3).fit(*iris)

    reports = [gather(search, *iris) for search in (linear, plain)]

    for report in reports:
        (part,) = report.searches
        assert part.curves is part.best_epoch is None
        assert part.findings == []
        assert len(report.baselines) == 2
    assert reports[0].expected is not None
    assert part.ledger is reports[1].expected is None
    assert "is not corrected" in reports[1].notes[1]
    assert reports[0].model[0] == "LogisticRegression"
    assert reports[0].next_step is None
    assert part.best.score == plain.best_score_


def test_pooled_scores_are_not_compared_with_means_over_folds():
    """Pooled R² may be high if R² within each fold is below 0."""
    rng = np.random.default_rng(0)
    level = np.repeat([0.0, 10, 20, 30], 30)
    X = np.column_stack([level, rng.normal(size=120)])
    y = level + rng.normal(size=120)
    model, space = Ridge(), {"alpha": [0.1, 1]}
    by_level = [
        (np.flatnonzero(level != at), np.flatnonzero(level == at)) for at in (0, 10, 20, 30)
    ]
    folds = {"by level": by_level, "drawn": KFold(4, shuffle=True, random_state=0)}

    found = {
        name: gather(sk_tune.GridSearchCV(model, space, cv=cv).fit(X, y), X, y)
        for name, cv in folds.items()
    }

    assert len(found["drawn"].notes) == 1
    assert "mean over the folds" not in found["drawn"].summary
    assert "do not compare the two kinds" in found["by level"].notes[1]
    assert found["by level"].expected.low > 0.98  # Not comparable with baselines.
    assert "The mean over the folds, -" in found["by level"].summary
    assert (
        "not clearly different from the score of the linear model"
        in found["by level"].summary
    )


def comparison(*args, **options):
    """Return the text of a summary, with its advice."""
    against = _comparison.comparison(*args, **options)
    return f"{against.text} {against.advice}".rstrip()


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (
            0.69,
            "The expected score is clearly higher than the score of the linear model",
        ),
        (
            0.71,
            "not clearly different from the score of the linear model (0.71). Prefer the",
        ),
        (0.91, "lower than the score of the linear model (0.91). Prefer the linear model."),
    ],
)
def test_a_baseline_is_beaten_below_the_interval(make_row, score, words):
    """Inside or above the interval, the simpler model is preferred."""
    baselines = [
        Baseline(name="dummy", mean=0.5, std=0),
        Baseline(name="linear", mean=score, std=0),
    ]

    text = comparison(make_row(3, 0.85), EXPECTED, baselines, n_candidates=9)

    assert words in text
    assert "dummy" not in text


@pytest.mark.parametrize("is_worse", [True, False])
def test_a_network_behind_the_linear_model_gives_way(monkeypatch, grid, is_worse):
    """Its own remedy comes second, but first if the difference is not clear."""
    over = Finding(
        name="overfitting",
        code="SKT101",
        outcome="issue",
        severity="high",
        message="The loss rose.",
        remedy="Add dropout.",
    )
    monkeypatch.setattr(_gathering, "findings_of", lambda *_, **__: [over])
    against = _comparison.Comparison("It is lower.", "Prefer the linear model.", is_worse)
    monkeypatch.setattr(_gathering, "comparison", lambda *_, **__: against)

    step = gather(grid).next_step

    expected = "Prefer the linear model. To improve the network: Add dropout."
    assert step.remedy == (expected if is_worse else "Add dropout.")


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_good_fit_with_a_better_linear_model_has_a_next_step(monkeypatch, slope):
    """The linear model, if it is not clearly worse."""
    x = np.linspace(-3, 3, 200)
    X = np.random.default_rng(0).permutation(np.stack([x, x**2], axis=1))
    y = slope * X[:, 0] + (1 - slope) * np.sin(2 * X[:, 0])
    net = sk_tune.MLPRegressor(max_epochs=20, random_state=0)
    search = sk_tune.GridSearchCV(net, {"width": [64]}, cv=3).fit(X, y)
    monkeypatch.setattr(sk_tune._report._comparison, "next_step", lambda *_: None)

    page = gather(search, X, y)

    step = page.next_step.remedy if page.next_step else ""
    assert step.startswith("Prefer the ") == (slope == 1.0)
    assert page.summary.endswith(step)


def test_the_better_baseline_must_be_beaten(make_row):
    """Also if it is the dummy; baselines without a score are left out."""
    baselines = [
        Baseline(name="dummy", mean=0.75, std=0),
        Baseline(name="linear", mean=math.nan, std=math.nan),
    ]

    text = comparison(make_row(0, 0.85), EXPECTED, baselines, n_candidates=1)

    assert "ignores all columns (0.75). The candidates show no gain" in text


def test_without_a_correction_the_spread_over_folds_decides(make_row):
    """One standard deviation around the mean; no conclusion without a score."""
    row = make_row(0, -3.0, std=0.5)
    dummy = Baseline(name="dummy", mean=-4, std=0)

    text = comparison(row, None, [dummy], n_candidates=2)

    assert text.startswith("The mean over the folds, -3 ± 0.5, is more than this")
    assert comparison(row, None, [], n_candidates=2) == ""
    for n, start in ((1, "No candidate has"), (3, "None of 3 candidates has")):
        assert comparison(None, None, [], n_candidates=n).startswith(start)


def test_the_model_has_its_kind_and_size(grid):
    """Weights and biases of two hidden layers between 4 features and 3 classes."""
    kind, place = gather(grid).model

    width = grid.best_params_["net__width"]
    size = (4 + 1) * width + (width + 1) * width + (width + 1) * 3
    assert kind == f"MLPClassifier, {size} parameters"
    row = grid.best_index_
    assert (
        place
        == f"The best of 6 candidates, row {row} of cv_results_; refitted on all rows."
    )


def test_the_next_step_is_the_remedy_of_the_first_leak_or_finding():
    """Tips of low severity and findings without a remedy are not urgent."""

    def make(name, outcome, severity, remedy):
        fields = {"code": "", "message": "", "remedy": remedy}
        return Finding(name=name, outcome=outcome, severity=severity, **fields)

    leak = make("scaled over all rows", "issue", "high", "Scale in the folds.")
    over = make("overfitting", "issue", "high", "Use dropout.")
    low = make("still improving", "tip", "low", "Train longer.")
    good = make("good fit", "passed", None, "")

    assert next_step([leak], [over, low]) is leak
    assert next_step([good], [low, over]) is over
    assert next_step([], [low, good]) is None
    assert next_step([], []) is None
