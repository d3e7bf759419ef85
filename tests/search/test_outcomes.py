"""What became of candidates on folds, and the tables made of it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sk_tune._search_record import INTERRUPTED
from sk_tune.schedule import halving_plan, hyperband_brackets
from sk_tune.search import Ledger
from sk_tune.search._ledger import search_ledger
from sk_tune.search._outcomes import (
    FoldOutcome,
    HeldOut,
    best_epoch,
    candidate_fingerprint,
    guiding_scores,
    hold,
    last_rows,
    learning_curves,
    out_of_fold_predictions,
    positions,
)

NAN = np.nan


def outcome(rows, values, classes=None):
    """Return an outcome of held-out rows."""
    return FoldOutcome(
        held=HeldOut(rows=np.array(rows), values=np.array(values), classes=classes)
    )


def test_a_row_held_out_twice_has_the_mean():
    """Predictions of overlapping folds are averaged; rows held out by none are NaN."""
    folds = [outcome([0, 1], [1.0, 2.0]), outcome([1, 1], [4.0, 6.0])]

    table = out_of_fold_predictions([folds], 3, None)

    np.testing.assert_array_equal(table, [[1.0, 4.0, np.nan]])


def test_a_row_held_out_twice_may_have_the_first():
    """The mean is what an ensemble predicts; a mask of rows says which as well."""
    folds = [outcome([0, 1], [1.0, 2.0]), outcome([1, 2, 2], [4.0, 6.0, 6.0])]

    table = out_of_fold_predictions([folds], 4, None, averaged=False)

    np.testing.assert_array_equal(table, [[1.0, 2.0, 6.0, np.nan]])
    assert positions(np.array([False, True, True])).tolist() == [1, 2]


def test_a_class_that_a_fold_lacks_has_probability_zero():
    """Columns are aligned by their classes, strings too."""
    classes = np.array(["a", "b", "c"])
    folds = [
        outcome([0], [[0.25, 0.75]], classes[[0, 2]]),
        outcome([1], [[0.2, 0.3, 0.5]], classes),
    ]

    table = out_of_fold_predictions([folds], 2, classes)

    np.testing.assert_array_equal(table, [[[0.25, 0, 0.75], [0.2, 0.3, 0.5]]])


def test_classes_in_another_order_are_put_in_theirs():
    """An estimator may have its classes in any order; columns follow the sorted labels."""
    classes = np.array(["a", "b", "c"])
    folds = [outcome([0], [[0.5, 0.3, 0.2]], classes[[2, 0, 1]])]

    table = out_of_fold_predictions([folds], 1, classes)

    np.testing.assert_array_equal(table, [[[0.3, 0.2, 0.5]]])


def test_candidates_without_predictions_are_nan():
    """A failed candidate has a row of NaN beside those that did not fail."""
    table = out_of_fold_predictions(
        [[FoldOutcome()], [outcome([0, 1], [1.0, 2.0])]], 2, None
    )

    np.testing.assert_array_equal(table, [[np.nan, np.nan], [1.0, 2.0]])


def test_nothing_held_gives_a_table_of_nan():
    """Where nothing predicts, the table has a row a candidate, all NaN."""
    table = out_of_fold_predictions([[FoldOutcome()]] * 2, 3, None)

    assert table.shape == (2, 3)
    assert np.isnan(table).all()


def test_probabilities_are_held_where_there_are_any(iris):
    """A classifier with probabilities holds these, one without 1 for its label."""
    rows = np.arange(0, 150, 10)
    regression = LogisticRegression(max_iter=1000).fit(*iris)
    svc = LinearSVC().fit(*iris)

    soft = hold(regression, iris.X[rows], rows)
    hard = hold(svc, iris.X[rows], rows)

    np.testing.assert_array_equal(soft.values, regression.predict_proba(iris.X[rows]))
    np.testing.assert_array_equal(hard.values.argmax(axis=1), svc.predict(iris.X[rows]))
    assert set(hard.values.ravel()) == {0.0, 1.0}
    assert (soft.is_of_predict, hard.is_of_predict) == (False, True)


def test_several_labels_are_held_as_the_probability_of_each(iris):
    """A multilabel classifier of scikit-learn holds one probability a label."""
    y = np.column_stack([iris.y == 0, iris.X[:, 0] > 5.8]).astype(int)
    model = KNeighborsClassifier(7).fit(iris.X, y)

    held = hold(model, iris.X, np.arange(150))

    expected = [own[:, 1] for own in model.predict_proba(iris.X)]
    np.testing.assert_array_equal(held.values.T, expected)
    assert held.classes is None


def test_a_label_that_all_rows_have_has_probability_one(iris):
    """Scikit-learn gives one column for it, of the only value that it has seen."""
    y = np.column_stack([iris.y == 0, np.ones(150), np.zeros(150)]).astype(int)
    model = KNeighborsClassifier(7).fit(iris.X, y)

    held = hold(model, iris.X, np.arange(150))

    np.testing.assert_array_equal(held.values[:, 1:], [[1.0, 0.0]] * 150)


def test_what_cannot_predict_holds_nothing(iris):
    """An unfitted estimator gives None and no error."""
    assert hold(LinearRegression(), iris.X, np.arange(150)) is None


def net(n_epochs, granted, before=0, resumed=0, reason=""):
    """Return the outcome of a network."""
    return FoldOutcome(
        train_loss=np.arange(float(resumed + n_epochs)),
        n_epochs=n_epochs,
        n_granted=granted,
        n_granted_before=before,
        n_resumed=resumed,
        reason=reason,
        engine="fleet",
    )


# 3 candidates on 2 folds, 3 epochs each; the best one goes on to 9.
WARM = [
    [net(3, 3), net(3, 3)],
    [net(3, 3), net(3, 3)],
    [net(3, 3), net(3, 3)],
    [net(6, 9, before=3, resumed=3), net(6, 9, before=3, resumed=3)],
]


def ledger(outcomes, max_epochs=None, starts=None, n_folds=2):
    """Return the ledger of candidates that start where nothing was before."""
    own = [not any(o.n_granted_before for o in folds) for folds in outcomes]
    return search_ledger(
        outcomes,
        n_folds=n_folds,
        max_epochs=max_epochs,
        starts=own if starts is None else starts,
        solo_reasons={},
        seconds={},
    )


def test_the_last_row_of_a_configuration_is_that_of_its_last_rung():
    """What was dropped keeps its row, what was promoted has a later one."""
    params = [{"a": 1, "n": 3}, {"a": 2, "n": 3}, {"a": 1, "n": 9}]

    assert last_rows(params, "n") == (1, 2)
    assert last_rows(params, None) == (0, 1, 2)


def test_a_row_that_an_interruption_left_empty_is_no_last_one():
    """What the candidate had on the rung before is there; of a first rung nothing is."""
    params = [{"a": 1, "n": 1}, {"a": 2, "n": 1}, {"a": 1, "n": 3}, {"a": 3, "n": 1}]
    reasons = ["", "", INTERRUPTED, INTERRUPTED]

    assert last_rows(params, "n", reasons) == (0, 1, 3)
    assert last_rows(params, "n") == (1, 2, 3)


def test_epochs_of_warm_rungs_add_up():
    """By hand: 18 + 12 epochs trained, 54 in full, 24 pruned, 6 gone on from."""
    spent = ledger(WARM, max_epochs=9)

    assert spent.n_candidates == 3
    assert spent.n_fits == 8
    assert spent.epochs_trained == 30
    assert spent.epochs_full == 54
    assert spent.epochs_saved_by_pruning == 24
    assert spent.epochs_saved_by_warm_start == 6
    assert spent.epochs_saved_by_early_stopping == 0
    assert spent.n_rows == 8


def test_epochs_that_failures_cut_are_named():
    """Failing after 1 of 5 epochs cuts 4; stopping early after 2 saves 3."""
    spent = ledger([[net(1, 5, reason="nan"), net(2, 5)]])

    assert spent.epochs_cut_by_failure == 4
    assert spent.epochs_saved_by_early_stopping == 3
    assert spent.n_failed == 1


def test_candidates_of_different_lengths_are_full_by_their_own():
    """Without rungs a candidate's full training is its own number of epochs."""
    spent = ledger([[net(2, 2), net(2, 2)], [net(5, 5), net(5, 5)]])

    assert spent.epochs_full == spent.epochs_trained == 14
    assert spent.epochs_saved_by_pruning == 0


