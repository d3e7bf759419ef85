"""scikit-learn's callbacks see the fits of the engine as tasks of the caller."""

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.datasets import load_iris

from sk_tune import MLPClassifier
from sk_tune.engine import Fit, callback_progress, train

N_FITS = 3


class _Recorder:
    def setup(self, estimator, context):
        self.seen = []

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **kwargs):
        self.seen.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, **kwargs):
        self.seen.append(("end", context.task_name, context.task_id))


class _Caller(CallbackSupportMixin, BaseEstimator):
    def __init__(self, sequential=True):
        self.sequential = sequential

    @with_callbacks
    def fit(self, X, y):
        context = self._init_callback_context(
            max_subtasks=N_FITS, sequential_subtasks=self.sequential
        )
        context.call_on_fit_task_begin(estimator=self)
        fits = [
            Fit(estimator=MLPClassifier(max_epochs=1, width=4), X=X, y=y, seed=seed)
            for seed in range(N_FITS)
        ]
        train(fits, progress=callback_progress(context, self))
        context.call_on_fit_task_end(estimator=self)
        return self


def _tasks(*, sequential):
    recorder = _Recorder()
    _Caller(sequential).set_callbacks(recorder).fit(*load_iris(return_X_y=True))
    return recorder.seen


def test_every_fit_is_a_task_between_begin_and_end_of_the_caller():
    """Each begins and ends once, in order."""
    networks = [(kind, "network", i) for i in range(N_FITS) for kind in ("begin", "end")]

    assert _tasks(sequential=True) == [("begin", "fit", 0), *networks, ("end", "fit", 0)]


def test_tasks_without_order_are_numbered_too():
    """A context whose subtasks may run side by side needs their numbers."""
    assert len(set(_tasks(sequential=False))) == 2 * (N_FITS + 1)
