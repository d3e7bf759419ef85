"""A network that is repaired in rounds."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.model_selection import ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, Improvement, MLPClassifier, RandomizedSearchCV, improve
from sk_tune._diagnosis import Change, Probe
from sk_tune._search._improve import _together
from sk_tune.exceptions import TimeBudgetWarning

X, Y = load_iris(return_X_y=True)


def _net(**params):
    return MLPClassifier(**{
        "width": 16,
        "max_epochs": 15,
        "batch_size": 16,
        "random_state": 0,
        **params,
    })


def test_a_low_learning_rate_is_repaired():
    """The first round raises the rate, and the score rises from chance."""
    better = improve(_net(learning_rate=1e-5), X, Y, cv=3)

    assert better.table["score"][0] < 0.6
    assert better.score > 0.9
    assert "learning_rate: 1e-05 -> " in better.table["change"][1]
    assert better.estimator.score(X, Y) > 0.9


def test_the_score_never_falls():
    """The score is the best in the table, so at least the score of the start."""
    better = improve(_net(learning_rate=3e-3), X, Y, cv=3, scoring="neg_log_loss")

    assert better.score == better.table["score"].max() >= better.table["score"][0]


def test_the_table_has_the_scores_of_each_change():
    """The start and the kept network have their cross-validated scores."""
    better = improve(_net(learning_rate=1e-5), X, Y, cv=3)
    start = cross_val_score(_net(learning_rate=1e-5), X, Y, cv=3)
    end = cross_val_score(clone(better.estimator), X, Y, cv=3)

    assert better.table["score"][0] == pytest.approx(start.mean())
    assert better.score == pytest.approx(end.mean())
    assert better.table.loc[better.table["is_kept"], "score"].is_monotonic_increasing


@pytest.mark.filterwarnings("error")
def test_a_single_fold_shows_no_error_of_a_gain():
    """Rounds without a gain end the repair all the same."""
    cv = ShuffleSplit(1, random_state=0)
    better = improve(_net(max_epochs=30, learning_rate=0.01), X, Y, cv=cv, rounds=5)

    assert better.table["score"][0] == better.score == 1
    assert better.table["round"].max() == 2
    assert better.table["error"][1:].isna().all()
    assert "±" not in str(better).rpartition("\n")[0]


def test_the_text_has_a_line_for_each_training_and_change():
    """Gains have their standard errors, and the kept training is marked."""
    table = pd.DataFrame({
        "round": [0, 1, 1],
        "reason": ["start", "overfitting", "overfitting and rate too low"],
        "change": ["", "dropout: 0.0 -> 0.2", "dropout: 0.0 -> 0.2; learning_rate: 1 -> 3"],
        "score": [0.5, 0.6, 0.75],
        "gain": [0.0, 0.1, 0.25],
        "error": [0.0, 0.02, 0.05],
        "is_kept": [True, False, True],
    })
    better = Improvement(
        estimator=None,
        score=0.75,
        expected_score=None,
        table=table,
        findings=(),
        search=None,
    )

    assert str(better).splitlines() == [
        "Round 0, start: 0.5",
        "Round 1, overfitting: 0.6 (+0.1 ± 0.02)",
        "    dropout: 0.0 -> 0.2",
        "Round 1, overfitting and rate too low: 0.75 (+0.25 ± 0.05), kept",
        "    dropout: 0.0 -> 0.2",
        "    learning_rate: 1 -> 3",
        "Score 0.5 -> 0.75.",
    ]


def test_findings_are_named_once_when_their_remedies_are_tried_again():
    """A round that repeats a joint change of an earlier round names its findings once."""
    parts = [
        ("rate too high and underfitting", "width"),
        ("rate too high", "gradient_clip"),
    ]
    probes = [
        Probe(
            name=name,
            finding=name,
            changes=(Change(parameter=param, action="set", value=2, reason=""),),
        )
        for name, param in parts
    ]

    (joint,) = _together(probes)

    assert joint.finding == "rate too high and underfitting"


def test_a_diverged_network_is_repaired():
    """A start without a score is a start like any other."""
    scaled = make_pipeline(StandardScaler(), _net(optimizer="sgd", learning_rate=1e9))

    better = improve(scaled, X, Y, cv=3)

    assert np.isnan(better.table["score"][0])
    assert better.score > 0.8


def test_unscaled_features_get_a_scaler():
    """The scaler is a step in front of the network."""
    raw, y = load_breast_cancer(return_X_y=True)

    better = improve(_net(), raw, y, cv=3, rounds=1)

    assert "StandardScaler" in str(better.estimator)
    assert better.score > better.table["score"][0]


def test_a_search_is_improved_from_its_best_candidate():
    """The folds and the score are the search's; its candidates count in the estimate."""
    grid = {"learning_rate": [1e-5, 1e-4, 3e-4]}
    search = GridSearchCV(_net(), grid, cv=3, scoring="neg_log_loss").fit(X, Y)

    better = improve(search, X, Y, rounds=1)

    assert better.table["score"][0] == pytest.approx(search.best_score_)
    assert better.search.scoring == "neg_log_loss"
    assert len(better.search._earlier_outcomes) == 3