def test_others_count_as_candidates_without_epochs():
    """What is no network is counted; what never began, in a race or by Ctrl-C, is not."""
    stopped = FoldOutcome(reason=INTERRUPTED, was_stopped=True)
    spent = ledger([[FoldOutcome(), stopped], [net(1, 1), net(1, 1)], [stopped, stopped]])

    assert (spent.n_candidates, spent.n_fits, spent.n_failed) == (2, 3, 0)
    assert spent.epochs_trained == 2


def test_a_rung_that_begins_anew_has_no_candidates_of_its_own():
    """More samples, or another parameter, mean a training from the start."""
    starts = np.array([0, 0, 1]) == 0
    spent = ledger([[net(2, 2)], [FoldOutcome()], [net(2, 2)]], starts=starts)

    assert (spent.n_candidates, spent.n_fits) == (2, 3)
    assert type(spent.n_candidates) is int


def play(rungs, ends, n_folds, *, is_warm=True):
    """Train every fit up to the epoch in `ends` where it stops by itself, rung by rung.

    The candidates promoted are the first ones.
    """
    behind, outcomes, before = {}, [], 0
    for rung in rungs:
        for candidate in range(rung.n_candidates):
            folds = []
            for fit in ((candidate, fold) for fold in range(n_folds)):
                start = behind.get(fit, 0) if is_warm else 0
                behind[fit] = min(rung.n_resources, ends[fit])
                folds.append(net(behind[fit] - start, rung.n_resources, before, start))
            outcomes.append(folds)
        before = rung.n_resources
    return outcomes, behind


