# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What scikit-optimize promises of its ``BayesSearchCV``, asked of ours.

Its wheel comes without tests, so these ask for the same behaviour as each test of its
search does, on smaller data.
"""

import inspect

import numpy as np
import pytest
import skopt
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from skopt.learning import ExtraTreesRegressor
from skopt.space import Categorical, Integer, Real

from sk_tune import BayesSearchCV

SPACE = {
    "C": Real(1e-2, 1e4, prior="log-uniform"),
    "gamma": Real(1e-4, 1e1, prior="log-uniform"),
    "kernel": Categorical(["linear", "rbf"]),
}
TREES = {
    "model": Categorical([DecisionTreeClassifier(random_state=0)]),
    "model__max_depth": Integer(1, 32),
}
LINEAR = {"model": Categorical([LinearSVC(random_state=0)]), "model__C": Real(1e-3, 1e1)}
KERNELS = {"model": Categorical([SVC()]), "model__C": Real(1e-3, 1e3, prior="log-uniform")}


def test_parameters_differ_from_scikit_optimize_as_documented():
    """Names and defaults; the table is in the guide to searches."""
    theirs = inspect.signature(skopt.BayesSearchCV).parameters
    ours = inspect.signature(BayesSearchCV).parameters

    shared = theirs.keys() & ours.keys()
    assert theirs.keys() - shared == {"fit_params", "iid"}
    assert {name for name in shared if theirs[name].default != ours[name].default} == {
        "n_jobs", "n_points", "error_score"
    }  # fmt: skip


def search_svc(space=SPACE, **options):
    """Return a quick search over a support vector classifier."""
    own = {"n_iter": 6, "cv": 3, "random_state": 0, **options}
    return BayesSearchCV(SVC(random_state=0), space, **own)


@pytest.mark.parametrize(
    ("space", "error"),
    [
        ({}, ValueError),
        ([], ValueError),
        ({"C": "1 ... 100.0"}, ValueError),
        ({"C": 3}, ValueError),
        ([(SPACE, 2, 2)], ValueError),
        ([(SPACE, -1)], ValueError),
        ([(SPACE, 0.5)], ValueError),
        (["C", (1.0, 1)], TypeError),
        ("C", TypeError),
    ],
    ids=str,
)
def test_a_space_that_cannot_be_searched_is_refused(iris, space, error):
    """With scikit-optimize's errors, but by fit, because constructors only store."""
    search = BayesSearchCV(SVC(), space)

    with pytest.raises(error):
        search.fit(*iris)


@pytest.mark.slow
def test_workers_change_no_result(iris):
    """Two processes find the same candidates and scores as one process."""
    one, two = (search_svc(n_jobs=n, n_points=2).fit(*iris) for n in (1, 2))

    assert one.cv_results_["params"] == two.cv_results_["params"]
    scores = (s.cv_results_["mean_test_score"] for s in (one, two))
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(
    "model", ["gp", "et", "rF", "gbrt", "dummy", "auto", ExtraTreesRegressor()], ids=str
)
def test_a_model_is_named_in_any_case_or_given(iris, model):
    """It proposes candidates after the first three, and none but "dummy" lacks results."""
    options = {"base_estimator": model, "n_initial_points": 3}
    search = search_svc(optimizer_kwargs=options).fit(*iris)

    (result,) = search.optimizer_results_
    assert len(result.x_iters) == 6
    assert len(result.models) == (0 if model == "dummy" else 1)
    if not isinstance(model, str):
        assert not hasattr(model, "estimators_")
        assert model.random_state is None


@pytest.mark.parametrize("model", ["nonsense", SVC(), DecisionTreeClassifier], ids=str)
def test_what_is_no_model_of_the_score_is_refused(iris, model):
    """A name that scikit-optimize has not, a classifier, a class."""
    search = search_svc(optimizer_kwargs={"base_estimator": model})

    with pytest.raises(ValueError, match="'base_estimator'"):
        search.fit(*iris)


def test_a_clone_keeps_its_subspaces_when_others_are_set(iris):
    """As for any estimator of scikit-learn."""
    pipeline, spaces = Pipeline([("model", SVC())]), [(LINEAR, 1), KERNELS]
    search = BayesSearchCV(pipeline, spaces, n_iter=2, cv=3, random_state=0)
    copy = clone(search)
    assert copy.get_params().keys() == search.get_params().keys()

    search.set_params(search_spaces=[(TREES, 1)])

    assert len(search.fit(*iris).cv_results_["params"]) == 1
    assert len(copy.fit(*iris).cv_results_["params"]) == 1 + 2


