"""Bagging is scikit-learn's, with its members trained and asked together."""

import joblib
import numpy as np
import pytest
from marks import parametrize_with_checks
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import ensemble
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import sk_tune
from sk_tune import BaggingClassifier, BaggingRegressor, MLPClassifier, MLPRegressor, fleet
from sk_tune._engine import train

# Where scikit-learn's own bagging fails, in its words.
EXPECTED_FAILURES = {
    f"check_sample_weight_equivalence_on_{kind}_data": (
        "sample_weight is not equivalent to removing/repeating samples."
    )
    for kind in ("dense", "sparse")
}


# Small ones, which learn what the checks ask for.
_SMALL = {"n_layers": 1, "width": 16, "max_epochs": 8, "learning_rate": 0.02}


@parametrize_with_checks(
    [
        BaggingClassifier(MLPClassifier(**_SMALL), 3),
        BaggingRegressor(MLPRegressor(**_SMALL), 3),
    ],
    expected_failed_checks=lambda _: EXPECTED_FAILURES,
    xfail_strict=False,
)
def test_bagging_passes_the_checks_of_scikit_learn(estimator, check):
    """Every check passes that scikit-learn's own bagging passes."""
    check(estimator)


@pytest.fixture(params=["Classifier", "Regressor"])
def pair(request, make_estimator, iris, diabetes):
    """Return a function that fits sk_tune's bagging and scikit-learn's, and the data."""
    task = request.param
    data = iris if task == "Classifier" else diabetes
    net = make_estimator(f"MLP{task}", dtype="float64")

    def fitted(estimator=net, **options):
        found = [
            getattr(home, f"Bagging{task}")(
                estimator, **{"n_estimators": 6, "random_state": 3, **options}
            ).fit(*data)
            for home in (sk_tune, ensemble)
        ]
        return (*found, data)

    return fitted


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bootstrap": False, "max_samples": 0.5},
        {"max_features": 0.5},
        {"max_features": 2, "bootstrap_features": True},
    ],
    ids=["plain", "pasting", "subspaces", "repeated columns"],
)
def test_members_and_predictions_match_scikit_learn(pair, outputs, options):
    """The same random_state gives the same samples, columns, members and predictions."""
    ours, theirs, (X, _) = pair(**options)

    # Members differ in the order of summation only.
    assert_allclose(outputs(ours, X), outputs(theirs, X), rtol=1e-9, atol=1e-9)
    for one, other, columns in zip(
        ours.estimators_, theirs.estimators_, theirs.estimators_features_, strict=True
    ):
        assert one.random_state == other.random_state
        own = X[:, columns]
        assert_allclose(outputs(one, own), outputs(other, own), rtol=1e-9)
    assert_array_equal(ours.estimators_samples_, theirs.estimators_samples_, strict=True)


def test_weights_of_samples_are_chances_as_in_scikit_learn(iris, make_estimator):
    """sample_weight has the same effect as in scikit-learn."""
    net = make_estimator("MLPClassifier", dtype="float64")
    weight = np.random.default_rng(0).integers(0, 3, len(iris.y))
    probabilities = [
        home
        .BaggingClassifier(net, 4, random_state=0)
        .fit(*iris, sample_weight=weight)
        .predict_proba(iris.X)
        for home in (sk_tune, ensemble)
    ]

    assert_allclose(*probabilities, rtol=1e-9)


@pytest.fixture
def calls(monkeypatch):
    """Return a list that gets the number of networks of each call of the engine."""
    calls = []

    def counted(fits, **options):
        calls.append(len(fits))
        return train(fits, **options)

    monkeypatch.setattr("sk_tune._backend._session.train", counted)
    return calls


def test_members_train_in_one_call_of_the_engine(iris, make_estimator, calls):
    """All are in one fleet; in a search outside of a block, each bag trains by itself."""
    bag = BaggingClassifier(make_estimator("MLPClassifier"), 7, random_state=0).fit(*iris)
    assert calls == [7]

    sk_tune.GridSearchCV(bag, {"n_estimators": [3, 4]}, cv=2, refit=False).fit(*iris)

    assert calls == [7, 3, 3, 4, 4]