@given(
    n_candidates=st.integers(1, 12),
    n_folds=st.integers(1, 3),
    max_epochs=st.integers(1, 20),
    data=st.data(),
)
def test_every_epoch_of_the_full_training_is_accounted_for(
    n_candidates, n_folds, max_epochs, data
):
    """Trained, pruned or stopped early, and no epoch twice; warm rungs save the rest."""
    rungs = halving_plan(n_candidates, max_resources=max_epochs, factor=2).rungs
    fits = [(c, f) for c in range(n_candidates) for f in range(n_folds)]
    ends = {fit: data.draw(st.integers(1, 25), label=str(fit)) for fit in fits}
    outcomes, behind = play(rungs, ends, n_folds)
    spent = ledger(outcomes, max_epochs, n_folds=n_folds)
    cold, _ = play(rungs, ends, n_folds, is_warm=False)
    anew = ledger(cold, max_epochs, n_folds=n_folds)

    granted = {
        (c, f): max(r.n_resources for r in rungs if c < r.n_candidates) for c, f in fits
    }
    assert spent.n_candidates == n_candidates
    assert spent.epochs_full == n_candidates * n_folds * max_epochs
    assert spent.epochs_trained == sum(behind.values())
    assert spent.epochs_saved_by_pruning == sum(max_epochs - granted[f] for f in fits)
    assert spent.epochs_saved_by_early_stopping == sum(
        granted[f] - min(granted[f], ends[f]) for f in fits
    )
    assert anew.epochs_trained - spent.epochs_trained == spent.epochs_saved_by_warm_start
    assert anew.epochs_saved_by_warm_start == 0
    assert anew.epochs_saved_by_pruning == spent.epochs_saved_by_pruning


def test_the_first_bracket_of_the_papers_table_saves_most_epochs():
    """81 candidates to 81 epochs, pruned by three: 81 * 1 + 27 * 2 + 9 * 6 + ... epochs."""
    rungs = hyperband_brackets(1, 81)[0].rungs

    spent = ledger(play(rungs, {(c, 0): 81 for c in range(81)}, 1)[0], 81, n_folds=1)

    assert spent.epochs_full == 81 * 81
    assert spent.epochs_trained == 81 * 1 + 27 * 2 + 9 * 6 + 3 * 18 + 1 * 54
    # Begun anew, each of the five rungs would train 81 epochs.
    assert spent.epochs_trained + spent.epochs_saved_by_warm_start == 5 * 81


def test_a_race_saves_the_folds_that_it_does_not_train():
    """Two candidates on five folds, of which one is dropped after three."""
    stopped = [FoldOutcome(reason="worse", was_stopped=True)] * 2
    spent = ledger([[net(10, 10)] * 5, [net(10, 10)] * 3 + stopped], 10, n_folds=5)

    assert spent.epochs_saved_by_pruning == 2 * 10
    assert spent.epochs_saved_by_early_stopping == 0


