"""Rows of ``cv_results_`` as records."""

import math
from dataclasses import replace

import numpy as np
from sklearn.base import clone

from sk_tune.report._gathering import best_row, candidate_rows
from sk_tune.report.displays import trials_of


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