def test_without_bootstrap_members_differ_by_their_seed(iris, make_estimator, calls):
    """They train in one call, each as ``fit`` alone on all samples; the mean counts."""
    net = make_estimator("MLPClassifier", dtype="float64")

    bag = BaggingClassifier(net, 4, bootstrap=False, random_state=0).fit(*iris)

    assert calls == [4]
    assert len({member.random_state for member in bag.estimators_}) == 4
    alone = [clone(member).fit(*iris).predict_proba(iris[0]) for member in bag.estimators_]
    assert_allclose(bag.predict_proba(iris[0]), np.mean(alone, axis=0), atol=1e-9)


def test_members_that_continue_training_predict_again(iris, make_estimator, outputs):
    """A prediction after partial_fit of a member is not one of the old weights."""
    bag = BaggingClassifier(make_estimator("MLPClassifier"), 3, random_state=0).fit(*iris)
    before = bag.predict_proba(iris.X)

    bag.estimators_[1].partial_fit(*iris, n_epochs=20)

    after = np.mean([outputs(m, iris.X) for m in bag.estimators_], axis=0)
    assert_allclose(bag.predict_proba(iris.X), after, atol=1e-6)
    assert np.abs(after - before).max() > 0.01


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
def test_the_out_of_bag_score_is_that_of_scikit_learn(pair):
    """Scoring out-of-bag samples after each epoch has no effect."""
    ours, theirs, _ = pair(oob_score=True, n_estimators=20)

    assert ours.oob_score_ == pytest.approx(theirs.oob_score_, rel=1e-9)


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
def test_out_of_bag_curves_are_scores_on_samples_that_a_member_lacks(pair):
    """One score for each epoch; the last equals the member's score by hand."""
    bag, _, (X, y) = pair(oob_score=True)
    curve = bag.oob_curve_

    assert list(curve) == ["member", "epoch", "train_loss", "oob_loss", "oob_score"]
    assert len(curve) == 6 * bag.estimator_.max_epochs
    for number, (member, samples) in enumerate(
        zip(bag.estimators_, bag.estimators_samples_, strict=True)
    ):
        rows = np.setdiff1d(np.arange(len(y)), samples)
        last = curve[curve["member"] == number].iloc[-1]
        assert last["epoch"] == bag.estimator_.max_epochs
        # Members of a classifier have positions of classes for labels, here the same.
        assert last["oob_score"] == pytest.approx(member.score(X[rows], y[rows]), abs=1e-6)


def test_an_ensemble_without_a_requested_score_has_no_tables(iris):
    """A fit without oob_score takes the tables of an earlier fit away."""
    bag = BaggingClassifier(DecisionTreeClassifier(max_depth=1), 30, random_state=0)
    bag.set_params(oob_score=True).fit(*iris)
    assert hasattr(bag, "oob_curve_")

    bag.set_params(oob_score=False).fit(*iris)

    assert not hasattr(bag, "oob_curve_")