def test_a_ledger_prints_counts_seconds_and_reasons():
    """Short enough to read, each reason in a line; solo fits are one number."""
    spent = Ledger(
        n_candidates=4, n_fits=8, epochs_trained=40, epochs_loaded=0, epochs_full=40,
        epochs_saved_by_pruning=0, epochs_saved_by_early_stopping=0,
        epochs_cut_by_failure=0, epochs_saved_by_warm_start=0, n_rows=5,
        solo_reasons={"a callback": 2, "no batching rule": 1},
        seconds_training=2.5, seconds_total=75.0,
    )  # fmt: skip
    lines = str(spent).splitlines()

    counts = dict(line.rsplit(maxsplit=1) for line in lines[1:14])
    assert (counts["fits"], counts["one at a time"]) == ("8", "3")
    assert counts["epochs trained"] == "40"
    assert "training 2.5 s" in lines[14]
    assert lines[14].endswith("in all 1 min 15 s")
    assert lines[15:] == [
        "2 one at a time: a callback",
        "1 one at a time: no batching rule",
    ]


def curves(*losses):
    """Return the outcome of a network with these curves; fewer than three are empty."""
    return FoldOutcome(
        **dict(zip(("train_loss", "valid_loss", "valid_score"), losses, strict=False))
    )


def test_the_table_has_a_line_for_each_candidate_fold_and_epoch():
    """Curves below each other, ended by NaN; a fold without one shifts no other."""
    long = curves(np.array([0.9, 0.5]), np.array([1.0, 0.8]), np.array([0.6]))
    failed = FoldOutcome(reason="broke")
    outcomes = [[long, failed], [failed, curves(np.array([0.7]))]]

    table = learning_curves(outcomes, {})
    of_rungs = learning_curves(outcomes, {"iter": [0, 1], "n_resources": [1, 9]})

    expected = pd.DataFrame({
        "candidate": [0, 0, 1],
        "fold": [0, 0, 1],
        "epoch": [1, 2, 1],
        "train_loss": [0.9, 0.5, 0.7],
        "valid_loss": [1.0, 0.8, NAN],
        "valid_score": [0.6, NAN, NAN],
    })
    pd.testing.assert_frame_equal(table, expected)
    pd.testing.assert_frame_equal(
        of_rungs, expected.assign(iter=[0, 0, 1], n_resources=[1, 1, 9])
    )


def test_no_curves_are_an_empty_table():
    """All columns, none of them of objects."""
    frame = learning_curves([], {})

    assert len(frame) == 0
    assert [dtype.kind for dtype in frame.dtypes] == ["i", "i", "i", "f", "f", "f"]


def test_the_score_that_refit_names_guides():
    """Of several metrics the one of refit counts, else the first; without any, none."""
    results = {"mean_test_a": [1.0], "mean_test_b": [2.0]}

    assert guiding_scores(results, "b") == [2.0]
    assert guiding_scores(results, refit=False) == [1.0]
    assert guiding_scores({"mean_test_score": [3.0]}, refit=True) == [3.0]
    assert len(guiding_scores({}, refit=True)) == 0


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


@pytest.mark.parametrize("curves", [[[NAN, NAN]], [[0.1, NAN], [NAN, 0.2]], [[], []]])
def test_without_an_epoch_that_all_folds_have_there_is_no_best(curves):
    """No scores at all, and none in common."""
    with pytest.raises(ValueError, match="all folds have a score. Got none instead"):
        best_epoch(curves)


def test_a_candidate_is_the_same_in_all_rungs():
    """The order of names and the resource do not matter, the values do."""
    one = {"a": 1, "b": np.arange(3), "epochs": 3}
    two = {"epochs": 9, "b": np.arange(3), "a": 1}

    assert candidate_fingerprint(one, without="epochs") == candidate_fingerprint(
        two, without="epochs"
    )
    assert candidate_fingerprint(one, without=None) != candidate_fingerprint(
        two, without=None
    )
    assert candidate_fingerprint({"a": 1}, without=None) != candidate_fingerprint(
        {"a": 2}, without=None
    )


def test_estimators_are_told_apart_by_their_parameters():
    """Equal estimators are one candidate, though they are two objects."""
    keys = {
        candidate_fingerprint({"scale": StandardScaler(with_std=flag)}, without=None)
        for flag in (True, True, False)
    }

    assert len(keys) == 2


def test_functions_are_told_apart_by_identity():
    """Functions that cannot be pickled have a key, equal to their own only."""
    one, two = (lambda x: x), (lambda x: x)
    keys = [candidate_fingerprint({"f": f}, without=None) for f in (one, one, two)]

    assert keys[0] == keys[1] != keys[2]