def test_a_seed_gives_the_same_search_twice(iris):
    """The best point is the parameters of the best estimator, sorted by name."""
    search = search_svc().fit(*iris)
    again = clone(search).fit(*iris)

    for one in (search, again):
        (result,) = one.optimizer_results_
        best = one.best_estimator_.get_params()
        assert result.x == [best[name] for name in ("C", "gamma", "kernel")]
    assert search.optimizer_results_[0].x_iters == again.optimizer_results_[0].x_iters


@pytest.mark.parametrize("scoring", [None, ["accuracy", "f1_macro"]], ids=str)
def test_training_scores_are_ranked_where_there_are_any(iris, scoring):
    """The highest mean is 1, equal means share a rank."""
    refit = True if scoring is None else "accuracy"
    search = search_svc(return_train_score=True, scoring=scoring, refit=refit).fit(*iris)

    results = search.cv_results_
    for kind in ("train", "test"):
        for metric in scoring or ["score"]:
            expected = rankdata(-results[f"mean_{kind}_{metric}"], method="min")
            np.testing.assert_array_equal(results[f"rank_{kind}_{metric}"], expected)
    assert not any("rank_train" in n for n in search_svc(n_iter=1).fit(*iris).cv_results_)


def test_a_search_that_was_given_a_best_estimator_finds_its_own(iris):
    """Fitted attributes of another search have no effect."""
    search = search_svc(refit=True)
    search.best_estimator_ = DecisionTreeClassifier()

    assert search.fit(*iris).score(*iris) > 0.9
    assert isinstance(search.best_estimator_, SVC)


@pytest.mark.parametrize(
    ("space", "total"),
    [
        ([({"max_depth": (1, 32)}, 10), {"min_samples_split": Real(0.1, 0.9)}], 15),
        ([{"max_depth": (1, 32)}, {"min_samples_split": Real(0.1, 0.9)}], 10),
        ({"max_depth": (1, 32), "min_samples_split": Real(0.1, 0.9)}, 5),
    ],
    ids=["a count", "no count", "one space"],
)
def test_the_number_of_candidates_is_known_before_the_fit(space, total):
    """It is the sum over subspaces, or n_iter."""
    assert (
        BayesSearchCV(DecisionTreeClassifier(), space, n_iter=5).total_iterations == total
    )


class OfPlainTypes(BaseEstimator):
    """Refuses parameters that are not Python's own."""

    def __init__(self, real=0.0, integer=0, text=""):
        self.real = real
        self.integer = integer
        self.text = text

    def fit(self, X, y):
        """Check the types."""
        types = (type(self.real), type(self.integer), type(self.text))
        assert types == (float, int, str)
        return self

    def score(self, X, y):
        """Return something that differs between candidates."""
        return self.real + self.integer


def test_parameters_are_numbers_and_strings_of_python(iris):
    """Whether they come from lists or from ranges."""
    spaces = [
        {"real": [0.0, 1.0], "integer": [0, 10], "text": ["one", "two", "three"]},
        {"real": (0.0, 1.0), "integer": (0, 10), "text": ["one", "two", "three"]},
    ]
    search = BayesSearchCV(OfPlainTypes(), spaces, n_iter=11, cv=2, error_score="raise")

    search.set_params(random_state=0, optimizer_kwargs={"n_initial_points": 4}).fit(*iris)

    assert len(search.cv_results_["params"]) == 22


def test_a_callable_may_return_several_metrics(iris):
    """Their names become columns, and one of the metrics decides."""
    X, y = iris

    def hits(estimator, X, y):
        (tn, fp), (fn, tp) = confusion_matrix(y, estimator.predict(X))
        return {"tn": tn, "fp": fp, "fn": fn, "tp": tp}

    search = search_svc(scoring=hits, refit="tp").fit(X, y == 0)

    assert hits(search, X, y == 0)["tp"] > 45
    assert {f"mean_test_{n}" for n in ("tn", "fp", "fn", "tp")} < set(search.cv_results_)
