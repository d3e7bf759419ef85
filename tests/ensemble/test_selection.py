"""From a fitted search to weights of its candidates and an honest score."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, roc_auc_score
from sklearn.model_selection import GridSearchCV as ScikitLearnsSearch
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_tune import GridSearchCV, HalvingGridSearchCV
from sk_tune._ensemble import (
    GreedyOptions,
    Library,
    Selector,
    read_library,
    with_temperature,
)
from sk_tune._ensemble._parts import fitted_temperature
from sk_tune._ensemble._selection import CandidateWeights, contribution_table
from sk_tune._ensemble._weights import (
    MetricObjective,
    SampleObjective,
    greedy_weights,
    make_objective,
)

OPTIONS = {"is_classification": True, "needs_models": True, "random_state": 0}


def test_it_has_the_out_of_fold_predictions(search, iris):
    """Predictions, class numbers and folds equal the search's."""
    library = read_library(search, **OPTIONS)

    np.testing.assert_array_equal(library.predictions, search.oof_predictions_)
    np.testing.assert_array_equal(library.y, iris.y)
    np.testing.assert_array_equal(library.candidates, np.arange(6))
    for fold, (_, test) in enumerate(search.cv.split(*iris)):
        assert (library.part[test] == fold).all()


@pytest.mark.parametrize("is_classification", [True, False])
def test_a_fold_that_no_candidate_predicts_leaves_none(is_classification):
    """The samples of the remaining folds are not all held-out samples."""
    X = np.arange(30.0)[:, None]
    y = np.arange(30) % 2
    refuse = FunctionTransformer(lambda X: np.log(X) if X.min() > 0 else X["none"])
    model = LogisticRegression() if is_classification else Ridge()
    folds = [(np.arange(15, 30), np.arange(15)), (np.arange(1, 15), np.arange(15, 30))]
    pipe = make_pipeline(refuse, model)
    own = GridSearchCV(pipe, {}, cv=folds, refit=False, keep_models="all")
    with warnings.catch_warnings(action="ignore"):
        own.fit(X, y)

    with pytest.raises(ValueError, match="with predictions of all held-out samples"):
        read_library(own, **{**OPTIONS, "is_classification": is_classification})


def test_models_that_failed_are_not_called_models_that_were_not_kept(iris):
    """All models were kept; on one fold, there is none."""
    folds = list(KFold(3, shuffle=True, random_state=0).split(*iris))
    folds[2] = (np.flatnonzero(iris.y == 0), folds[2][1])
    own = GridSearchCV(LogisticRegression(), {}, cv=folds, refit=False, keep_models="all")
    with warnings.catch_warnings(action="ignore"):
        own.fit(*iris)

    with pytest.raises(ValueError, match="has none: fits failed"):
        read_library(own, **OPTIONS)


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
    """A promoted candidate counts once, from its last rung."""
    net = make_estimator("MLPClassifier")
    grid = {"learning_rate": [0.001, 0.003, 0.01, 0.03]}
    rungs = {"resource": "max_epochs", "factor": 2, "max_resources": 4}
    options = {"cv": KFold(3, shuffle=True, random_state=0), "keep_models": "all"}
    own = HalvingGridSearchCV(net, grid, **rungs, **options).fit(*iris)

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


@pytest.mark.parametrize("n_groups", [1, 3, 30])
def test_random_parts_consist_of_whole_groups(n_groups, iris):
    """Weights are scored on groups on which they were not chosen; one group is divided."""
    folds = [(np.arange(150), np.arange(150))] * 2
    own = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=folds, keep_models="all")
    groups = np.array([f"group {k % n_groups}" for k in range(150)])
    own.fit(iris.X / 10, iris.y, groups=groups)

    part = read_library(own, **OPTIONS).part

    n_parts = [len(np.unique(part[groups == group])) for group in np.unique(groups)]
    assert n_parts == ([5] if n_groups == 1 else [1] * n_groups)
    assert len(np.unique(part)) == min(5, n_groups if n_groups > 1 else 150)


def test_a_single_output_has_no_axis(diabetes):
    """Targets in one column are targets."""
    own = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=3, keep_models="all")
    library = read_library(
        own.fit(diabetes.X, diabetes.y[:, None]), **{**OPTIONS, "is_classification": False}
    )

    assert library.predictions.shape == (2, 200)
    assert library.y.shape == (200,)
    assert library.classes is None


