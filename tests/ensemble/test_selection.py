"""What a search offers, choosing from it, and a score that the choice has not flattered."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import GridSearchCV as ScikitLearnsSearch
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_tune import GridSearchCV, HalvingGridSearchCV
from sk_tune.ensemble import (
    GreedyOptions,
    Library,
    Selector,
    read_library,
    with_temperature,
)
from sk_tune.ensemble._parts import fitted_temperature
from sk_tune.ensemble._selection import contribution_table
from sk_tune.ensemble._weights import SampleObjective

OPTIONS = {"is_classification": True, "needs_models": True, "random_state": 0}


def test_it_has_the_out_of_fold_predictions(search, iris):
    """Predictions, class numbers and folds are those of the search."""
    library = read_library(search, **OPTIONS)

    np.testing.assert_array_equal(library.predictions, search.oof_predictions_)
    np.testing.assert_array_equal(library.y, iris.y)
    np.testing.assert_array_equal(library.candidates, np.arange(6))
    for fold, (_, test) in enumerate(search.cv.split(*iris)):
        assert (library.part[test] == fold).all()


def test_some_samples_of_it_have_all_candidates(search):
    """Samples may be taken by a mask or by positions."""
    library = read_library(search, **OPTIONS)
    rows = library.part == 1

    for taken in (library.take(rows), library.take(np.flatnonzero(rows))):
        assert taken.predictions.shape == (6, rows.sum(), 3)
        np.testing.assert_array_equal(taken.y, library.y[rows])
        assert (taken.part == 1).all()


@pytest.mark.parametrize("is_classification", [True, False])
def test_a_fold_that_no_candidate_predicts_leaves_none(is_classification):
    """The samples of the other folds are not all that were held out."""
    X = np.arange(30.0)[:, None]
    y = np.arange(30) % 2
    refuse = FunctionTransformer(lambda X: np.log(X) if X.min() > 0 else X["none"])
    model = LogisticRegression() if is_classification else Ridge()
    folds = [(np.arange(15, 30), np.arange(15)), (np.arange(1, 15), np.arange(15, 30))]
    own = GridSearchCV(
        make_pipeline(refuse, model), {}, cv=folds, refit=False, keep_models="all"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own.fit(X, y)

    with pytest.raises(ValueError, match="predicts every held-out sample"):
        read_library(own, **{**OPTIONS, "is_classification": is_classification})


def test_candidates_without_kept_models_are_left_out(make_estimator, iris):
    """With two candidates kept, and no refit, there are two to choose from."""
    net = make_estimator("MLPClassifier")
    rates = {"learning_rate": [0.001, 0.01, 0.03]}
    own = GridSearchCV(net, rates, cv=3, keep_models=2).fit(*iris)

    kept = read_library(own, **OPTIONS)
    everything = read_library(own, **{**OPTIONS, "needs_models": False})

    assert set(kept.candidates) == set(own.models_)
    assert len(everything.candidates) == 3


def test_of_several_rungs_the_highest_counts(make_estimator, iris):
    """A candidate that was promoted is there once, from its last rung."""
    net = make_estimator("MLPClassifier")
    own = HalvingGridSearchCV(
        net,
        {"learning_rate": [0.001, 0.003, 0.01, 0.03]},
        resource="max_epochs",
        factor=2,
        max_resources=4,
        cv=KFold(3, shuffle=True, random_state=0),
        keep_models="all",
    ).fit(*iris)

    library = read_library(own, **OPTIONS)

    rates = [own.cv_results_["params"][c]["learning_rate"] for c in library.candidates]
    rungs = own.cv_results_["iter"][library.candidates]
    assert sorted(rates) == [0.001, 0.003, 0.01, 0.03]
    assert sorted(rungs) == [0, 0, 1, 2]


def test_overlapping_folds_give_random_parts(iris):
    """Samples that several folds hold out are parted at random; others are left out."""
    cv = ShuffleSplit(3, test_size=0.4, random_state=0)
    own = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=cv, keep_models="all")
    own.fit(iris.X / 10, iris.y)

    library = read_library(own, **OPTIONS)

    tested = np.zeros(150, dtype=bool)
    for _, test in cv.split(iris.X):
        tested[test] = True
    assert len(library.y) == tested.sum()
    assert np.bincount(library.part).min() >= len(library.y) // 5


def test_a_lone_output_is_no_axis(diabetes):
    """Targets in one column are targets."""
    own = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=3, keep_models="all")
    library = read_library(
        own.fit(diabetes.X, diabetes.y[:, None]), **{**OPTIONS, "is_classification": False}
    )

    assert library.predictions.shape == (2, 200)
    assert library.y.shape == (200,)
    assert library.classes is None


def test_what_is_no_fitted_search_is_refused(search, iris):
    """The message says what is asked for, and what to do about it."""
    theirs = ScikitLearnsSearch(LogisticRegression(), {"C": [1.0]}).fit(iris.X / 10, iris.y)
    for own in (theirs, clone(search)):
        with pytest.raises(ValueError, match="must be a search of sk_tune that has been"):
            read_library(own, **OPTIONS)
    forgetful = clone(search).set_params(keep_models="none").fit(*iris)
    with pytest.raises(ValueError, match="keep_models='all', or use refit=True"):
        read_library(forgetful, **OPTIONS)


def test_samples_of_weight_zero_choose_nothing(search):
    """They count as absent; equal and other weights leave all samples."""
    library = read_library(search, **OPTIONS)
    weight = np.linspace(0.5, 2, 150)
    assert library.where_weights({"sample_weight": weight}) is library
    assert library.where_weights({"sample_weight": None, "other": 1}) is library

    weight[10:20] = 0
    some = library.where_weights({"net__sample_weight": weight})

    np.testing.assert_array_equal(some.rows, np.r_[:10, 20:150])
    assert some.predictions.shape == (6, 140, 3)
    with pytest.raises(ValueError, match="must be positive for a sample"):
        library.where_weights({"sample_weight": np.zeros(150)})


GREEDY = GreedyOptions(max_rounds=20, n_start=5, min_gain=0.0, n_bags=3)


def make(library, **options):
    defaults = {
        "method": "greedy",
        "scoring": None,
        "greedy": GREEDY,
        "n_best": None,
        "calibrate": False,
        "random_state": 0,
    }
    return Selector(library, **{**defaults, **options})


every_method = pytest.mark.parametrize("method", ["greedy", "stack", "average"])


@every_method
def test_a_choice_of_independent_candidates_is_better_than_the_best(make_library, method):
    """Candidates that err independently average to less loss on other samples."""
    library = make_library(n_rows=600)
    inside = np.arange(600) < 300

    choice = make(library.take(inside), method=method).choose(library.take(inside))

    fresh = library.take(~inside)
    own = log_loss(fresh.y, choice.combine(fresh.predictions))
    alone = [log_loss(fresh.y, p) for p in fresh.predictions]
    assert own < min(alone)
    assert choice.weights.sum() == pytest.approx(1)
    assert (choice.weights >= 0).all()


@every_method
def test_no_sample_is_predicted_by_a_choice_that_saw_it(make_library, method):
    """Labels of a part do not change what is predicted for this part."""
    library = make_library()
    own = library.part == 2
    y = library.y.copy()
    y[own] = (y[own] + 1) % 3

    before = make(library, method=method, calibrate=True).select()
    after = make(replace(library, y=y), method=method, calibrate=True).select()

    np.testing.assert_array_equal(before.predictions[own], after.predictions[own])
    assert not np.array_equal(before.predictions[~own], after.predictions[~own])


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        (None, lambda y, p: -log_loss(y, p)),
        ("accuracy", lambda y, p: accuracy_score(y, p.argmax(axis=1))),
    ],
)
def test_the_score_is_that_of_the_held_out_predictions(make_library, scoring, expected):
    """The score is the metric of predictions by others' choices, with an interval."""
    library = make_library()
    found = make(library, scoring=scoring).select()

    assert found.score.score == pytest.approx(expected(library.y, found.predictions))
    assert found.score.low < found.score.score < found.score.high
    assert str(found.score).startswith(f"{found.score.score:.3f} [")


