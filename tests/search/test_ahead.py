"""Candidates whose networks train before they are evaluated."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from sk_tune._compat import FoldTask, get_active_backend
from sk_tune.engine import FitStream, train
from sk_tune.search._network_training import Trainer, TrainingAhead
from sk_tune.search._outcomes import SearchOptions

CV = StratifiedKFold(3, shuffle=True, random_state=1)


def _options(**changed):
    own = {
        "n_jobs": None,
        "pre_dispatch": "2*n_jobs",
        "error_score": np.nan,
        "has_callable_scoring": False,
        "refit": True,
        "resource": "max_epochs",
        "max_resources": 4,
    }
    return SearchOptions(**{**own, **changed})


@pytest.fixture
def tasks(make_estimator, iris):
    """Return a function that makes the tasks of a candidate."""
    folds = list(CV.split(*iris))

    def make(estimator=None, **params):
        net = make_estimator("MLPClassifier") if estimator is None else estimator
        return [
            FoldTask(
                estimator=net,
                X=iris.X,
                y=iris.y,
                train=rows,
                test=test,
                parameters=params,
                fit_params={},
                candidate=0,
                fold=fold,
            )
            for fold, (rows, test) in enumerate(folds)
        ]

    return make


def _ahead(trainer, stream, **options):
    return TrainingAhead(trainer, _options(**options), stream)


@pytest.fixture
def sequential():
    """Return a trainer of one process."""
    return Trainer(get_active_backend())


def test_a_candidate_comes_back_with_all_of_its_folds(sequential, tasks):
    """Trained as a call of the engine trains them."""
    with FitStream() as stream:
        ahead = _ahead(sequential, stream)
        (number,) = ahead.begin([tasks(learning_rate=0.1, max_epochs=2)])
        assert (ahead.n_candidates, ahead.n_workers) == (1, 1)
        assert (ahead.n_idle, ahead.n_wanted) == (0, 0)
        ((ended, works),) = ahead.next()
        assert ahead.n_candidates == 0

    assert ended == number == 0
    assert [work.task.fold for work in works] == [0, 1, 2]
    expected = train([work.fit for work in works])
    for work, reference in zip(works, expected, strict=True):
        assert work.is_ahead
        np.testing.assert_array_equal(work.trained.predictions, reference.predictions)


def test_candidates_that_train_together_come_back_together(sequential, tasks):
    """One that cannot be trained does not wait for them."""
    with FitStream() as stream:
        ahead = _ahead(sequential, stream)
        own = [tasks(learning_rate=rate, max_epochs=2) for rate in (0.1, 0.01)]
        numbers = ahead.begin([*own, tasks(dropout=-1.0, max_epochs=2)])
        ended = [[number for number, _ in ahead.next()] for _ in range(2)]

    assert numbers == [0, 1, 2]
    assert ended == [[2], [0, 1]]
    assert ahead.n_candidates == 0


def test_a_second_rung_goes_on_from_the_first(sequential, tasks):
    """It trains the epochs that it adds."""
    with FitStream() as stream:
        ahead = _ahead(sequential, stream)
        for n_epochs in (1, 3):
            ahead.begin([tasks(learning_rate=0.1, max_epochs=n_epochs)])
            ((_, works),) = ahead.next()

    assert [work.fit.n_epochs for work in works] == [2] * 3
    assert [len(work.state.history) for work in works] == [3] * 3


def test_a_candidate_without_a_network_is_ready_at_once(sequential, tasks, iris):
    """It is evaluated as it is."""
    with FitStream() as stream:
        ahead = _ahead(sequential, stream)
        ahead.begin([tasks(LogisticRegression(), C=1.0)])
        assert ahead.n_candidates == 1
        ((_, works),) = ahead.next()

    assert [work.fit for work in works] == [None] * 3


def test_failures_are_a_candidate_too(sequential, tasks):
    """Their message names a place that is put right when the row is known."""
    with FitStream() as stream:
        ahead = _ahead(sequential, stream)
        ahead.begin([tasks(dropout=-1.0, max_epochs=2)])
        ((_, works),) = ahead.next()

    work = sequential.evaluated(works[2], works[2].job, works[2].task, 7)
    assert work.row == 7
    assert work.trained.message.startswith("candidate 7, fold 2: ")


def test_the_best_epoch_moves_to_the_row_of_its_candidate(sequential, tasks):
    """Which is known only when it is evaluated."""
    with FitStream() as stream:
        ahead = _ahead(sequential, stream, epochs="best")
        ahead.begin([tasks(learning_rate=0.1, max_epochs=2)])
        ((_, works),) = ahead.next()
    (best,) = sequential.best_epochs.values()

    for work in works:
        sequential.evaluated(work, work.job, work.task, 4)

    assert sequential.best_epochs == {4: best}


@pytest.mark.parametrize("stop_at", [0, 3])
def test_ctrl_c_ends_the_waiting(sequential, tasks, stop_at):
    """Nothing comes back, and nothing more is asked for."""

    def stop(progress):
        if progress.n_fits_done >= stop_at:
            raise KeyboardInterrupt

    with FitStream(progress=stop) as stream:
        ahead = _ahead(sequential, stream)
        ahead.begin([tasks(learning_rate=0.1, max_epochs=2)])

        assert ahead.next() == []

    assert sequential.is_interrupted