def test_only_a_fitted_search_is_accepted(search, iris):
    """The message gives the requirement and the remedy."""
    theirs = ScikitLearnsSearch(LogisticRegression(), {"C": [1.0]}).fit(iris.X / 10, iris.y)
    for own in (theirs, clone(search)):
        with pytest.raises(ValueError, match="must be a fitted search of sk_tune"):
            read_library(own, **OPTIONS)
    forgetful = clone(search).set_params(keep_models=None).fit(*iris)
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
    with pytest.raises(ValueError, match="must be positive for at least one held-out"):
        library.where_weights({"sample_weight": np.zeros(150)})


GREEDY = GreedyOptions(max_rounds=20, n_bags=3)


def make(library, **options):
    defaults = {"method": GREEDY, "scoring": None, "calibrate": False}
    return Selector(library=library, **{**defaults, "random_state": 0, **options})


every_method = pytest.mark.parametrize("method", [GREEDY, "average"])


@every_method
def test_a_choice_of_independent_candidates_is_better_than_the_best(make_library, method):
    """Candidates that err independently average to less loss on other samples."""
    library = make_library(n_rows=600)
    inside = np.arange(600) < 300

    choice = make(library.take(inside), method=method).choose(library.take(inside))

    fresh = library.take(~inside)
    own = log_loss(fresh.y, choice.combine(fresh.predictions))
    assert own < min(log_loss(fresh.y, p) for p in fresh.predictions)
    assert choice.weights.sum() == pytest.approx(1)
    assert (choice.weights >= 0).all()


@every_method
def test_no_sample_is_predicted_by_a_choice_that_saw_it(make_library, method):
    """Labels of a part do not change the predictions for this part."""
    library = make_library()
    own = library.part == 2
    y = library.y.copy()
    y[own] = (y[own] + 1) % 3

    before, after = (
        make(one, method=method, calibrate=True).select()[-1]
        for one in (library, replace(library, y=y))
    )

    np.testing.assert_array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])


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
    _, found, _, predictions = make(library, scoring=scoring).select()

    assert found.score == pytest.approx(expected(library.y, predictions))
    assert found.low < found.score < found.high
    assert str(found).startswith(f"{found.score:.3f} [")


def test_the_interval_holds_the_score_on_new_samples(make_library):
    """Of 95 % intervals at most a few of 20 miss the score on very many samples."""
    n_inside = 0
    for seed in range(20):
        library = make_library(n_rows=5200, seed=seed)
        known = library.take(np.arange(200))
        choice, found, *_ = make(known).select()
        fresh = library.take(np.arange(200, 5200))
        true = -log_loss(fresh.y, choice.combine(fresh.predictions))
        n_inside += found.low <= true <= found.high

    # With a chance of 0.95 each, 15 or fewer of 20 have a probability below 0.003.
    assert n_inside > 15


@every_method
def test_candidates_without_information_score_at_chance(method):
    """Over repetitions, choosing among 10 guessers scores like guessing."""
    scores, naive = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = rng.integers(2, size=200)
        first = rng.uniform(0.05, 0.95, size=(10, 200))
        predictions = np.stack([first, 1 - first], axis=2)
        own = {"candidates": np.arange(10), "predictions": predictions, "y": y}
        library = Library(**own, part=np.arange(200) % 5, classes=np.array([0, 1]))
        choice, found, *_ = make(library, method=method, scoring="accuracy").select()
        scores.append(found.score)
        naive.append(accuracy_score(y, choice.combine(predictions).argmax(axis=1)))

    # The standard error of 12 means of 200 samples is 0.01.
    assert abs(np.mean(scores) - 0.5) < 0.03
    assert np.mean(naive) > 0.53


def test_calibration_lowers_the_loss_of_overconfident_candidates(make_library):
    """Probabilities that are too sure get a temperature above 1 and a better score."""
    library = make_library(1, noise=2.5)
    sharp = library.predictions**3
    library = replace(library, predictions=sharp / sharp.sum(axis=2, keepdims=True))

    plain, score, *_ = make(library).select()
    scaled, better, *_ = make(library, calibrate=True).select()

    assert plain.temperature == 1
    assert scaled.temperature > 1
    assert better.score > score.score


LOG = SampleObjective(kind="log_loss")
WEIGHTS = np.array([0.2, 0.0, 0.5, 0.3, 0.0, 0.0])


