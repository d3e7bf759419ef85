# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A copy of a joblib task, for a recording without side effects.

The copy is made as for a worker process, but it shares arrays, read-only, and functions and
classes.  The state of torch's global generator at the start of a later task is predicted in
the same way.
"""

import io
import logging
import pickle
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import (
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from contextvars import ContextVar
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from joblib.parallel import ParallelBackendBase
from sklearn.callback import CallbackContext
from skorch import NeuralNet

from sk_tune._adoption import FitRequested, adoption
from sk_tune._backend._shared_objects import SharedObjects
from sk_tune._compat import functions_of
from sk_tune._engine import count_words, draw_as_fit, skip_words
from sk_tune._estimators import NetworkEstimator, net_arrays
from sk_tune._training import RNG_LOCK, TrainingState, seed_of_state

_IS_SILENT: ContextVar[bool] = ContextVar("sk_tune_is_silent", default=False)


class _OfSilentThread(type):
    def __subclasscheck__(cls, subclass: type) -> bool:
        return _IS_SILENT.get()


class _SilentWarning(Warning, metaclass=_OfSilentThread):
    """Stands for every warning of a silent thread in the filters of warnings."""


_IGNORING: Any = ("ignore", None, _SilentWarning, None, 0)


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress output, logs and warnings of this thread, not of other threads."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = {h for logger in loggers for h in getattr(logger, "handlers", ())}
    handlers |= {logging.lastResort} - {None}
    streams: list[Any] = [_OtherThreads(sys.stdout), _OtherThreads(sys.stderr)]

    def is_heard(record: logging.LogRecord) -> bool:
        return not _IS_SILENT.get()

    with ExitStack() as stack:
        for handler in handlers:
            handler.addFilter(is_heard)
            stack.callback(handler.removeFilter, is_heard)
        # Threads share the filters, so this thread must not replace and restore them.
        warnings.filters.insert(0, _IGNORING)  # type: ignore[attr-defined]
        stack.callback(_stop_ignoring)
        stack.enter_context(redirect_stdout(streams[0]))
        stack.enter_context(redirect_stderr(streams[1]))
        stack.callback(_IS_SILENT.reset, _IS_SILENT.set(True))
        yield


def _stop_ignoring() -> None:
    # Another thread may have restored its filters.
    with suppress(ValueError):
        warnings.filters.remove(_IGNORING)  # type: ignore[attr-defined]


class _OtherThreads:
    """A stream that ignores silent threads."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text of another thread."""
        if not _IS_SILENT.get() and self._stream is not None:
            self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Restore the global generators after a block, for one thread at a time."""
    with RNG_LOCK:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            torch.set_rng_state(states[2])


# Immutable types, and the backend of joblib calls inside the task.
_BY_REFERENCE = (
    *(type, FunctionType, BuiltinFunctionType, ModuleType),
    *(ParallelBackendBase, re.Pattern),
)
# Frequent types that are never shared, for a quick test.
_VALUES = frozenset({str, int, float, bool, type(None), tuple, list, dict})
# Packages that train only networks passed to them.
_WITHOUT_NETWORKS = frozenset(
    {"_thread", "builtins", "collections", "copyreg", "functools", "operator"}
    | {"joblib", "numpy", "pandas", "scipy", "sklearn", "skopt"}
)


def copy_task(task: Any, met: Callable[[Any], None] | None = None) -> Any:
    """Return a copy of a task that may train a network; None for other tasks.

    The copy shares arrays with the original, read-only. `met` is called with each function
    and class in the task. Errors of pickling are raised.
    """
    buffer = io.BytesIO()
    shared: list[Any] = []
    pickler = _Pickler(buffer, shared, met)
    pickler.dump(task)
    if not pickler.may_train:
        return None
    buffer.seek(0)
    copied = _Unpickler(buffer, shared).load()
    for function in functions_of(copied):
        if hasattr(function, "warning_filters"):
            # scikit-learn replaces the warning filters by the caller's.
            function.warning_filters = [_IGNORING, *function.warning_filters]
    return copied


class _Pickler(pickle.Pickler):
    # `shared` are objects common to copy and original, by position.
    def __init__(
        self, file: Any, shared: list[Any], met: Callable[[Any], None] | None
    ) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._shared = shared
        self._met = met
        self._positions: dict[int, int] = {}
        # Whether a function or class in the task may train a network, judged by its module.
        self.may_train = False

    def persistent_id(self, obj: Any) -> int | None:
        shared: Any
        if type(obj) in _VALUES:
            return None
        if isinstance(obj, np.ndarray) and not obj.dtype.hasobject:
            shared = obj.view()
            shared.flags.writeable = False
        elif isinstance(obj, CallbackContext):
            shared = _QuietContext()
        elif isinstance(obj, _BY_REFERENCE):
            shared = obj
        else:
            return None
        if isinstance(obj, type | FunctionType | BuiltinFunctionType):
            is_net = isinstance(obj, type) and issubclass(obj, NetworkEstimator | NeuralNet)
            package = (obj.__module__ or "").partition(".")[0]
            self.may_train |= is_net or package not in _WITHOUT_NETWORKS
        position = self._positions.get(id(obj))
        if position is None:
            if self._met is not None and isinstance(obj, type | FunctionType):
                self._met(obj)
            position = self._positions[id(obj)] = len(self._shared)
            self._shared.append(shared)
        return position


class _QuietContext:
    """Replaces a context of scikit-learn's callbacks, and calls none of them."""

    sequential_subtasks = True

    def subcontext(self, *_: Any, **__: Any) -> "_QuietContext":
        return self

    def call_on_fit_task_begin(self, **_: Any) -> "_QuietContext":
        return self

    def call_on_fit_task_end(self, **_: Any) -> bool:
        return False

    def propagate_callback_context(self, _: Any) -> Any:
        return nullcontext()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, shared: list[Any]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, pid: int) -> Any:
        return self._shared[pid]


