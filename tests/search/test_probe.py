"""What a search is expected to take."""

import pytest
from scipy.stats import uniform
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sk_tune import GridSearchCV, HyperbandSearchCV
from sk_tune.search._probe import expected_seconds

CV = StratifiedKFold(3)


@pytest.fixture
def pipeline(make_estimator):
    """Return a small classifier behind a scaler."""
    return Pipeline([("scale", StandardScaler()), ("net", make_estimator("MLPClassifier"))])


@pytest.mark.parametrize(
    ("short", "long", "seconds"),
    [(2.0, 5.0, 20 * 0.1 + 100 * 0.1), (2.0, 2.0, 20 * 0.2), (2.0, 1.0, 20 * 0.2)],
    ids=["both", "epochs cost nothing", "noise"],
)
def test_fits_cost_something_once_and_for_each_epoch(short, long, seconds):
    """Ten fits of 1 and of 4 epochs tell the two costs apart."""
    expected = expected_seconds(short, long, n_fits=10, plan_fits=20, plan_epochs=100)

    assert expected == pytest.approx(seconds)


def test_data_tell_seconds_and_memory(pipeline, iris):
    """The memory is at least that of the data; the search itself is left as it was."""
    search = GridSearchCV(pipeline, {"net__dropout": [0.0, 0.1]}, cv=CV)

    plan = search.plan(*iris)

    assert plan.seconds > 0
    assert plan.memory > 150 * 4 * 4
    assert "about" in str(plan)
    assert "memory" in str(plan)
    assert not hasattr(search, "cv_results_")


def test_what_is_no_network_has_seconds_only(iris):
    """One candidate is timed."""
    plan = GridSearchCV(SVC(), {"C": [1, 10, 100]}, cv=CV).plan(*iris)

    assert plan.seconds > 0
    assert plan.memory is None
    assert plan.n_epochs == 0
    assert plan.n_fits == 9


def test_candidates_that_set_the_epochs_are_timed_without(pipeline, iris):
    """The number of epochs is the probe's own."""
    grid = {"net__max_epochs": [1000, 2000], "net__dropout": [0.0]}

    assert GridSearchCV(pipeline, grid, cv=CV).plan(*iris).seconds > 0


def test_a_plan_needs_no_data(pipeline):
    """Rounds are known from the parameters alone."""
    plan = HyperbandSearchCV(
        pipeline, {"net__dropout": uniform(0, 0.5)}, cv=CV, max_resources=9
    ).plan()

    assert [(r.bracket, r.n_candidates, r.n_resources) for r in plan.rounds][:3] == [
        (2, 9, 1),
        (2, 3, 3),
        (2, 1, 9),
    ]
    assert plan.seconds is None
