# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``with fleet():`` trains the networks of any code that uses joblib as fleets.

Also the joblib backends that collect all tasks of a call before the first one runs.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import joblib
import torch
from joblib.parallel import ParallelBackendBase
from skorch import NeuralNet

from sk_tune._adoption import FitRequested, adopted_state, adopter, adoption, decline
from sk_tune._backend._session import FleetReport, Monitor, Recorder, Session
from sk_tune._backend._task_copy import RemainingDraws
from sk_tune._compat import get_active_backend
from sk_tune._engine import (
    FitStore,
    Progress,
    adopt_skorch,
    cutting_iterator,
    reason_against_net,
)
from sk_tune._processes import import_for_optimizers, passing_interrupts
from sk_tune._training import n_weights, one_thread, takes_one_thread

# Number of workers that estimators see.  An ensemble of up to this many networks requests
# all at once, and pairwise distances are still computed in blocks.
_N_PARTS = 64


class Job:
    """A task and its result; `callback` is called with the job when it ends."""

    def __init__(self, task: Callable[[], Any], callback: Callable[..., None]) -> None:
        self.task = task
        self.callback = callback
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run the task; joblib raises its error in the caller."""
        try:
            result = self.task()
        except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
            self.end(error=error)
        else:
            self.end(result=result)

    def end(self, *, result: Any = None, error: BaseException | None = None) -> None:
        """Take the result or error of a task that ran elsewhere."""
        self.result, self.error = result, error
        self.callback(self)


class CollectingBackend(ParallelBackendBase):  # type: ignore[misc]
    """Collects all tasks of a joblib call; derived classes run them."""

    supports_retrieve_callback = True

    def __init__(self, nesting_level: int = 0, **kwargs: Any) -> None:
        super().__init__(nesting_level=nesting_level, **kwargs)
        # The surrounding backend and its number of workers, for fits outside of fleets.
        self.around = get_active_backend()
        self._jobs: list[Job] = []
        self._aborted = False

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of parts to cut work into; 0 is an error."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return _N_PARTS

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **kwargs: Any) -> int:
        """Let a joblib call submit all tasks at once, if it does not limit them."""
        if parallel is not None and isinstance(parallel.pre_dispatch, str):
            parallel.pre_dispatch = "all"
        return int(super().configure(n_jobs=n_jobs, parallel=parallel, **kwargs))

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Job:
        """Collect a task without running it."""
        job = Job(func, callback)
        self._jobs.append(job)
        return job

    def retrieve_result_callback(self, out: Job) -> Any:
        """Return the result of a job, or raise its error."""
        if out.error is not None:
            raise out.error
        return out.result

    def collected(self) -> Iterator[list[Job]]:
        """Yield jobs for the caller to run, until no more arrive."""
        self._aborted = False
        while self._jobs and not self._aborted:
            jobs, self._jobs = self._jobs, []
            yield jobs

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001
        """Drop the tasks that have not run."""
        self._jobs = []
        self._aborted = True


class FleetBackend(CollectingBackend):
    """Runs tasks in this process, with their networks trained as fleets."""

    # joblib would start a thread for each part of a call that requires shared memory.
    supports_sharedmem = True

    def __init__(self, session: Session, nesting_level: int = 0, **kwargs: Any) -> None:
        super().__init__(nesting_level=nesting_level, **kwargs)
        self.session = session

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Run all collected tasks before joblib retrieves their results."""
        current = adopter()
        for jobs in self.collected():
            if current is None:
                self._run_top(jobs)
            elif isinstance(current, Recorder):
                self._record_nested(jobs)
            else:
                for job in jobs:
                    job.run()
                    if job.error is not None:
                        break
        yield

    def get_nested_backend(self) -> tuple["FleetBackend", None]:
        """Return the backend of joblib calls inside a task, with the same session."""
        return FleetBackend(self.session, (self.nesting_level or 0) + 1), None

    def _run_top(self, jobs: Sequence[Job]) -> None:
        # 1 is also joblib's number for calls without ``n_jobs``.
        n_jobs = None if self.parallel.n_jobs == 1 else self.parallel.n_jobs
        replayers = self.session.prepare([job.task for job in jobs], n_jobs)
        for job, replayer in zip(jobs, replayers, strict=True):
            if self._aborted:
                return
            # A task without requests has no extra cost.
            timed = self.session.timed("replaying") if replayer.trainings else nullcontext()
            with timed, adoption(replayer):
                job.run()
            replayer.end(job.result, job.error)
            if job.error is not None:
                # As in a plain loop, later tasks do not run.
                break
        self.session.report_declined()

    def _record_nested(self, jobs: Sequence[Job]) -> None:
        """Record the requests of all nested tasks before leaving the outer task."""
        requested = False
        draws = RemainingDraws(self.session.words, self.session.shared_objects)
        for job in jobs:
            start = torch.get_rng_state()
            try:
                job.result = job.task()
            except FitRequested:
                requested = True
                draws.skip(job.task, start)
            except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
                job.error = error
        if requested:
            raise FitRequested
        for job in jobs:
            job.callback(job)


