# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``with fleet():``, which makes everybody else's code train its networks as fleets.

Also the joblib backends that see all tasks of a call before the first one runs.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import joblib
import torch
from joblib.parallel import ParallelBackendBase
from skorch import NeuralNet

from sk_tune._compat import get_active_backend
from sk_tune._processes import import_for_optimizers, passing_interrupts
from sk_tune.adoption import FitRequested, adopted_state, adopter, adoption, decline
from sk_tune.backend._session import FleetReport, Monitor, Recorder, Session
from sk_tune.backend._task_copy import RestOfTasks
from sk_tune.engine import (
    FitStore,
    Progress,
    adopt_skorch,
    cutting_iterator,
    reason_against_net,
)
from sk_tune.training import n_weights, one_thread, takes_one_thread

# Parts that estimators cut their work into: an ensemble of up to as many networks asks for
# all side by side, and distances of rows are still not computed row by row.
_N_PARTS = 64


class Job:
    """A task and what became of it; `callback` is called with the job when it has ended."""

    def __init__(self, task: Callable[[], Any], callback: Callable[..., None]) -> None:
        self.task = task
        self.callback = callback
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run the task; its error is kept for the caller of joblib."""
        try:
            result = self.task()
        except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
            self.end(error=error)
        else:
            self.end(result=result)

    def end(self, *, result: Any = None, error: BaseException | None = None) -> None:
        """Take over a result, or the error, of a task that was run elsewhere."""
        self.result, self.error = result, error
        self.callback(self)


class CollectingBackend(ParallelBackendBase):  # type: ignore[misc]
    """Collects all tasks of a call of joblib; derived classes run them.

    `around` is the backend of joblib that was active before, and its number of workers:
    what trains by itself has these, as it would without a backend that collects.
    """

    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(self, nesting_level: int = 0, **kwargs: Any) -> None:
        super().__init__(nesting_level=nesting_level, **kwargs)
        self.around = get_active_backend()
        self._jobs: list[Job] = []
        self._aborted = False

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return into how many parts work is cut; 0 is refused."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return _N_PARTS

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **kwargs: Any) -> int:
        """Let a call of joblib hand over all tasks at once, if it names no number."""
        if parallel is not None and isinstance(parallel.pre_dispatch, str):
            parallel.pre_dispatch = "all"
        return int(super().configure(n_jobs=n_jobs, parallel=parallel, **kwargs))

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Job:
        """Collect a task, which is not run yet."""
        job = Job(func, callback)
        self._jobs.append(job)
        return job

    def retrieve_result_callback(self, out: Job) -> Any:
        """Return the result of a job, or raise its error."""
        if out.error is not None:
            raise out.error
        return out.result

    def collected(self) -> Iterator[list[Job]]:
        """Yield jobs for the caller to run, until nothing more comes."""
        self._aborted = False
        while self._jobs and not self._aborted:
            jobs, self._jobs = self._jobs, []
            yield jobs

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001
        """Forget the tasks that were not run."""
        self._jobs = []
        self._aborted = True


class FleetBackend(CollectingBackend):
    """Runs tasks in this process, with the trainings in them made as fleets."""

    def __init__(self, session: Session, nesting_level: int = 0, **kwargs: Any) -> None:
        super().__init__(nesting_level=nesting_level, **kwargs)
        self.session = session

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Run all collected tasks before joblib looks for their results."""
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
        """Return the backend of calls of joblib inside a task, in the same session."""
        return FleetBackend(self.session, (self.nesting_level or 0) + 1), None

    def _run_top(self, jobs: Sequence[Job]) -> None:
        replayers = self.session.prepare([job.task for job in jobs])
        for job, replayer in zip(jobs, replayers, strict=True):
            if self._aborted:
                return
            # A task that asked for nothing costs what it costs without the block.
            timed = self.session.replaying() if replayer.trainings else nullcontext()
            with timed, adoption(replayer):
                job.run()
            replayer.end(job.result, job.error)
            if job.error is not None:
                # The rest is not run, as in a plain loop.
                break
        self.session.report_declined()

    def _record_nested(self, jobs: Sequence[Job]) -> None:
        """Let all tasks inside a task ask for their trainings before it is left."""
        requested = False
        rest = RestOfTasks(self.session.words, self.session.shared_objects)
        for job in jobs:
            start = torch.get_rng_state()
            try:
                job.result = job.task()
            except FitRequested:
                requested = True
                rest.skip(job.task, start)
            except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
                job.error = error
        if requested:
            raise FitRequested
        for job in jobs:
            job.callback(job)


_FIT_PARAMS = "its fit was given more than X and y"


