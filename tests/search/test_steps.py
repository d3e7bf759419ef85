"""What tasks need to be trained, step after step, however it is trained."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold
from skorch.callbacks import LRScheduler

from sk_tune._compat import FoldTask
from sk_tune.backend import Job
from sk_tune.engine import Fit, Trained, train
from sk_tune.search._outcomes import SearchOptions, Work
from sk_tune.search._training_steps import TrainingSteps
from sk_tune.training import TrainingState

CV = StratifiedKFold(3, shuffle=True, random_state=1)


def _options(epochs="last", max_resources=0):
    return SearchOptions(
        n_jobs=None,
        pre_dispatch="2*n_jobs",
        error_score=np.nan,
        has_callable_scoring=False,
        refit=True,
        epochs=epochs,
        max_resources=max_resources,
    )


@pytest.fixture
def works(make_estimator, iris):
    """Return the tasks of one candidate, with fits of 4 epochs."""
    net = make_estimator("MLPClassifier", max_epochs=4)

    def work(fold, rows, test):
        task = FoldTask(
            estimator=net,
            X=iris.X,
            y=iris.y,
            train=rows,
            test=test,
            parameters={},
            fit_params={},
            candidate=0,
            fold=fold,
        )
        fit = Fit(estimator=net, X=iris.X, y=iris.y, rows=rows, monitor=test)
        job = Job(lambda: None, lambda job: None)
        return Work(job=job, task=task, row=5, fit=fit, key=("it", fold), n_epochs=4)

    return [work(k, *rows) for k, rows in enumerate(CV.split(*iris))]


def _train(step):
    for (work, _), trained in zip(step, train([fit for _, fit in step]), strict=True):
        work.trained = trained


def test_one_step_trains_what_was_asked_for_and_is_remembered(works):
    """Later rungs go on from there."""
    steps = TrainingSteps()
    assert steps.state(("it", 0)) == (None, 0)
    asked = []
    for step in steps.of(works, _options(max_resources=9)):
        asked.append([fit for _, fit in step])
        _train(step)

    assert asked == [[work.fit for work in works]]
    for fold, work in enumerate(works):
        assert work.state is work.trained.state
        assert steps.state(("it", fold)) == (work.state, 4)


def test_candidates_that_go_no_further_are_forgotten(works):
    """Neither those that no rung promotes, nor those that have reached the last one."""
    steps = TrainingSteps()
    works[1].key = ("other", 1)
    for step in steps.of(works, _options(max_resources=9)):
        _train(step)

    steps.keep_only({"it"})

    assert steps.state(("other", 1)) == (None, 0)
    assert steps.state(("it", 0)) == (works[0].state, 4)
    for step in steps.of(works, _options(max_resources=4)):
        _train(step)
    assert steps.state(("it", 0)) == (None, 0)
    assert works[0].state is not None


def test_nothing_asks_for_nothing():
    """There is no empty step."""
    assert list(TrainingSteps().of([], _options())) == []


def test_the_best_epoch_takes_a_second_step(works):
    """All folds train again to the best epoch of the mean, unless it is the last."""
    steps = TrainingSteps()
    lengths = []
    for step in steps.of(works, _options("best")):
        lengths.append([fit.n_epochs for _, fit in step])
        _train(step)
        if len(lengths) == 1:
            curves = [work.trained.monitor_score for work in works]
            best = int(np.mean(curves, axis=0).argmax()) + 1

    assert lengths == [[None] * 3] + ([[best] * 3] if best < 4 else [])
    assert steps.best_epochs == {5: best}
    for work in works:
        assert len(work.state.history) == best
        assert len(work.trained.train_loss) == 4


def _as_trained(seed, scores, checkpoints=()):
    history = tuple({"monitor_score": score, "train_loss": 0.0} for score in scores)
    state = TrainingState(seed=seed, weights={}, moments={}, history=history)
    return Trained(
        status="trained",
        state=state,
        predictions=None,
        message="",
        seconds=1.0,
        engine="fleet",
        checkpoints=checkpoints,
    )


@pytest.mark.parametrize(
    ("seed", "callbacks", "expected"),
    [(1, None, 2), (2, None, None), (1, [LRScheduler()], None)],
    ids=["goes on", "another seed", "callbacks"],
)
def test_the_end_of_a_rung_is_where_the_next_one_goes_back_to(
    works, seed, callbacks, expected
):
    """Unless it is not what one training of all epochs would have been there."""
    steps, options = TrainingSteps(), _options("best", max_resources=9)
    (work,) = works[:1]
    work.fit.estimator.set_params(callbacks=callbacks)
    work.n_epochs = 2
    for _ in steps.of([work], options):
        work.trained = _as_trained(1, [0.1, 0.2])
    own = _as_trained(seed, [0.1, 0.2, 0.3, 0.2, 0.1]).state
    later = replace(own, history=own.history[:4])

    again = replace(work, row=6, n_epochs=5)
    first, second = steps.of([again], options), []
    for step in first:
        second.append(step)
        again.trained = _as_trained(seed, [0.1, 0.2, 0.3, 0.2, 0.1], (later,))

    fit = second[1][0][1]
    assert (fit.state, fit.seed, fit.n_epochs) == (None, seed, 3)
    found = None if fit.checkpoint is None else len(fit.checkpoint.history)
    assert found == expected
    assert again.n_epochs_again == 5 - (expected or 0)


def test_checkpoints_are_let_go_of(works):
    """Whether there is a way back or not; only the fits to train keep some."""
    steps = TrainingSteps()
    state = _as_trained(1, [0.1]).state
    for step in steps.of(works, _options("best")):
        assert all(fit.keeps_checkpoints for _, fit in step)
        for work, _ in step:
            work.trained = _as_trained(1, [0.1, 0.2], (state,))

    assert [work.trained.checkpoints for work in works] == [()] * 3


def test_interrupted_tasks_ask_for_no_more(works):
    """What was trained by then is kept."""
    steps = TrainingSteps()
    n_steps = 0
    for step in steps.of(works, _options("best")):
        n_steps += 1
        _train(step)
        works[0].trained = None
        steps.is_interrupted = True

    assert n_steps == 1
    assert works[0].state is None
    assert works[1].state is not None
    assert steps.best_epochs == {}


def test_held_out_rows_that_cannot_be_predicted_are_left_out(works):
    """One fit finds it out for each fold; the next candidate does not ask again."""
    for work in works:
        y = work.fit.y.astype(object)
        # A label that no training row has.
        y[work.task.test] = 7
        work.fit = Fit(
            estimator=work.fit.estimator,
            X=work.fit.X,
            y=y,
            rows=work.fit.rows,
            monitor=work.fit.monitor,
        )
    steps = TrainingSteps()
    sizes = []
    for step in steps.of(works, _options()):
        sizes.append((len(step), {fit.monitor is None for _, fit in step}))
        _train(step)

    assert sizes == [(3, {False}), *[(1, {True})] * 3] or sizes == [(3, {False})]