_FIT_PARAMS = "its fit takes more than X and y"


@contextmanager
def fleet(
    *,
    n_jobs: int | None = None,
    memory_limit: float | None = None,
    progress: Callable[[Progress], object] | None = None,
    store: str | os.PathLike[str] | None = None,
    monitor: Monitor | None = None,
) -> Iterator[FleetReport]:
    """Train the networks of any code that uses joblib as fleets.

    scikit-learn's searches, validation functions and ensembles, scikit-optimize's
    ``BayesSearchCV(n_points=k)`` and a user's ``joblib.Parallel`` all send their work to
    joblib.  In the block, each of their tasks runs twice: first on a copy, to record the
    networks that it trains, and then for real, after the engine has trained these networks
    together.  If the code runs its tasks in order (``n_jobs=None``), the results are the
    same as without the block.

    A plain skorch net draws its weights, batches and dropout from torch's global generator.
    In the block it draws the same numbers, and leaves the generator in the same state.  The
    number of draws cannot be predicted for nets that stop early, fail, are trained alone or
    run on a GPU, for modules that draw more numbers for some data than for others, and for
    tasks whose network sizes depend on scores.  Later nets then draw different numbers than
    without the block; the report counts them as ``n_drawn_otherwise``.

    A task may also read and change global objects, such as a ``Generator`` or a list.  They
    are restored after the run on a copy.  Some objects, such as iterators, cannot be
    restored.  A task that reads one runs only once and trains its networks alone;
    ``alone_reasons`` of the report gives the reason.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Workers for training; -1 uses all cores.  None uses the ``n_jobs`` of the code in
        the block, such as a search.  If that is None or 1, it uses the number in a
        surrounding ``joblib.parallel_config``, and otherwise 1.  The backend of this
        ``parallel_config`` runs the workers: processes by default, a Dask or Ray cluster,
        or a registered backend.  Short trainings run in the calling process.
    memory_limit : float or None, default=None
        Maximum memory in bytes for networks in training; half of the free memory if None.
    progress : callable or None, default=None
        Called with a ``Progress`` after networks have been trained.
    store : str, path-like or None, default=None
        File that stores finished trainings, created if missing, or URL of a PostgreSQL
        database, as in ``engine.FitStore``.  Later runs load the stored trainings.
    monitor : callable or None, default=None
        Called with ``X, y, sample_weight`` of each training; returns the positions of
        monitor samples, or None.  The network is scored on them after each epoch, without
        any effect on its training; its history has ``monitor_loss`` and ``monitor_score``.
        Plain skorch nets are not monitored.

    Yields
    ------
    FleetReport
        Counts, times and reasons, always up to date.

    See Also
    --------
    sk_tune.engine.train : The same engine for an explicit list of fits.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sk_tune import MLPClassifier, fleet
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, max_epochs=10, random_state=0)
    >>> with fleet(n_jobs=1) as report:
    ...     search = GridSearchCV(net, {"learning_rate": [1e-4, 1e-2]}, cv=3).fit(X, y)
    >>> report.n_in_fleets, search.best_params_
    (6, {'learning_rate': 0.01})
    """
    if store is not None:
        # Report errors of the store before training.
        FitStore(store).close()
    session = Session(
        monitor, n_jobs=n_jobs, memory_limit=memory_limit, progress=progress, store=store
    )
    # Without ``n_jobs``, joblib's calls have the backend's default, 1.
    with asking_nets(), joblib.parallel_config(backend=FleetBackend(session), n_jobs=None):
        yield session.report