def test_the_score_of_a_regressor_may_be_r2(make_library):
    """What is chosen by squared error is reported as the R^2 that was asked for."""
    library = make_library(is_classification=False)
    found = make(library, scoring="r2").select()

    assert found.score.score == pytest.approx(r2_score(library.y, found.predictions))


def test_the_interval_holds_the_score_on_new_samples(make_library):
    """Of 95 % intervals at most a few of 40 miss the score on very many samples."""
    n_inside = 0
    for seed in range(40):
        library = make_library(n_rows=5200, seed=seed)
        known = library.take(np.arange(200))
        found = make(known).select()
        fresh = library.take(np.arange(200, 5200))
        true = -log_loss(fresh.y, found.choice.combine(fresh.predictions))
        n_inside += found.score.low <= true <= found.score.high

    # With a chance of 0.95 each, 33 or fewer of 40 have a probability below 0.001.
    assert n_inside > 33


@every_method
def test_candidates_without_information_score_at_chance(method):
    """Over repetitions the score of choices from 30 guessers is that of a guess."""
    scores, naive = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        y = rng.integers(2, size=200)
        first = rng.uniform(0.05, 0.95, size=(30, 200))
        predictions = np.stack([first, 1 - first], axis=2)
        library = Library(
            candidates=np.arange(30),
            predictions=predictions,
            y=y,
            part=np.arange(200) % 5,
            classes=np.array([0, 1]),
        )
        selector = make(library, method=method, scoring="accuracy")
        found = selector.select()
        scores.append(found.score.score)
        own = found.choice.combine(predictions).argmax(axis=1)
        naive.append(accuracy_score(y, own))

    # The standard error of 40 means of 200 samples is 0.0056.
    assert abs(np.mean(scores) - 0.5) < 0.02
    assert np.mean(naive) > 0.53


def test_only_the_best_may_be_chosen(make_library):
    """With two best of six, no other candidate gets a weight."""
    library = make_library(is_classification=False)
    choice = make(library, n_best=2).choose(library)

    # The noise of candidates grows with their place.
    assert set(np.flatnonzero(choice.weights)) <= {0, 1}