def test_an_unfitted_search_is_fitted_first():
    """The source itself stays unfitted."""
    space = {"learning_rate": [1e-5, 1e-3]}
    search = RandomizedSearchCV(_net(), space, n_iter=2, cv=3, random_state=0)

    better = improve(search, X, Y, rounds=1)

    assert not hasattr(search, "best_score_")
    assert len(better.search._earlier_outcomes) == 2


def test_the_expected_score_of_random_labels_is_chance():
    """The best of all networks of all rounds is not better than chance on new data."""
    rng = np.random.default_rng(0)
    noise, labels = rng.normal(size=(300, 10)), rng.integers(2, size=300)

    better = improve(_net(max_epochs=5), noise, labels, cv=3)

    assert better.expected_score.low < 0.5 < better.expected_score.high
    assert better.expected_score.score <= better.score


def test_rounds_and_time_limit_the_training():
    """One round has three variations; without time the start alone is trained."""
    one = improve(_net(), X, Y, cv=3, rounds=1)
    with pytest.warns(TimeBudgetWarning):
        hurried = improve(_net(), X, Y, cv=3, time_budget=1e-3)

    assert one.table["round"].max() == 1
    assert len(one.table) <= 4
    assert len(hurried.table) < len(one.table)


def test_repetitions_are_equal_and_results_can_be_pickled():
    """The same seeds give the same table."""
    first, second = (improve(_net(), X, Y, cv=3, rounds=1) for _ in range(2))

    copied = pickle.loads(pickle.dumps(first))

    assert first.table.equals(second.table)
    assert copied.table.equals(first.table)


def test_invalid_arguments_are_refused():
    """Rounds are positive, and a search has folds of its own."""
    with pytest.raises(ValueError, match="'rounds' must be an int >= 1"):
        improve(_net(), X, Y, rounds=0)
    with pytest.raises(ValueError, match="must be None for a search"):
        improve(GridSearchCV(_net(), {}), X, Y, cv=3)


def test_a_search_with_several_metrics_is_improved_by_one():
    """By the first if a function chooses the candidate; without a choice it is refused."""
    options = {"scoring": ["accuracy", "f1_macro"], "cv": 2}
    grid = {"learning_rate": [0.01]}
    search = GridSearchCV(_net(max_epochs=2), grid, refit=lambda results: 0, **options)
    unchosen = GridSearchCV(_net(max_epochs=2), grid, refit=False, **options)

    improved = improve(search.fit(X, Y), X, Y, rounds=1)

    assert isinstance(improved, Improvement)
    with pytest.raises(ValueError, match="must have a metric as 'refit'"):
        improve(unchosen.fit(X, Y), X, Y)