_IS_ASKING: ContextVar[bool] = ContextVar("sk_tune_is_asking", default=False)
_IS_FITTING: ContextVar[bool] = ContextVar("sk_tune_is_fitting", default=False)
_LOCK = threading.Lock()
# An entry for each open block, and skorch's methods during blocks.
_OPEN: list[None] = []
_ORIGINALS: dict[str, Any] = {}


@contextmanager
def asking_nets() -> Iterator[None]:
    """Let the plain skorch nets of this thread request their trainings in a block.

    Code that makes its own nets offers no other hook than the methods of skorch's class.
    They are replaced while a block is open in any thread; other threads run the originals.
    """
    with _LOCK:
        if not _OPEN:
            for name, change in _CHANGES.items():
                _ORIGINALS[name] = getattr(NeuralNet, name)
                setattr(NeuralNet, name, _in_this_thread(_ORIGINALS[name], change))
        _OPEN.append(None)
    token = _IS_ASKING.set(True)
    try:
        yield
    finally:
        _IS_ASKING.reset(token)
        with _LOCK:
            _OPEN.pop()
            if not _OPEN:
                for name, original in _ORIGINALS.items():
                    setattr(NeuralNet, name, original)


def _in_this_thread(original: Any, change: Callable[[Any], Any]) -> Any:
    changed = change(original)

    @functools.wraps(original)
    def method(net: Any, *args: Any, **kwargs: Any) -> Any:
        return (changed if _IS_ASKING.get() else original)(net, *args, **kwargs)

    return method


def _asking(fit: Any) -> Any:
    def asking_fit(net: Any, X: Any, y: Any = None, **fit_params: Any) -> Any:
        import_for_optimizers()
        reason = _FIT_PARAMS if fit_params else reason_against_net(net, X, y)
        if reason is not None:
            decline(reason)
        state = None if reason is not None else adopted_state(net, X, y)
        if state is not None:
            return adopt_skorch(net, X, y, state)
        # skorch's fit calls partial_fit.
        token = _IS_FITTING.set(True)
        try:
            with passing_interrupts():
                return fit(net, X, y, **fit_params)
        finally:
            _IS_FITTING.reset(token)

    return asking_fit


def _declining(partial_fit: Any) -> Any:
    def declining_partial_fit(net: Any, *args: Any, **kwargs: Any) -> Any:
        if not _IS_FITTING.get():
            decline("partial_fit trains it")
        return partial_fit(net, *args, **kwargs)

    return declining_partial_fit


def _in_one_thread(compute: Any) -> Any:
    """Let a small network compute in one thread: several wait for busy cores."""

    def compute_in_one_thread(net: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        # A net of several modules may have none of this name.
        module: Any = getattr(net, "module_", None)
        shape: Any = getattr(X, "shape", ())
        small = False
        if module is not None and len(shape) == 2:
            n_samples = shape[0] if net.batch_size == -1 else net.batch_size
            small = takes_one_thread(n_samples * n_weights(module))
            # Weights of more dimensions are used several times per sample.
            small = small and all(weight.ndim <= 2 for weight in module.parameters())
        with one_thread(wanted=small):
            return compute(net, X, *args, **kwargs)

    return compute_in_one_thread


_CHANGES = {
    "fit": _asking,
    "partial_fit": _declining,
    "fit_loop": _in_one_thread,
    "predict_proba": _in_one_thread,
    "get_iterator": cutting_iterator,
}
