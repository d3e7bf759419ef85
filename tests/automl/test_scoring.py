"""The metric for models, and its positive class."""

import numpy as np
import onnxruntime
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    fbeta_score,
    get_scorer,
    make_scorer,
    matthews_corrcoef,
    roc_auc_score,
)
from sklearn.model_selection import StratifiedKFold

from sk_tune import AutoClassifier, AutoRegressor
from sk_tune._automl._scoring import (
    are_counts,
    check_scores,
    positive_class,
    scoring_of,
    with_positive,
)
from sk_tune.exceptions import TableError, VerdictWarning

EVEN = np.repeat(["no", "yes"], 30)
RARE = np.repeat(["no", "yes"], [54, 6])
THREE = np.repeat(["a", "b", "c"], 20)
QUICK = {"time_budget": None, "n_rounds": 0, "models": ["linear"], "random_state": 0}
pytestmark = pytest.mark.usefixtures("few_linear")


def _folds(y, n_folds=3):
    return list(StratifiedKFold(n_folds).split(np.zeros(len(y)), y))


def _scoring(y, folds=None, **options):
    folds = _folds(y) if folds is None else folds
    n_classes = len(np.unique(y))
    return scoring_of(y, folds, **{"scoring": None, "n_classes": n_classes, **options})


@pytest.mark.parametrize(
    ("y", "name", "words"),
    [
        (EVEN, "roc_auc", "the default for two classes"),
        (RARE, "roc_auc", "10 % of the rows are 'yes', so accuracy hardly distinguishes"),
        (THREE, "neg_log_loss", "the default for more than two classes"),
    ],
)
def test_the_target_decides_the_default_metric(y, name, words):
    """ROC AUC for two classes, log loss for more; the reason is a sentence."""
    scoring = _scoring(y)

    assert scoring.name == name
    assert words in scoring.reason


def test_regression_is_scored_by_r2():
    """The default of scikit-learn's regressors."""
    scoring = scoring_of(np.arange(9.0), [], scoring=None, n_classes=None)

    assert scoring.name == "r2"
    assert scoring.reason == "Scored by R², the default for numbers."


def test_the_reason_names_counts_and_their_metric():
    """R^2 stays the default; the metric of counts trains by their loss."""
    counts = np.random.default_rng(0).poisson(1.5, 200).astype(float)
    folds = _folds(np.arange(200) % 2)
    by_name = {
        name: scoring_of(counts, folds, scoring=name, n_classes=None)
        for name in (None, "neg_mean_poisson_deviance")
    }

    assert by_name[None].name == "r2"
    assert "The target looks like counts: scoring='neg_mean_p" in by_name[None].reason
    assert "log link" in by_name["neg_mean_poisson_deviance"].reason


def test_the_reason_names_the_metric_of_relative_errors():
    """A lognormal target is positive and has a long tail, a normal one has not."""
    normal = np.random.default_rng(0).normal(size=200)
    reasons = [
        scoring_of(y, [], scoring=None, n_classes=None).reason
        for y in (np.exp(normal), normal)
    ]

    assert ["neg_mean_gamma_deviance" in reason for reason in reasons] == [True, False]


@pytest.mark.parametrize(
    "y",
    [
        [0.5, *range(40)],
        [-1, *range(40)],
        [*range(100, 140), 900],
        [1, 2, 3, 4, 5] * 9,
        [[0, 1]] * 9,
        [0, 0, 0, 1] * 9,
    ],
    ids=["halves", "negative", "numbers", "grades", "several", "labels"],
)
def test_other_numbers_are_not_counts(y):
    """Counts are skewed whole numbers of six or more values from 0 or 1 on."""
    assert not are_counts(np.array(y))