def test_warm_start_adds_members(iris, make_estimator):
    """Two fits with warm_start give the members of one fit."""
    net = make_estimator("MLPClassifier", dtype="float64")
    bag = BaggingClassifier(net, 2, warm_start=True, random_state=0).fit(*iris)
    bag.set_params(n_estimators=5).fit(*iris)

    whole = BaggingClassifier(net, 5, random_state=0).fit(*iris)

    assert_allclose(bag.predict_proba(iris.X), whole.predict_proba(iris.X), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("workers_for_little")
def test_pipelines_and_workers_give_the_same_members(iris, make_estimator):
    """A network behind its own scaler, trained by two workers, is the same."""
    pipe = make_pipeline(StandardScaler(), make_estimator("MLPClassifier", dtype="float64"))
    with joblib.parallel_config("threading"):
        ours = BaggingClassifier(pipe, 4, n_jobs=2, random_state=0).fit(*iris)
    theirs = ensemble.BaggingClassifier(pipe, 4, random_state=0).fit(*iris)

    assert_allclose(ours.predict_proba(iris.X), theirs.predict_proba(iris.X), rtol=1e-9)


def test_classes_that_a_member_has_not_seen_have_no_probability(make_estimator):
    """Rare classes are lacking in some members, as in scikit-learn's bagging."""
    X, y = make_classification(60, 8, n_informative=5, n_classes=3, random_state=0)
    labels = np.array(["c", "a", "b"])[y]
    labels[3:] = np.where(labels[3:] == "a", "b", labels[3:])
    net = make_estimator("MLPClassifier", dtype="float64")
    ours, theirs = (
        home.BaggingClassifier(net, 8, random_state=0).fit(X, labels)
        for home in (sk_tune, ensemble)
    )

    assert {len(m.classes_) for m in ours.estimators_} == {2, 3}
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)
    assert_array_equal(ours.predict(X), theirs.predict(X))


def test_members_that_lack_a_class_are_scored_on_the_samples_they_lack(make_estimator):
    """By the classes that they know; scikit-learn's own table takes all to know all."""
    X, y = make_classification(60, 8, n_informative=5, n_classes=3, random_state=0)
    y[3:] = np.where(y[3:] == 2, 1, y[3:])
    net = make_estimator("MLPClassifier", dtype="float64")

    bag = BaggingClassifier(net, 12, oob_score=True, random_state=0).fit(X, y)

    assert {len(m.classes_) for m in bag.estimators_} == {2, 3}
    sums = np.zeros((60, 3))
    for member, drawn in zip(bag.estimators_, bag.estimators_samples_, strict=True):
        lacked = np.setdiff1d(np.arange(60), drawn)
        sums[np.ix_(lacked, member.classes_)] += member.predict_proba(X[lacked])
    expected = sums / sums.sum(axis=1, keepdims=True)
    assert_allclose(bag.oob_decision_function_, expected, rtol=1e-9)
    assert bag.oob_score_ == accuracy_score(y, expected.argmax(axis=1))


def test_members_of_bagging_in_a_search_train_in_its_block(iris, make_estimator):
    """In a block around a search the members of all folds are one fleet."""
    bag = BaggingClassifier(make_estimator("MLPClassifier"), 3, random_state=0)
    grid = {"estimator__learning_rate": [0.001, 0.01]}
    with fleet(n_jobs=1) as report:
        inside = GridSearchCV(bag, grid, cv=3, refit=False).fit(*iris)

    assert report.n_in_fleets == 2 * 3 * 3
    assert report.n_calls == 1
    outside = GridSearchCV(bag, grid, cv=3, refit=False).fit(*iris)
    assert_allclose(*[own.cv_results_["mean_test_score"] for own in (inside, outside)])


@pytest.mark.parametrize("scaler", [None, StandardScaler()], ids=["bare", "scaled"])
def test_noise_is_scored_at_chance_out_of_bag(make_estimator, scaler):
    """On labels that are noise no sample is scored by a member that has seen its label."""
    net = make_estimator("MLPClassifier", max_epochs=15, learning_rate=0.03)
    base = net if scaler is None else make_pipeline(scaler, net)
    own, trained = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(300, 20)), rng.integers(2, size=300)
        bag = BaggingClassifier(base, 25, oob_score=True, random_state=seed).fit(X, y)
        own.append(bag.oob_score_)
        trained.append(bag.score(X, y))

    # Standard error of three means of 300 samples: 0.017; members lean against the label
    # of a sample that they lack, since there are fewer of its kind.
    assert abs(np.mean(own) - 0.5) < 0.07
    # They have learnt the noise by heart, so that a leak would be seen.
    assert np.mean(trained) > 0.7