def test_an_average_is_of_equal_weights(make_library):
    """The method "average" gives the best candidates equal weights, the others none."""
    library = make_library(noise=3.0)
    weights = make(library, method="average").choose(library).weights

    members = weights[weights > 0]
    np.testing.assert_allclose(members, 1 / len(members))


def test_calibration_lowers_the_loss_of_overconfident_candidates(make_library):
    """Probabilities that are too sure get a temperature above 1 and a better score."""
    library = make_library(1, noise=2.5)
    sharp = library.predictions**3
    library = replace(library, predictions=sharp / sharp.sum(axis=2, keepdims=True))

    plain = make(library).select()
    scaled = make(library, calibrate=True).select()

    assert plain.choice.temperature == 1
    assert scaled.choice.temperature > 1
    assert scaled.score.score > plain.score.score


LOG = SampleObjective(kind="log_loss")
WEIGHTS = np.array([0.2, 0.0, 0.5, 0.3, 0.0, 0.0])


def test_there_is_a_sample_for_each_member(make_library):
    """The weightiest member comes first, by its sample of the search's table."""
    library = make_library()
    table = contribution_table(library, WEIGHTS, LOG)

    assert table.index.tolist() == [12, 13, 10]
    assert table["weight"].tolist() == [0.5, 0.3, 0.2]
    scores = [-log_loss(library.y, library.predictions[i]) for i in (2, 3, 0)]
    np.testing.assert_allclose(table["score"], scores)


def test_the_gain_is_what_the_ensemble_loses_without_a_member(make_library):
    """The score with all members less that of the others, with weights that sum to 1."""
    library = make_library()
    table = contribution_table(library, WEIGHTS, LOG)

    whole = np.tensordot(WEIGHTS, library.predictions, axes=1)
    without = WEIGHTS.copy()
    without[3] = 0
    without /= without.sum()
    rest = np.tensordot(without, library.predictions, axes=1)
    expected = log_loss(library.y, rest) - log_loss(library.y, whole)
    assert table.loc[13, "gain"] == pytest.approx(expected)
    assert table.loc[13, "gain_error"] > 0


def test_errors_that_are_the_same_have_correlation_one(make_library):
    """Copies err alike; independent candidates do not."""
    library = make_library(n_rows=5000, is_classification=False)
    predictions = library.predictions.copy()
    predictions[2] = predictions[0]
    copies = replace(library, predictions=predictions)
    squared = SampleObjective(kind="squared")
    two = np.array([0.4, 0, 0.6, 0, 0, 0])

    table = contribution_table(copies, two, squared)
    np.testing.assert_allclose(table["error_correlation"], 1)
    apart = contribution_table(library, two, squared)
    # The standard error of a correlation of 5000 samples is 0.014.
    np.testing.assert_allclose(apart["error_correlation"], 0, atol=0.06)


def test_a_lone_member_has_nothing_to_compare_with(make_library):
    """Correlation and gain of a lone member are NaN."""
    table = contribution_table(make_library(), np.eye(6)[4], LOG)

    assert len(table) == 1
    assert table[["error_correlation", "gain", "gain_error"]].isna().all(axis=None)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.3, 5))
def test_a_temperature_divides_logits(seed, temperature):
    """Scaled probabilities are the softmax of divided logits."""
    logits = np.random.default_rng(seed).normal(size=(20, 4))

    scaled = with_temperature(softmax(logits), temperature)

    np.testing.assert_allclose(scaled, softmax(logits / temperature), rtol=1e-6)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0])
def test_the_temperature_of_the_labels_is_found(true):
    """Labels drawn from divided logits give back the divisor."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(40_000, 3))
    drawn = softmax(logits / true).cumsum(axis=1) > rng.uniform(size=(40_000, 1))

    found = fitted_temperature(softmax(logits), drawn.argmax(axis=1))

    # Its relative standard error is about the root of 1 / N over a curvature near 0.3.
    assert found == pytest.approx(true, rel=0.05)


def test_probabilities_of_zero_stay_finite():
    """A class of probability 0 has no infinite logarithm."""
    scaled = with_temperature(np.array([[1.0, 0.0], [0.5, 0.5]]), 2.0)

    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled.sum(axis=1), 1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.3, 5))
def test_a_temperature_divides_the_logit_of_each_label(seed, temperature):
    """Labels of which a sample has several have a logit each."""
    logits = np.random.default_rng(seed).normal(size=(20, 4))

    scaled = with_temperature(expit(logits), temperature, is_multilabel=True)

    np.testing.assert_allclose(scaled, expit(logits / temperature), rtol=1e-6)


@pytest.mark.parametrize("true", [0.5, 2.0])
def test_the_temperature_of_several_labels_is_found(true):
    """Labels drawn one by one from divided logits give back the divisor."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 3))
    drawn = (rng.uniform(size=logits.shape) < expit(logits / true)).astype(float)

    assert fitted_temperature(expit(logits), drawn) == pytest.approx(true, rel=0.05)
    ends = with_temperature(np.array([[0.0, 1.0]]), 0.5, is_multilabel=True)
    assert np.isfinite(ends).all()