@contextmanager
def fleet(
    *,
    n_jobs: int = -1,
    memory_limit: float | None = None,
    progress: Callable[[Progress], object] | None = None,
    store: str | os.PathLike[str] | None = None,
    monitor: Monitor | None = None,
) -> Iterator[FleetReport]:
    """Train the networks of any code that uses joblib as fleets, inside a block.

    scikit-learn's searches, validation functions and ensembles, scikit-optimize's
    ``BayesSearchCV(n_points=k)`` and a user's ``joblib.Parallel`` all hand their work to
    joblib.  In the block each of their tasks runs twice: once on a copy, to find out
    what its networks would train, and once for real, when all of these have been trained
    side by side.  The results are those that the code gives without the block, where it
    runs its tasks one after the other (``n_jobs=None``).

    A plain skorch net draws its weights, batches and dropout from torch's global generator.
    In the block it draws the same numbers, and leaves the generator where ``fit`` would.
    Not foreseen is how much is drawn by a net that stops early or fails, that trains by
    itself because the engine cannot, whose module draws more for some data than for others,
    on a GPU, and by a task whose networks have sizes that depend on scores.  Nets after
    these draw other numbers than without the block; ``n_drawn_otherwise`` of the report
    counts them.

    What the functions and classes of a task read and change beyond its arguments, as a
    ``Generator`` or a list of their module, is put back after the run on a copy.  A task
    that reads what cannot be put back, as an iterator, is run only once: its networks
    train by themselves, and ``solo`` of the report says why.

    Parameters
    ----------
    n_jobs : int, default=-1
        Worker processes that train; -1 uses all cores.  The ``n_jobs`` of the code in the
        block has no effect, except in searches of sk_tune, which train as they do without
        the block.
    memory_limit : float or None, default=None
        Bytes that networks in training may take; half of what is free if None.
    progress : callable or None, default=None
        Called with a ``Progress`` when networks have been trained.
    store : str, path-like or None, default=None
        File that keeps finished trainings, made if there is none; what it has is not
        trained again, also in another run.
    monitor : callable or None, default=None
        Called with ``X, y, sample_weight`` of each training; returns the positions of the
        samples that the network is scored on after each epoch, or None.  They change
        nothing in the training; the network's history has ``monitor_loss`` and
        ``monitor_score``.  Not for plain skorch nets.

    Yields
    ------
    FleetReport
        What happened, up to date at any time.

    See Also
    --------
    sk_tune.engine.train : The same engine for fits that you list yourself.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sk_tune import MLPClassifier, fleet
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, max_epochs=10, random_state=0)
    >>> with fleet(n_jobs=1) as report:
    ...     search = GridSearchCV(net, {"learning_rate": [1e-4, 1e-2]}, cv=3).fit(X, y)
    >>> report.n_rows, search.best_params_
    (6, {'learning_rate': 0.01})
    """
    if store is not None:
        # Errors of the store are raised before anything is trained.
        FitStore(store).close()
    session = Session(n_jobs, memory_limit, progress, store, monitor)
    with AskingNets(), joblib.parallel_config(backend=FleetBackend(session), n_jobs=-1):
        yield session.report


class AskingNets:
    """Lets plain skorch nets ask for trainings while a block is open in some thread.

    They also get the samples that they predict sooner, and if small, train in one thread.
    """

    _lock = threading.Lock()
    _n_open = 0
    _originals: ClassVar[dict[str, Any]] = {}

    def __enter__(self) -> None:
        with AskingNets._lock:
            if AskingNets._n_open == 0:
                for name, change in _CHANGES.items():
                    original = AskingNets._originals[name] = getattr(NeuralNet, name)
                    setattr(NeuralNet, name, change(original))
            AskingNets._n_open += 1

    def __exit__(self, *_: object) -> None:
        with AskingNets._lock:
            AskingNets._n_open -= 1
            if AskingNets._n_open == 0:
                for name, original in AskingNets._originals.items():
                    setattr(NeuralNet, name, original)


def _asking(fit: Any) -> Any:
    @functools.wraps(fit)
    def asking_fit(net: Any, X: Any, y: Any = None, **fit_params: Any) -> Any:
        import_for_optimizers()
        reason = _FIT_PARAMS if fit_params else reason_against_net(net, X, y)
        if reason is not None:
            decline(reason)
        state = None if reason is not None else adopted_state(net, X, y)
        if state is not None:
            return adopt_skorch(net, X, y, state)
        with passing_interrupts():
            return fit(net, X, y, **fit_params)

    return asking_fit


def _in_one_thread(fit_loop: Any) -> Any:
    """Let a small network that trains by itself, such as a refit, have one thread.

    More wait for each other in each step, for seconds if other processes use the cores.
    """

    @functools.wraps(fit_loop)
    def fit_loop_in_one_thread(net: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        # A net of several modules has none of this name.
        module: Any = getattr(net, "module_", None)
        shape: Any = getattr(X, "shape", ())
        small = False
        if module is not None and len(shape) == 2:
            n_samples = shape[0] if net.batch_size == -1 else net.batch_size
            small = takes_one_thread(n_samples * n_weights(module))
            # A weight of more dimensions is used more often than once a sample.
            small = small and all(weight.ndim <= 2 for weight in module.parameters())
        with one_thread(wanted=small):
            return fit_loop(net, X, *args, **kwargs)

    return fit_loop_in_one_thread


_CHANGES = {"fit": _asking, "fit_loop": _in_one_thread, "get_iterator": cutting_iterator}