def test_a_deviance_scores_models_with_positive_predictions(tmp_path):
    """No fold of any model fails, and ONNX agrees."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = rng.poisson(np.exp(X[:, 0] - 1))
    auto = AutoRegressor(**QUICK, scoring="neg_mean_poisson_deviance").fit(X, y)

    assert (auto.predict(X) > 0).all()
    assert auto.leaderboard_["cv_score"].notna().all()
    assert auto.beats_baseline_
    auto.to_onnx(tmp_path / "auto.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "auto.onnx")
    (exported,) = session.run(None, {"X": X})
    np.testing.assert_allclose(exported[:, 0], auto.predict(X), rtol=1e-5)


@pytest.mark.parametrize(
    ("lacks", "name"), [("held", "neg_log_loss"), ("train", "accuracy")]
)
def test_folds_without_a_class_have_a_default_that_is_defined(lacks, name):
    """Log loss with the labels of all rows, or accuracy if models lack a class."""
    no, both = np.arange(20), np.arange(20, 60)
    folds = [(both, no)] if lacks == "held" else [(both, no), (no, both)]

    scoring = _scoring(EVEN, folds)

    assert scoring.name == name
    assert "lacks a class" in scoring.reason


@pytest.mark.parametrize(
    ("y", "positive", "expected"),
    [
        (["YES", "NO", "NO"], None, "YES"),
        (["YES", "YES", "NO"], None, "NO"),
        (["YES", "NO"], None, "YES"),
        ([0, 1, 1], None, 1),
        ([False, True, True], None, True),
        ([1, 2, 1], "2", 2),
        (["a", "b", "c"], None, None),
    ],
)
def test_the_positive_class_is_1_or_the_rarer_class(y, positive, expected):
    """As in scikit-learn's metrics if they define it; a text may name any class."""
    label = positive_class(np.array(y), positive)

    assert (label, type(label)) == (expected, type(expected))


@pytest.mark.parametrize("y", [["a", "b"], ["a", "b", "c"]])
def test_a_positive_class_must_be_one_of_two(y):
    """The message lists the classes."""
    with pytest.raises(
        ValueError, match=r"'positive' .* one of the two classes .*'a', 'b'"
    ):
        positive_class(np.array(y), "d" if len(y) == 2 else "a")


@pytest.mark.parametrize(
    ("function", "options", "is_defined"),
    [
        (matthews_corrcoef, {}, True),
        (roc_auc_score, {"multi_class": "ovr"}, False),
        (lambda y, predicted: f1_score(y, predicted, average="macro"), {}, True),
        # Undefined for constant predictions, but not for better ones.
        (lambda y, predicted: np.corrcoef(y, predicted)[0, 1], {}, True),
    ],
    ids=["matthews", "roc_auc", "f1", "correlation"],
)
def test_a_metric_must_be_defined_in_each_fold(function, options, is_defined):
    """A metric that no model can have in a fold would waste the time."""
    y = np.array([0, 1, 2] * 10 + [0, 1] * 5)
    folds = [(np.arange(30), np.arange(30, 40)), (np.arange(10, 40), np.arange(10))]
    methods = ("predict_proba",) if options else ("predict",)
    scorer = make_scorer(function, response_method=methods, **options)

    if is_defined:
        check_scores(y, folds, scorer, np.arange(3))
        return
    with pytest.raises(TableError, match=r"Fold 1 lacks \[2\], and scoring it fails"):
        check_scores(y, folds, scorer, np.arange(3))


@pytest.mark.parametrize(
    ("y", "name"),
    [(EVEN, "neg_mean_squared_error"), (np.arange(60) - 30.0, "neg_mean_gamma_deviance")],
)
def test_a_scorer_must_suit_the_target(y, name):
    """A scorer that is undefined for all models would waste the time."""
    folds = _folds(np.repeat([0, 1], 30))

    with pytest.raises(TableError, match="'scoring' parameter must suit .* Got 'neg_mean"):
        scoring_of(y, folds, scoring=name, n_classes=2 if y is EVEN else None)


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("f1", "'f1_macro' or 'f1_micro' or 'f1_weighted'"),
        ("roc_auc", "'roc_auc_ovo' or 'roc_auc_ovo_weighted' or 'roc_auc_ovr' or 'roc_a"),
    ],
)
def test_a_scorer_of_two_classes_has_variants_for_more(name, variants):
    """The message names those that are defined, so not 'f1_samples'."""
    with pytest.raises(TableError, match=rf"which fails: .*\. Use {variants}"):
        _scoring(THREE, scoring=name)


