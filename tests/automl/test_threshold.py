"""Thresholds for two classes: fixed, or tuned on out-of-fold predictions."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import AutoClassifier, MLPClassifier
from sk_tune._automl._summary import threshold_text
from sk_tune._automl._threshold import Threshold, ThresholdChoice
from sk_tune._scores import scorer_metric

QUICK = {"time_budget": None, "n_rounds": 0, "models": ["linear"], "random_state": 0}
pytestmark = pytest.mark.usefixtures("few_linear")


@pytest.fixture(scope="module")
def rare():
    """Return rows with one seventh "yes", partly explained by one column."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 3))
    return X, np.where(rng.random(800) < 1 / (1 + np.exp(2.5 - 1.5 * X[:, 0])), "yes", "no")


@pytest.mark.parametrize("column", [0, 1])
def test_a_threshold_decides_for_the_positive_class(column):
    """If the probability in the column of the class is at least its value."""
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])

    labels = Threshold(value=0.3, column=column).labels(p, np.array(["a", "b"]))

    expected = p[:, column] >= 0.3
    assert (labels == np.array(["a", "b"])[column]).tolist() == expected.tolist()


@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy", "matthews_corrcoef"])
def test_the_best_threshold_is_found(metric):
    """No threshold between any two predictions has a better score."""
    rng = np.random.default_rng(0)
    y = (rng.random(60) < 0.2).astype(int)
    p = np.clip(0.2 * y + rng.normal(0.3, 0.1, 60), 0, 1)
    checked = scorer_metric(metric)
    choice = ThresholdChoice(metric=checked)

    threshold = choice.best(np.stack([1 - p, p], axis=1), y, np.array([0, 1]))

    scores = [checked(y, (p >= value).astype(int)) for value in np.append(p, 1.1)]
    # A metric that is called has only 25 candidates.
    slack = 0.05 if metric == "matthews_corrcoef" else 1e-12
    assert checked(y, (p >= threshold.value).astype(int)) >= max(scores) - slack


def test_a_tuned_threshold_raises_the_score_on_new_rows(rare):
    """It is chosen on out-of-fold predictions; the expected score includes its effect."""
    X, y = rare
    options = {**QUICK, "scoring": "balanced_accuracy"}
    half = AutoClassifier(**options).fit(X[:400], y[:400])

    tuned = AutoClassifier(**options, threshold="balanced_accuracy").fit(X[:400], y[:400])

    assert tuned.threshold_ < 0.3
    new = balanced_accuracy_score(y[400:], tuned.predict(X[400:]))
    assert new > half.score(X[400:], y[400:]) + 0.1
    assert new == tuned.score(X[400:], y[400:])
    expected = tuned.expected_score_
    assert expected.low < new < expected.high
    assert tuned._quality.counts.sum(axis=0)[1] > half._quality.counts.sum(axis=0)[1]


def test_a_class_that_is_hardly_found_is_named(rare):
    """With the threshold that would find it; with a lower one, there is nothing to say."""
    X, y = rare
    rarer = np.where((y == "yes") & (np.arange(len(y)) % 3 > 0), "no", y)

    auto = AutoClassifier(**QUICK, cv=2).fit(X, rarer)

    n_found, n = auto._quality.counts[1, 1], (rarer == "yes").sum()
    assert n_found < 0.25 * n
    text = threshold_text(auto)
    assert text.startswith(f"Only {n_found} of {n} held-out rows of class 'yes' are found")
    assert "threshold='balanced_accuracy'" in text
    assert "Only" not in threshold_text(auto.set_params(threshold=0.2))


def test_a_number_can_be_set_on_a_fitted_estimator(rare):
    """It changes labels, not probabilities."""
    X, y = rare
    auto = AutoClassifier(**QUICK, cv=2).fit(X, y)
    probabilities = auto.predict_proba(X)

    auto.set_params(threshold=0.1)

    assert auto.threshold_ == 0.1
    assert ((auto.predict(X) == "yes") == (probabilities[:, 1] >= 0.1)).all()
    np.testing.assert_array_equal(auto.predict_proba(X), probabilities)