def test_the_gain_is_the_loss_of_the_ensemble_without_a_member(make_library):
    """The score with all members minus the score without, with weights that sum to 1."""
    library = make_library()
    table = contribution_table(library, WEIGHTS, LOG)

    whole = np.tensordot(WEIGHTS, library.predictions, axes=1)
    without = WEIGHTS.copy()
    without[3] = 0
    without /= without.sum()
    rest = np.tensordot(without, library.predictions, axes=1)
    expected = log_loss(library.y, rest) - log_loss(library.y, whole)
    assert table.loc[13, "gain"] == pytest.approx(expected)
    assert table["weight"].to_dict() == {12: 0.5, 13: 0.3, 10: 0.2}
    assert table["weight"].is_monotonic_decreasing
    assert table.loc[12, "score"] == -log_loss(library.y, library.predictions[2])
    assert table.loc[13, "gain_error"] > 0


def test_errors_that_are_the_same_have_correlation_one(make_library):
    """Copies have correlation 1, independent candidates do not."""
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
    """Correlation and gain of a single member are NaN."""
    table = contribution_table(make_library(), np.eye(6)[4], LOG)

    assert len(table) == 1
    assert table[["error_correlation", "gain", "gain_error"]].isna().all(axis=None)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("link", [softmax, expit])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.3, 5))
def test_a_temperature_divides_logits(link, seed, temperature):
    """Logits of classes, or of each label of a multilabel target."""
    logits = np.random.default_rng(seed).normal(size=(20, 4))

    scaled = with_temperature(link(logits), temperature, is_multilabel=link is expit)

    np.testing.assert_allclose(scaled, link(logits / temperature), rtol=1e-6)


@pytest.mark.parametrize("link", [softmax, expit])
@pytest.mark.parametrize("true", [0.5, 2.0])
def test_the_temperature_of_the_labels_is_found(true, link):
    """Labels drawn from divided logits give back the divisor."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(40_000, 3))
    if link is expit:
        y = (rng.uniform(size=logits.shape) < expit(logits / true)).astype(float)
    else:
        drawn = softmax(logits / true).cumsum(axis=1) > rng.uniform(size=(40_000, 1))
        y = drawn.argmax(axis=1)

    # Its relative standard error is about the root of 1 / N over a curvature near 0.3.
    assert fitted_temperature(link(logits), y) == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize(
    ("wrong", "low", "high"), [([], 0.3, 0.9), ([1e-5, 1e-4, 0.07], 1.2, 6.0)]
)
def test_a_few_samples_give_no_extreme_temperature(wrong, low, high):
    """Neither if all predictions are right, nor if confident ones are wrong."""
    right = np.concatenate([wrong, np.full(75 - len(wrong), 0.96)])
    probabilities = np.stack([right, 1 - right], axis=1)

    temperature = fitted_temperature(probabilities, np.zeros(75, dtype=int))

    assert low < temperature < high


@pytest.mark.parametrize("is_multilabel", [False, True])
def test_probabilities_of_zero_stay_finite(is_multilabel):
    """A class of probability 0 has no infinite logarithm."""
    scaled = with_temperature(np.array([[1.0, 0.0]]), 2.0, is_multilabel=is_multilabel)

    assert np.isfinite(scaled).all()


LABELS = np.array(["a", "b", "c"])


def losses_of(objective, library):
    statistics = objective.statistics(library.predictions, library.y)
    return objective.losses(statistics, library.y)


def _accuracy(y, p):
    return accuracy_score(y, p.argmax(axis=1))


def _auc(y, p):
    return roc_auc_score(y, p, multi_class="ovr")


@pytest.mark.parametrize(
    ("scoring", "is_exact", "loss"),
    [
        (None, False, log_loss),
        ("neg_log_loss", False, log_loss),
        ("accuracy", False, lambda y, p: 1 - _accuracy(y, p)),
        ("roc_auc_ovr", False, lambda y, p: -_auc(y, p)),
        ("neg_log_loss", True, log_loss),
        ("accuracy", True, lambda y, p: -_accuracy(y, p)),
        (metrics.make_scorer(accuracy_score, greater_is_better=False), False, _accuracy),
        (metrics.make_scorer(accuracy_score, greater_is_better=False), True, _accuracy),
        ("roc_auc_ovr", True, lambda y, p: -_auc(y, p)),
        # R^2 and the root order as the squared error does, which is cheaper.
        ("r2", False, mean_squared_error),
        ("neg_mean_squared_error", False, mean_squared_error),
        ("neg_root_mean_squared_error", False, mean_squared_error),
    ],
)
def test_losses_match_scikit_learn(make_library, scoring, is_exact, loss):
    """The negative score if it is reported, otherwise a loss with the same order."""
    is_classification = loss is not mean_squared_error
    library = make_library(is_classification=is_classification)
    labels = LABELS if is_classification else None
    objective = make_objective(scoring, library.y, labels, is_exact=is_exact)

    expected = [loss(library.y, own) for own in library.predictions]
    np.testing.assert_allclose(losses_of(objective, library), expected, atol=1e-12)


def test_the_loss_of_labels_is_the_mean_of_their_log_losses():
    """A multilabel problem has a log loss for each label."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(50, 3)).astype(float)
    predictions = rng.uniform(0.1, 0.9, size=(2, 50, 3))
    objective = make_objective(None, y, np.empty(0))

    losses = objective.losses(objective.statistics(predictions, y), y)

    for loss, own in zip(losses, predictions, strict=True):
        expected = [log_loss(y[:, i], own[:, i]) for i in range(3)]
        assert loss == pytest.approx(np.mean(expected))


