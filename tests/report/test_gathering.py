"""From a search to the record of its report."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import sk_tune
from sk_tune.report import Baseline
from sk_tune.report._gathering import answer, best_row, candidate_rows, gather
from sk_tune.report.displays import trials_of
from sk_tune.search import CorrectedScore


def test_a_report_has_what_the_search_learnt(grid, iris):
    """Best candidate, corrected score, curves, findings and ledger."""
    report = gather(grid, *iris)

    assert report.title == "GridSearchCV over StandardScaler → MLPClassifier"
    assert report.best.row == grid.best_index_
    assert report.best.score == grid.best_score_
    assert report.corrected.score == grid.corrected_score_.score
    assert report.best_epoch == report.curves.n_epochs == 2
    assert report.findings
    assert report.ledger is grid.ledger_
    assert report.resource is None
    assert [baseline.name for baseline in report.baselines] == ["dummy", "linear"]


def test_rungs_name_their_resource(hyperband):
    """Where the search took it from the estimator, too."""
    report = gather(hyperband)

    assert report.resource == "net__max_epochs"
    assert report.n_configurations < len(report.candidates)
    assert report.curves.n_epochs == 9


def test_the_best_epoch_is_the_one_that_was_chosen(make_estimator, iris):
    """With epochs="best" it is where the mean curve over the folds is best."""
    net = make_estimator("MLPClassifier", max_epochs=6, learning_rate=0.3)
    search = sk_tune.GridSearchCV(net, {"width": [4]}, cv=3, epochs="best").fit(*iris)

    report = gather(search)

    mean = report.curves.valid_score.mean(axis=0)
    assert report.best_epoch == search.best_epochs_[0] == 1 + np.argmax(mean)


def test_what_is_no_network_has_no_curves_and_no_findings(linear, iris):
    """The rest of the report is there."""
    report = gather(linear, *iris)

    assert report.curves is None
    assert report.best_epoch is None
    assert report.findings == ()
    assert report.corrected is not None
    assert len(report.baselines) == 2


def test_a_search_of_scikit_learn_has_a_report(iris):
    """Without what only the searches of sk_tune learn, which the notes say."""
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}).fit(*iris)

    report = gather(search, *iris)

    assert report.ledger is None
    assert report.corrected is None
    assert "could not be corrected" in report.notes[0]
    assert report.best.score == search.best_score_


def test_without_a_refit_the_report_is_the_same(linear, grid, iris):
    """What was best needs no estimator."""
    search = clone(grid).set_params(refit=False, param_grid={"net__width": [4, 8]})

    assert gather(search.fit(*iris)).best.row == search.best_index_
    several = clone(linear).set_params(refit=False).fit(*iris)
    assert gather(several).best is not None


def test_a_search_that_is_not_fitted_is_refused(grid):
    """By scikit-learn's error."""
    with pytest.raises(NotFittedError):
        gather(clone(grid))


def test_baselines_may_be_given(grid):
    """Those that the command line scored already."""
    assert gather(grid, baselines=[]).baselines == []


def _rows(search):
    return candidate_rows(search, trials_of(search))


def _best(search):
    return best_row(trials_of(search), _rows(search))


def test_rows_are_those_of_the_results(grid):
    """Scores, folds, ranks, parameters and reasons are taken over unchanged."""
    results = grid.cv_results_
    rows = _rows(grid)

    np.testing.assert_array_equal([r.score for r in rows], results["mean_test_score"])
    np.testing.assert_array_equal([r.std for r in rows], results["std_test_score"])
    folds = np.array([r.fold_scores for r in rows])
    for k in range(3):
        np.testing.assert_array_equal(folds[:, k], results[f"split{k}_test_score"])
    assert [r.params for r in rows] == results["params"]
    failed = [r for r in rows if r.params["net__learning_rate"] < 0]
    assert len(failed) == 2
    assert all(r.rank is None and "learning_rate" in r.reason for r in failed)
    assert _best(grid).row == grid.best_index_


def test_the_metric_of_the_refit_decides(linear):
    """The other one is there too."""
    rows = _rows(linear)

    np.testing.assert_array_equal(
        [r.score for r in rows], linear.cv_results_["mean_test_loss"]
    )
    assert list(rows[0].others) == ["acc"]
    assert _best(linear).row == linear.best_index_


def test_without_a_choice_the_first_metric_chooses(linear, iris):
    """refit=False with several metrics leaves no best_index_."""
    search = clone(linear).set_params(refit=False).fit(*iris)

    assert not hasattr(search, "best_index_")
    assert _best(search).row == np.argmax(search.cv_results_["mean_test_acc"])


def test_candidates_of_several_rungs_count_once(hyperband):
    """As the ledger counts them."""
    rows = _rows(hyperband)

    assert len(rows) > len({row.configuration for row in rows})
    assert len({row.configuration for row in rows}) == hyperband.ledger_.n_candidates
    assert {r.n_resources for r in rows} == {1, 3, 9}


def test_nothing_is_best_without_a_score(linear, make_row):
    """A search whose scorer failed has an index, but no best candidate."""
    rows = [make_row(0, math.nan), make_row(1, math.nan)]
    trials = replace(trials_of(linear), scores=np.array([math.nan, math.nan]))

    assert best_row(trials, rows) is None
    assert best_row(replace(trials, best=None), rows) is None


CORRECTED = CorrectedScore(
    score=0.8, low=0.7, high=0.9, confidence=0.95, n_bootstraps=1000, naive_score=0.85
)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.69, "clearly better than the linear baseline"),
        (0.71, "cannot be told from the linear baseline, which scores 0.710: prefer the"),
        (0.91, "worse than the linear baseline"),
    ],
)
def test_a_baseline_is_beaten_below_the_interval(make_row, score, words):
    """Inside it the simpler one is preferred, above it all the more."""
    baselines = [
        Baseline(name="dummy", mean=0.5, std=0),
        Baseline(name="linear", mean=score, std=0),
    ]

    text = answer(make_row(3, 0.85), CORRECTED, baselines, n_candidates=9)

    assert words in text
    assert "The best of 9 candidates is row 3 of cv_results_. On new data" in text
    assert "expect 0.800, between 0.700 and" in text
    assert "dummy" not in text


def test_the_better_baseline_is_the_one_to_beat(make_row):
    """Also if it is the dummy; one without a score is left out."""
    baselines = [
        Baseline(name="dummy", mean=0.75, std=0),
        Baseline(name="linear", mean=math.nan, std=math.nan),
    ]

    text = answer(make_row(0, 0.85), CORRECTED, baselines, n_candidates=1)

    assert text.startswith("There is one candidate. On new data, expect 0.8")
    assert text.endswith("which scores 0.750: nothing was learnt.")


def test_without_a_correction_the_folds_tell(make_row):
    """Mean less and plus the standard deviation."""
    row = make_row(0, -3.0, std=0.5)

    text = answer(row, None, [Baseline(name="dummy", mean=-4, std=0)], n_candidates=2)
    assert (
        "with -3.00 ± 0.5 over the folds. That is better, beyond that spread, than the"
        in text
    )


@pytest.mark.parametrize(("n", "start"), [(1, "The candidate has no"), (3, "None of 3")])
def test_nothing_to_choose_is_an_answer(n, start):
    """Where no candidate has a score."""
    assert answer(None, None, [], n_candidates=n).startswith(start)