@pytest.mark.parametrize(
    "name", ["f1", "precision", "recall", "jaccard", "average_precision"]
)
def test_scorers_of_one_class_use_the_positive_class(name):
    """Also for text labels, which scikit-learn's scorers by name refuse."""
    X, y = np.linspace(-1, 1, 60)[:, np.newaxis], np.repeat(["no", "yes"], [40, 20])
    y[[10, 50]] = y[[50, 10]]
    options, codes = {**QUICK, "cv": 2, "scoring": name}, 1 * (y == "yes")

    auto, numbers = (AutoClassifier(**options).fit(X, target) for target in (y, codes))

    assert auto.positive_ == "yes"
    assert auto.score(X, y) == pytest.approx(numbers.score(X, codes))
    assert auto.model_scores_["linear"].score == pytest.approx(
        numbers.model_scores_["linear"].score
    )


def test_other_scorers_are_unchanged():
    """These are means over classes, and scorers with a label given by the user."""
    explicit = make_scorer(fbeta_score, beta=2, pos_label="no")

    assert with_positive("f1_macro", "yes") == "f1_macro"
    assert with_positive("roc_auc", "yes") == "roc_auc"
    assert with_positive("f1", 1) == "f1"
    assert with_positive(explicit, "yes") is explicit


def test_a_score_of_the_other_class_can_be_requested():
    """`positive` is the class of the average precision."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 2)), np.tile(["no", "no", "yes"], 30)
    X[y == "yes", 0] += 1
    auto = AutoClassifier(**QUICK, cv=2, scoring="average_precision", positive="no")

    auto.fit(X, y)

    p = auto.predict_proba(X)[:, 0]
    assert auto.score(X, y) == pytest.approx(average_precision_score(y == "no", p))
    assert "average precision of the class 'no' (67 % of the rows)" in auto.scoring_reason_


def test_an_informative_column_helps_although_accuracy_does_not_rise():
    """Accuracy cannot beat the majority class here; log loss and ROC AUC can."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(2000, 6))
    y = (rng.random(2000) < 1 / (1 + np.exp(-(X[:, 0] - 2.6)))).astype(int)

    default, accuracy = (
        AutoClassifier(**QUICK, scoring=name).fit(X, y) for name in (None, "accuracy")
    )

    assert default.scoring_ == "roc_auc"
    assert default.model_scores_["ensemble"].score > 0.7
    assert default.beats_baseline_
    assert accuracy.beats_baseline_
    assert "always predicts 0. By log loss it clearly beats" in accuracy.summary_
    assert "so the columns are informative" in accuracy.summary_
    assert "SKT301" in {finding.code for finding in accuracy.findings_}


@pytest.mark.parametrize("scoring", [None, "accuracy", "f1", "balanced_accuracy"])
def test_columns_do_not_help_with_random_labels_by_any_metric(scoring):
    """With 15 % positive random labels, log loss shows that the columns do not help."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(300, 5)), (rng.random(300) < 0.15).astype(int)

    with pytest.warns(
        VerdictWarning, match="No model clearly beats predicting the class shares"
    ):
        auto = AutoClassifier(**QUICK, scoring=scoring, threshold=0.2).fit(X, y)

    assert not auto.beats_baseline_
    assert "on 300 rows" in auto.summary_


def test_predicting_medians_does_not_show_that_columns_help():
    """By absolute error a constant median beats the mean; by squared error it does not."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), rng.lognormal(sigma=1.5, size=300)
    options = {**QUICK, "models": ["linear", "boosting"]}

    with pytest.warns(VerdictWarning, match="No model clearly beats predicting the mean"):
        auto = AutoRegressor(**options, scoring="neg_mean_absolute_error").fit(X, y)

    assert not auto.beats_baseline_


def test_score_is_that_of_the_scorer():
    """For each scorer by name that scikit-learn defines for labels 0 and 1."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    y = (X[:, 0] + rng.normal(size=120) > -0.5).astype(int)
    auto = AutoClassifier(**QUICK, cv=2, scoring="f1").fit(X, y)

    assert auto.score(X, y) == get_scorer("f1")(auto, X, y) == f1_score(y, auto.predict(X))
