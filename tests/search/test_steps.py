"""What tasks need to be trained, step after step, however it is trained."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from sk_tune._compat import FoldTask
from sk_tune.backend import Job
from sk_tune.engine import Fit, train
from sk_tune.search._steps import TrainingSteps
from sk_tune.search._work import SearchOptions, Work

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