def test_a_tuned_threshold_does_not_help_on_noise():
    """On random labels, the score with a tuned threshold is at chance."""
    rng = np.random.default_rng(0)
    scores = []
    for seed in range(4):
        X, y = rng.normal(size=(200, 4)), rng.integers(0, 2, 200)
        options = {**QUICK, "scoring": "balanced_accuracy", "random_state": seed}
        with pytest.warns(match="No model clearly beats"):
            auto = AutoClassifier(**options, threshold="balanced_accuracy").fit(X, y)
        scores.append(auto.expected_score_.score)

    # Three standard errors of the mean of four scores of 200 rows.
    assert np.mean(scores) < 0.5 + 3 * 0.5 / np.sqrt(800)


@pytest.mark.parametrize(
    ("threshold", "y", "message"),
    [
        ("roc_auc", [0, 1], "which scores probabilities"),
        ("f2", [0, 1], "'threshold' .* name of a scorer"),
        (1.5, [0, 1], "threshold"),
        ("f1_macro", [0, 1, 2], "must be 0.5 for more than two classes"),
    ],
)
def test_thresholds_are_checked(threshold, y, message):
    """The message has the requirement and the value."""
    X, y = np.zeros((30, 1)), np.tile(y, 30)[:30]

    with pytest.raises(ValueError, match=message):
        AutoClassifier(**QUICK, threshold=threshold).fit(X, y)


@pytest.mark.parametrize("kind", ["network", "pipeline", "prefit"])
def test_thresholds_can_be_tuned_by_scikit_learn(rare, kind):
    """For a network, a pipeline, and a fitted AutoClassifier."""
    X, y = rare
    net = MLPClassifier(
        width=8, n_layers=1, max_epochs=15, learning_rate=0.01, random_state=0
    )
    estimator, options = net, {"cv": 2}
    if kind == "pipeline":
        estimator = make_pipeline(StandardScaler(), net)
    if kind == "prefit":
        estimator = AutoClassifier(**QUICK, cv=2).fit(X[:400], y[:400])
        options = {"cv": "prefit", "refit": False}

    tuned = TunedThresholdClassifierCV(estimator, **options).fit(X[400:], y[400:])

    assert 0 < tuned.best_threshold_ < 0.5
    labels = tuned.predict(X[:400])
    untuned = tuned.estimator_.predict(X[:400])
    assert f1_score(y[:400], labels, pos_label="yes") > f1_score(
        y[:400], untuned, pos_label="yes"
    )


def test_importance_uses_the_tuned_threshold(rare):
    """At the threshold 0.5, hardly any row would be positive, whatever the columns are."""
    X, y = rare
    options = {**QUICK, "scoring": "f1", "threshold": "f1"}

    auto = AutoClassifier(**options).fit(X[:400], y[:400])

    assert auto.threshold_ < 0.5
    assert auto.column_importance_["importance"].max() > 0.15


def test_a_threshold_set_after_fit_is_exported(rare, tmp_path):
    """The graph gives the same labels as ``predict``."""
    pytest.importorskip("onnx")
    X, y = rare
    auto = AutoClassifier(**QUICK).fit(X[:200], y[:200])

    about = auto.set_params(threshold=0.125).to_onnx(tmp_path / "auto.onnx")

    assert about["threshold"] == {"class": "yes", "value": 0.125}


def test_a_threshold_needs_two_classes_in_all_rows():
    """A third class whose rows are all set aside counts as well."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(61, 1))
    y = np.where(X[:, 0] + 0.5 * rng.normal(size=61) > 0, "b", "c")
    y[7] = "a"
    auto = AutoClassifier(**QUICK).set_params(test_size=0.3, random_state=2)

    with pytest.raises(ValueError, match=r"must be 0.5 .* Got 0.3 for 3"):
        auto.set_params(threshold=0.3).fit(X, y)
    auto.set_params(threshold=0.5).fit(X, y)

    assert auto.positive_ is None
    assert auto.scoring_ == "neg_log_loss"
    assert np.isfinite(auto.score(X, y))


def test_the_dummy_decides_by_the_threshold_as_well(rare):
    """With the threshold 0, it predicts the positive class for all rows, also set aside."""
    X, y = rare
    auto = AutoClassifier(**QUICK, scoring="f1", threshold=0.0, test_size=0.25)

    dummy = auto.fit(X[:400], y[:400]).model_scores_["dummy"]

    share = (y[:400] == "yes").mean()
    assert dummy.score == pytest.approx(2 * share / (1 + share), abs=0.02)
    assert dummy.held_out == pytest.approx(2 * share / (1 + share), abs=0.02)