class RemainingDraws:
    """The remaining random draws of interrupted tasks: their number in the first task."""

    def __init__(self, words: dict[Any, int], shared: SharedObjects) -> None:
        self._words = words
        self._shared = shared
        self._n_words: int | None = None

    def skip(self, task: Callable[[], Any], start: torch.Tensor) -> None:
        """Make the remaining draws of a task that a plain skorch net interrupted."""
        if self._n_words is None:
            state = torch.get_rng_state()
            self._n_words = 0
            if not torch.equal(state, start):
                torch.set_rng_state(start)
                # Draws before an error count.
                with suppress(FitRequested, Exception):
                    self._rehearse(task)
                self._n_words = count_words(state, torch.get_rng_state()) or 0
                torch.set_rng_state(state)
        skip_words(self._n_words)

    def _rehearse(self, task: Callable[[], Any]) -> None:
        contents = self._shared.state()
        try:
            with adoption(_Rehearser(self._words)), silenced():
                copied = copy_task(task)
                if copied is not None:
                    copied()
        finally:
            self._shared.restore(contents)


class _Rehearser:
    """Runs a task to its end with untrained networks that make all their draws."""

    def __init__(self, words: dict[Any, int]) -> None:
        self._words = words

    def decline(self, reason: str) -> None:
        """Leave the task: the draws of a network outside of fleets are unknown."""
        raise FitRequested

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> TrainingState:
        """Return a training of no epochs that ends with the predicted generator state."""
        if isinstance(estimator, NetworkEstimator):
            raise FitRequested
        start = torch.get_rng_state()
        if draw_as_fit(estimator, X, y, self._words):
            raise FitRequested
        end = torch.get_rng_state().numpy().tobytes()
        torch.set_rng_state(start)
        course = {"generator": end.hex()}
        seed = seed_of_state(start.numpy().tobytes())
        return TrainingState(seed=seed, course=course, **net_arrays(estimator))