def test_the_error_of_a_mean_over_samples_is_that_of_paired_differences(make_library):
    """The standard error is the deviation of sample differences over the root of N."""
    library = make_library()
    objective = make_objective(None, library.y, LABELS)
    first, second = objective.statistics(library.predictions, library.y)[:2]

    difference, error = objective.difference(first, second, library.y)

    rows = np.log(second) - np.log(first)
    assert difference == pytest.approx(rows.mean())
    assert error == pytest.approx(rows.std(ddof=1) / np.sqrt(len(rows)))


def test_the_error_of_samples_in_groups_is_that_of_the_group_means(make_library):
    """With equally large groups, it is the deviation of their means over the root of G."""
    library = make_library()
    unit = np.arange(len(library.y)) % 10
    objective = make_objective(None, library.y, LABELS, unit=unit)
    first, second = objective.statistics(library.predictions, library.y)[:2]

    difference, error = objective.difference(first, second, library.y)

    rows = np.log(second) - np.log(first)
    means = np.array([rows[unit == k].mean() for k in range(10)])
    assert difference == pytest.approx(rows.mean())
    assert error == pytest.approx(means.std(ddof=1) / np.sqrt(10))


def test_the_jackknife_leaves_out_whole_groups(make_library):
    """Where the samples of a group are copies, the error is as large as without copies."""
    library = make_library(n_rows=20)
    copies = library.take(np.repeat(np.arange(20), 5))
    alone = make_objective("accuracy", library.y, LABELS, is_exact=True)
    unit = np.repeat(np.arange(20), 5)
    grouped = make_objective("accuracy", copies.y, LABELS, unit=unit, is_exact=True)

    estimate = alone.estimate(library.predictions[0], library.y)

    assert grouped.estimate(copies.predictions[0], copies.y) == pytest.approx(estimate)


def test_the_jackknife_agrees_with_the_error_of_a_mean(make_library):
    """For a metric that is a mean over samples blocks give about the same error."""
    library = make_library(n_rows=2000)
    by_rows = SampleObjective(kind="zero_one")
    metric = make_objective("accuracy", library.y, LABELS, is_exact=True)
    assert isinstance(metric, MetricObjective)

    loss, error = metric.estimate(library.predictions[0], library.y)
    expected_loss, expected = by_rows.estimate(library.predictions[0], library.y)

    assert loss == pytest.approx(expected_loss - 1)
    # Twenty blocks estimate a deviation to 1 / sqrt(40) = 16 %; three times that.
    assert error == pytest.approx(expected, rel=0.5)


def test_a_metric_without_a_function_is_refused(make_library):
    """A callable of (estimator, X, y) cannot score averaged predictions."""
    library = make_library()

    with pytest.raises(ValueError, match="'scoring' parameter must be"):
        make_objective(lambda estimator, X, y: 0.0, library.y, LABELS)


def test_samples_that_lack_a_class_are_scored_on_the_present_classes(make_library):
    """A metric that needs every class gets the columns of the present classes."""
    library = make_library()
    objective = make_objective("roc_auc_ovr", library.y, LABELS)
    some = library.take(library.y != 1)

    for loss, own in zip(losses_of(objective, some), some.predictions, strict=True):
        two = own[:, 2] / (own[:, 0] + own[:, 2])
        assert loss == pytest.approx(-roc_auc_score(some.y == 2, two))


SQUARED = SampleObjective(kind="squared")
PLAIN = GreedyOptions(max_rounds=30, n_start=1, n_bags=1)


def plain_selection(predictions, y, n_rounds):
    """Return the weights of the best ensemble on the greedy path (Caruana 2004, 2.1)."""

    def loss(chosen):
        return np.mean((predictions[chosen].mean(axis=0) - y) ** 2)

    chosen = [min(range(len(predictions)), key=lambda i: loss([i]))]
    best = list(chosen)
    for _ in range(n_rounds):
        chosen.append(min(range(len(predictions)), key=lambda i: loss([*chosen, i])))
        if loss(chosen) < loss(best):
            best = list(chosen)
    return np.bincount(best, minlength=len(predictions)) / len(best)


