"""The best epoch over folds, and the table of curves."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sk_tune.search._outcomes import FoldCurve, best_epoch, learning_curve_table

NAN = np.nan
# Sixty-fourths, whose sums are exact.
CURVES = arrays(
    np.int64,
    st.tuples(st.integers(1, 5), st.integers(1, 12)),
    elements=st.integers(-64, 64),
).map(lambda a: a / 64)


@given(curves=CURVES)
def test_the_best_epoch_has_the_first_of_the_highest_means(curves):
    """The definition, for folds that reached all epochs."""
    epoch = best_epoch(curves)

    totals = curves.sum(axis=0)
    assert totals[epoch - 1] == totals.max()
    assert (totals[: epoch - 1] < totals.max()).all()


@given(curves=CURVES, data=st.data())
def test_epochs_that_a_fold_did_not_reach_are_not_compared(curves, data):
    """A curve that ends ends them all, and one without scores ends none."""
    n_reached = data.draw(st.integers(1, curves.shape[1]))
    fold = data.draw(st.integers(0, len(curves) - 1))
    ended = curves.copy()
    ended[fold, n_reached:] = NAN
    without = np.vstack([ended, np.full(curves.shape[1], NAN)])

    assert best_epoch(ended) == best_epoch(curves[:, :n_reached])
    assert best_epoch(without) == best_epoch(ended)


def test_the_mean_curve_decides_and_not_a_single_fold():
    """0.9 once is worse than 0.7 twice."""
    assert best_epoch([[0.1, 0.9, 0.7], [0.2, 0.1, 0.7]]) == 3


def test_equal_means_are_told_by_the_earliest():
    """Fewer epochs are cheaper."""
    assert best_epoch([[0.5, 0.8, 0.8, 0.8]]) == 2


@pytest.mark.parametrize("curves", [[[NAN, NAN]], [[0.1, NAN], [NAN, 0.2]], [[], []]])
def test_without_an_epoch_that_all_folds_have_there_is_no_best(curves):
    """No scores at all, and none in common."""
    with pytest.raises(ValueError, match="all folds have a score. Got none instead"):
        best_epoch(curves)


def test_the_table_has_a_line_for_each_candidate_fold_and_epoch():
    """Curves below each other, the shorter ones ended by NaN."""
    curves = [
        FoldCurve(
            candidate=3,
            fold=0,
            train_loss=np.array([0.9, 0.5]),
            valid_loss=np.array([1.0, 0.8]),
            valid_score=np.array([0.6]),
        ),
        FoldCurve(candidate=4, fold=1, train_loss=np.empty(0)),
        FoldCurve(candidate=4, fold=2, train_loss=np.array([0.7])),
    ]

    frame = pd.DataFrame(learning_curve_table(curves))

    expected = pd.DataFrame({
        "candidate": [3, 3, 4],
        "fold": [0, 0, 2],
        "epoch": [1, 2, 1],
        "train_loss": [0.9, 0.5, 0.7],
        "valid_loss": [1.0, 0.8, NAN],
        "valid_score": [0.6, NAN, NAN],
    })
    pd.testing.assert_frame_equal(frame, expected)


def test_curves_of_rungs_say_which():
    """The columns are named as in cv_results_."""
    curves = [
        FoldCurve(candidate=0, fold=0, train_loss=np.zeros(n), rung=rung, n_resources=n)
        for rung, n in enumerate([1, 3])
    ]

    table = learning_curve_table(curves)

    assert table["iter"].tolist() == [0, 1, 1, 1]
    assert table["n_resources"].tolist() == [1, 3, 3, 3]
    assert table["epoch"].tolist() == [1, 1, 2, 3]


def test_no_curves_are_an_empty_table():
    """All columns, none of them of objects."""
    frame = pd.DataFrame(learning_curve_table([]))

    assert len(frame) == 0
    assert [dtype.kind for dtype in frame.dtypes] == ["i", "i", "i", "f", "f", "f"]