@pytest.mark.parametrize("seed", range(5))
def test_one_bag_matches_the_selection_of_the_paper(make_library, seed):
    """Without bags and with one start candidate, the path equals the paper's."""
    library = make_library(is_classification=False, seed=seed)

    rng = np.random.default_rng(3)
    weights = greedy_weights(library.predictions, library.y, SQUARED, PLAIN, rng)

    expected = plain_selection(library.predictions, library.y, 30)
    np.testing.assert_allclose(weights, expected)


def test_a_gain_within_its_error_does_not_count():
    """A candidate that helps by chance is added only without a minimum gain."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=200)
    good = y + 0.5 * rng.normal(size=200)
    # As good as the other but for nearly the same errors.
    alike = good + 0.02 * rng.normal(size=200)
    predictions = np.stack([good, alike])
    strict = GreedyOptions(max_rounds=30, n_start=1, min_gain=4.0, n_bags=1)

    free = greedy_weights(predictions, y, SQUARED, PLAIN, rng)
    held = greedy_weights(predictions, y, SQUARED, strict, rng)

    assert np.count_nonzero(held) == 1
    assert SQUARED.losses((free @ predictions)[None], y) <= SQUARED.losses(
        (held @ predictions)[None], y
    )


def test_the_start_is_the_best_prefix():
    """If the start may have all candidates, equally good candidates start together."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=4000)
    good = y + rng.normal(size=(3, 4000))
    bad = y + 10 * rng.normal(size=(2, 4000))
    options = GreedyOptions(max_rounds=1, n_start=5, min_gain=50.0, n_bags=1)

    weights = greedy_weights(np.concatenate([bad, good]), y, SQUARED, options, rng)

    np.testing.assert_allclose(weights, [0, 0, 1 / 3, 1 / 3, 1 / 3])


def test_bags_of_many_samples_are_smaller():
    """A bag has at most 5,000 samples, and makes the same choice as all samples."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=20_000)
    predictions = y + np.array([[0.5], [0.5], [5.0]]) * rng.normal(size=(3, 20_000))
    sizes = []

    class Watched:
        def losses(self, statistics, y, signs):
            sizes.append(len(y))
            return SQUARED.losses(statistics, y, signs)

    options = GreedyOptions(max_rounds=5, n_start=1, min_gain=0.0, n_bags=3)
    weights = greedy_weights(predictions, y, Watched(), options, rng)

    assert set(sizes) == {5000}
    np.testing.assert_allclose(weights[:2], 0.5, atol=0.1)
    assert weights[2] < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bags": 0}, "'n_bags' parameter of GreedyOptions must be an int in the range"),
        ({"min_gain": -1.0}, "'min_gain' parameter of GreedyOptions must be a float"),
    ],
)
def test_options_of_greedy_selection_are_checked(options, message):
    """A parameter that is out of range is named."""
    with pytest.raises(ValueError, match=message):
        GreedyOptions(**options)


def test_an_unchanged_default_is_the_name_greedy(make_library):
    """The string is short for the default options."""
    library = make_library()

    by_name, by_options = (
        make(library, method=method).choose(library).weights
        for method in ("greedy", GreedyOptions())
    )

    np.testing.assert_array_equal(by_name, by_options)


def test_a_limited_cost_keeps_the_members_that_help_most():
    """Of two members with similar errors and one with opposite errors, one each stays."""
    rng = np.random.default_rng(0)
    y, error = rng.normal(size=(2, 200))
    predictions = y + np.stack([error, 1.01 * error, -0.3 * error])
    library = Library(
        candidates=np.arange(3),
        predictions=predictions,
        y=y,
        part=np.arange(200) % 5,
        classes=None,
    )
    selector = Selector(
        library=library, method=PLAIN, scoring=None, calibrate=False, random_state=0
    )
    # Weights are not those of the least loss, which has no second member.
    choice = CandidateWeights(weights=np.array([0.4, 0.35, 0.25]), temperature=1.0)
    cost = len

    lighter = selector.lighter(library, choice, cost, 2)

    kept = np.flatnonzero(lighter.weights).tolist()
    assert kept in ([0, 2], [1, 2])
    expected = selector.choose(
        replace(library, candidates=np.array(kept), predictions=predictions[kept])
    )
    assert lighter.weights[kept] == pytest.approx(expected.weights)
    assert selector.lighter(library, choice, cost, 3) is choice
